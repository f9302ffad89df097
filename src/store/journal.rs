//! The file: one line a revocation, appended and synced; when much of it is out of date, written anew and put in its
//! place with one rename.
//!
//! Several processes may write in it. A lock on a file beside it keeps their lines apart, and keeps one from appending
//! to what another has just replaced. Reading needs no lock, since a line counts only with its end and its checksum.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::Revocation;
use super::wire;

/// How long another process may be writing: a compaction takes some tens of milliseconds. One that was stopped in the
/// middle of it must not stop this one for good.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lines that may be out of date before it is worth while to write the file anew: some 100 KiB.
const SLACK: usize = 1_024;

/// The journal, and how far it was read.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    /// Bytes of whole lines that were read, or written by us.
    read: u64,
    lines: usize,
}

/// The right to write. It ends when it is dropped.
struct Turn(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

impl Journal {
    /// Opens the journal in `folder`, which is made for its owner alone if it is missing, and reads it.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Revocation>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The folder's own name is in its parent, which may not be ours to open: then it was there before us.
        let _ = folder.canonicalize().and_then(|folder| folder.parent().map_or(Ok(()), sync_folder));
        let path = folder.join("revocations.journal");
        let file = open(&path)?;
        sync_folder(folder)?;
        let mut journal = Self { folder: folder.to_owned(), path, file, read: 0, lines: 0 };
        let found = journal.follow()?;
        if journal.file.metadata()?.len() > journal.read {
            tracing::warn!(path = %journal.path.display(), "the last line is torn: nobody was promised what it says");
        }
        Ok((journal, found))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was added since the last time, by whomever; everything, when the file was replaced.
    pub(super) fn follow(&mut self) -> io::Result<Vec<Revocation>> {
        self.catch_up()?;
        let length = self.file.metadata()?.len();
        if length == self.read {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.read))?;
        Read::by_ref(&mut self.file).take(length - self.read).read_to_end(&mut bytes)?;
        // What has no end yet may be under way.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut found = Vec::new();
        for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
            let text = line.trim_ascii_end();
            match wire::read(text) {
                Some(revocation) => found.push(revocation),
                None => tracing::warn!(path = %self.path.display(), offset = self.read, "a damaged line is left out"),
            }
            self.read += line.len() as u64;
            self.lines += 1;
        }
        Ok(found)
    }

    /// Adds lines and waits until they are on disk. Returns what others have added before. When it fails, the file is
    /// as it was.
    pub(super) fn append(
        &mut self,
        news: &[Revocation],
        known: impl FnOnce() -> Vec<Revocation>,
    ) -> io::Result<Vec<Revocation>> {
        let _turn = self.turn()?;
        if !self.path.exists() {
            // Somebody took it away, and what we know with it.
            self.replace(&known())?;
        }
        self.end_torn_line()?;
        let others = self.follow()?;
        let lines: String = news.iter().map(wire::write).collect();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a line would be torn, and a whole one that was called a failure would count after a restart.
            let _ = self.file.set_len(self.read);
            return Err(error);
        }
        self.read += lines.len() as u64;
        self.lines += news.len();
        Ok(others)
    }

    /// Whether enough of it is out of date, when `known` entries are still in force.
    pub(super) fn is_bloated(&self, known: usize) -> bool {
        self.lines > 2 * known + SLACK
    }

    /// Writes it anew. `merge` is given what others have added meanwhile, and says what is to stand there.
    pub(super) fn compact(&mut self, merge: impl FnOnce(&[Revocation]) -> Vec<Revocation>) -> io::Result<()> {
        let _turn = self.turn()?;
        let others = self.follow()?;
        self.replace(&merge(&others))
    }

    fn replace(&mut self, all: &[Revocation]) -> io::Result<()> {
        let beside = self.folder.join("revocations.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let lines: String = all.iter().map(wire::write).collect();
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        sync_folder(&self.folder)?;
        self.file = open(&self.path)?;
        self.read = lines.len() as u64;
        self.lines = all.len();
        Ok(())
    }

    /// Goes over to the file that has taken this one's place, if one has.
    fn catch_up(&mut self) -> io::Result<()> {
        let there = fs::metadata(&self.path)?;
        let ours = self.file.metadata()?;
        let replaced = (there.dev(), there.ino()) != (ours.dev(), ours.ino());
        if replaced {
            self.file = open(&self.path)?;
        }
        if replaced || ours.len() < self.read {
            self.read = 0;
            self.lines = 0;
        }
        Ok(())
    }

    /// Whoever has the turn and finds a line without its end finds what a writer that was killed has left. With an end,
    /// it is one damaged line and not the beginning of the next.
    fn end_torn_line(&mut self) -> io::Result<()> {
        self.catch_up()?;
        let length = self.file.metadata()?.len();
        if length == 0 {
            return Ok(());
        }
        let mut last = [0];
        self.file.seek(SeekFrom::Start(length - 1))?;
        self.file.read_exact(&mut last)?;
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
        }
        Ok(())
    }

    fn turn(&self) -> io::Result<Turn> {
        let path = self.folder.join("revocations.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turn(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds its lock"));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Writes go to the end, whatever was read before.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// A new name is only safe once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
