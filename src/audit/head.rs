//! The head: how far a segment goes, written once its lines are on disk, so that a tail that was cut shows.
//!
//! It stands in a file beside the segment and has two places, written in turn: a crash in the middle of one leaves the
//! other whole. The turns are counted, so that nobody makes the newer one unreadable to have the older one believed: a
//! head of which one place is spoilt was not finished, and then there are lines behind it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cookie::{Key, KeyId};

use super::chain::{Link, vouch, vouched};
use super::wire;

/// Of one place: twice what a head takes, and a divisor of every disk's sector, so that none lies across two.
const PLACE: usize = 512;

/// How far a segment goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) segment: String,
    pub(super) sequence: u64,
    pub(super) link: Link,
}

/// A head that can be written.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: File,
    turn: u64,
}

/// What stands in a head's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The newer of the two places.
    pub(super) head: Head,
    /// Under which key that is.
    pub(super) key_id: KeyId,
    /// Whether it still says where its segment begins, since no line was brought to the disk yet.
    pub(super) is_first: bool,
    /// Whether the other place is the one written before it.
    pub(super) is_whole: bool,
}

impl HeadFile {
    /// Makes one beside a segment that has no line yet. It appears with both places filled, so that it never takes more
    /// room on the disk than it has, and under its name only when that has happened.
    pub(super) fn create(segment: &Path, start: &Head, key: &Key) -> io::Result<Self> {
        let path = path(segment);
        let beside = path.with_extension("new");
        // What a crash has left, or a link that leads elsewhere.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let mut this = Self { file, turn: 0 };
        this.write(start, key)?;
        this.write(start, key)?;
        this.sync()?;
        fs::rename(&beside, &path)?;
        Ok(this)
    }

    pub(super) fn write(&mut self, head: &Head, key: &Key) -> io::Result<()> {
        let json = wire::Head {
            turn: self.turn,
            segment: head.segment.clone(),
            sequence: head.sequence,
            chain: head.link.to_string(),
            audit_key: key.id().to_string(),
        };
        let json = serde_json::to_string(&json).expect("texts and numbers always make JSON");
        let padded = format!("{:<width$}\n", vouch(&json, key), width = PLACE - 1);
        if padded.len() > PLACE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the segment's name is too long for a head"));
        }
        self.file.write_all_at(padded.as_bytes(), self.turn % 2 * PLACE as u64)?;
        self.turn += 1;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Where the head of a segment stands.
pub(super) fn path(segment: &Path) -> PathBuf {
    let mut name = segment.file_name().unwrap_or_default().to_owned();
    name.push(".head");
    segment.with_file_name(name)
}

/// The head beside a segment; `None` where there is none for which one of `keys` vouches.
pub(super) fn read(segment: &Path, keys: &[Key]) -> io::Result<Option<Found>> {
    let text = match fs::read(path(segment)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let place = |number: usize| {
        let text = text.get(number * PLACE..(number + 1) * PLACE)?;
        // A copy of the other place is not what belongs here.
        parse(std::str::from_utf8(text).ok()?.trim_end(), keys).filter(|head| head.turn % 2 == number as u64)
    };
    let (older, newer) = match (place(0), place(1)) {
        (Some(first), Some(second)) if first.turn > second.turn => (Some(second), Some(first)),
        (Some(first), Some(second)) => (Some(first), Some(second)),
        (first, second) => (None, first.or(second)),
    };
    Ok(newer.and_then(|newer| {
        Some(Found {
            is_first: newer.turn == 1,
            is_whole: older.is_some_and(|older| older.turn + 1 == newer.turn),
            key_id: KeyId::parse(newer.audit_key.as_bytes())?,
            head: Head { segment: newer.segment, sequence: newer.sequence, link: Link::parse(&newer.chain)? },
        })
    }))
}

fn parse(line: &str, keys: &[Key]) -> Option<wire::Head> {
    // The key is the one that it names: another one's tag vouches for nothing that is said here.
    let json = keys.iter().find_map(|key| vouched(line, key).map(|json| (json, key.id())));
    let (json, key_id) = json?;
    serde_json::from_str(&json).ok().filter(|head: &wire::Head| head.audit_key == key_id.as_str())
}
