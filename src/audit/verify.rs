//! Whether a trail is whole: every line under its key and tied to the one before it, every segment as long as its head
//! says, and none missing in between.
//!
//! What a crash leaves, half a line behind the last whole one, is told apart from what somebody did.

mod walk;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::cookie::Key;

use super::chain::Link;
use super::head::{self, Found};
use super::segment::{self, file_name};

use self::walk::Walk;

/// What came of looking at a trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The segments, in the order in which they were given.
    pub segments: Vec<Verified>,
    /// What is wrong. None means that the trail is whole.
    pub flaws: Vec<Flaw>,
    /// What is worth knowing and nobody's fault.
    pub notes: Vec<Note>,
}

/// A segment that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its file's name.
    pub name: String,
    /// Lines in it.
    pub lines: usize,
    /// The number of its last line and the link after it; `None` where it has no line.
    pub head: Option<(u64, Link)>,
}

/// Something that only tampering or a failing disk can have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// In which file.
    pub segment: String,
    /// In which line of it, counted from 1; `None` where it is about the whole of it.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

/// Something that is worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// In which file.
    pub segment: String,
    /// What there is to know.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.segment, self.what),
            None => write!(f, "{}: {}", self.segment, self.what),
        }
    }
}

/// Looks at all of a trail, as [`verify`] does, and for what is missing of it. A process may write it meanwhile.
///
/// # Errors
///
/// When a file cannot be read.
pub fn verify_all(trail: &Path, keys: &[Key], anchor: Option<(u64, Link)>) -> io::Result<Report> {
    let segments = segment::numbered(trail)?;
    let paths: Vec<_> = segments.iter().map(|(_, path)| path.clone()).collect();
    let (walks, mut report) = look(&paths, keys, anchor)?;
    let missed = segment::missed(trail)?;
    let mut flaw = |name: String, what: &str| {
        report.flaws.push(Flaw { segment: name, line: None, what: what.to_owned() });
    };
    // What the processes themselves have taken away is nobody's fault.
    let oldest = walks.iter().filter_map(|walk| walk.oldest).max().unwrap_or(1);
    let mut due = oldest;
    for (number, _) in segments.iter().filter(|(number, _)| *number >= oldest) {
        if *number > due {
            flaw(segment::name(trail, due).to_string_lossy().into_owned(), "it was taken away");
        }
        due = number + 1;
    }
    for (_, path) in missed.iter().filter(|(number, _)| *number >= due) {
        flaw(file_name(path), "it was taken away: its head still stands there");
    }
    Ok(report)
}

/// Looks at `segments`, the oldest first, with all keys that the ring has or had. `anchor` is a head that somebody kept
/// elsewhere, which the trail must have come by.
///
/// # Errors
///
/// When a file cannot be read.
pub fn verify(segments: &[PathBuf], keys: &[Key], anchor: Option<(u64, Link)>) -> io::Result<Report> {
    look(segments, keys, anchor).map(|(_, report)| report)
}

fn look(segments: &[PathBuf], keys: &[Key], anchor: Option<(u64, Link)>) -> io::Result<(Vec<Walk>, Report)> {
    // Heads come first: a segment that is written meanwhile goes at least as far as the head that was seen before it.
    let heads = segments.iter().map(|path| head::read(path, keys)).collect::<io::Result<Vec<_>>>()?;
    let places = places(segments, &heads, anchor)?;
    let mut walks: Vec<Walk> = Vec::new();
    for (path, head) in segments.iter().zip(heads) {
        let marked = places.get(&file_name(path)).cloned().unwrap_or_default();
        let walk = Walk::along(path, keys, head, marked, &walks)?;
        walks.push(walk);
    }
    let mut report = Report::default();
    for (place, walk) in walks.iter().enumerate() {
        walk.held_against_the_others(place, &walks, &mut report);
    }
    if let Some((sequence, link)) = anchor
        && !walks.iter().any(|walk| walk.link_at(sequence) == Some(link))
    {
        let what =
            format!("no line has the number {sequence} and the chain {link}: the end was cut, or all was replaced");
        report.flaws.push(Flaw { segment: "--head".to_owned(), line: None, what });
    }
    for walk in &walks {
        report.flaws.extend(walk.flaws());
        report.segments.push(Verified { name: walk.name.clone(), lines: walk.lines, head: walk.end() });
    }
    Ok((walks, report))
}

/// The places in each segment that something speaks of, so that no more than these need be kept in mind.
fn places(
    segments: &[PathBuf],
    heads: &[Option<Found>],
    anchor: Option<(u64, Link)>,
) -> io::Result<HashMap<String, Vec<u64>>> {
    let mut places = HashMap::<String, Vec<u64>>::new();
    for (path, head) in segments.iter().zip(heads) {
        let own = head.iter().map(|found| found.head.sequence).chain(anchor.map(|(sequence, _)| sequence));
        places.entry(file_name(path)).or_default().extend(own);
        if let Some(previous) = segment::opening(path)?.and_then(|line| line.previous) {
            places.entry(previous.segment).or_default().push(previous.sequence);
        }
    }
    Ok(places)
}
