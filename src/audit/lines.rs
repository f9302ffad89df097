//! A file's lines, one at a time, however long the file is and whatever somebody has put into it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::wire::Torn;

/// Many times the longest line that is ever written.
pub(super) const LONGEST: usize = 64 * 1024;

/// The lines of one file.
#[derive(Debug)]
pub(super) struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
}

/// What comes next in it.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A line, without its end.
    Line(&'a [u8]),
    /// One that is longer than any line of ours.
    TooLong,
    /// Bytes that no end of a line stands behind.
    Torn(Torn),
    /// Nothing.
    End,
}

impl Lines {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), line: Vec::new() })
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        let (mut length, mut digest) = (0, Sha256::new());
        loop {
            self.line.clear();
            let read = self.file.by_ref().take(LONGEST as u64).read_until(b'\n', &mut self.line)?;
            match (self.line.last(), length) {
                (Some(b'\n'), 0) => break,
                (Some(b'\n'), _) => return Ok(Next::TooLong),
                _ => {}
            }
            length += read as u64;
            digest.update(&self.line);
            if read < LONGEST {
                return Ok(if length == 0 { Next::End } else { Next::Torn(Torn::of(length, digest)) });
            }
        }
        self.line.pop();
        Ok(Next::Line(&self.line))
    }
}

impl Torn {
    fn of(bytes: u64, digest: Sha256) -> Self {
        Self { bytes, sha256: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect() }
    }
}

/// Bytes that are no line, as they are told apart from tampering.
pub(super) fn torn(bytes: &[u8]) -> Option<Torn> {
    (!bytes.is_empty()).then(|| Torn::of(bytes.len() as u64, Sha256::new_with_prefix(bytes)))
}
