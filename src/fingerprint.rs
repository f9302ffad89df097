//! Whether a file is still the one that was read.
//!
//! Files that a running process follows are asked how they look, once a second. The kernel is not asked to tell: a watch
//! on the folder stays silent on network file systems and bind mounts, has to be set anew when a folder is exchanged, and
//! brings a thread and a queue that can overflow, all to learn a second earlier of something that happens now and then.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one state of a file from another without reading it: another file under its name, or other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
}

impl Fingerprint {
    /// Of the file that the path leads to, through symbolic links: Kubernetes exchanges a secret by turning one. `None`
    /// when there is none to be seen.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        })
    }
}
