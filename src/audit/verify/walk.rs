//! One segment from its first line to its last, and what the others know of it.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use crate::audit::chain::Link;
use crate::audit::head::Found;
use crate::audit::lines::{Lines, Next};
use crate::audit::segment::file_name;
use crate::audit::wire::{Line, Previous, Torn};
use crate::cookie::{Key, KeyId};

use super::{Flaw, Note, Report};

/// Flaws of one segment that are told one by one: where all is wrong, more than these tell nothing more.
const TOLD: usize = 100;

/// What was seen on the way along one segment.
pub(super) struct Walk {
    pub(super) name: String,
    pub(super) lines: usize,
    /// The number of the oldest segment that was left, as the opening says.
    pub(super) oldest: Option<u64>,
    previous: Option<Previous>,
    /// Where the last line has led to, once there is one.
    place: Option<Place>,
    /// The same at the places that something speaks of.
    marked: HashMap<u64, Option<Place>>,
    torn: Option<Torn>,
    head: Option<Found>,
    flaws: Vec<Flaw>,
    untold: usize,
}

/// Behind a line.
#[derive(Clone, Debug)]
struct Place {
    sequence: u64,
    link: Link,
    key_id: Option<KeyId>,
    /// The keys that were in use before that one.
    left: Vec<KeyId>,
}

impl Place {
    const START: Self = Self { sequence: 0, link: Link::START, key_id: None, left: Vec::new() };
}

impl Walk {
    pub(super) fn along(
        path: &Path,
        keys: &[Key],
        head: Option<Found>,
        marked: Vec<u64>,
        before: &[Self],
    ) -> io::Result<Self> {
        let mut walk = Self {
            name: file_name(path),
            lines: 0,
            oldest: None,
            previous: None,
            place: None,
            marked: marked.into_iter().map(|sequence| (sequence, None)).collect(),
            torn: None,
            head,
            flaws: Vec::new(),
            untold: 0,
        };
        let mut lines = Lines::of(path)?;
        loop {
            let next = lines.next()?;
            match next {
                Next::Line(line) => walk.step(line, keys, before),
                Next::TooLong => {
                    walk.lines += 1;
                    walk.flaw("it is longer than any line of an audit log");
                }
                Next::Torn(torn) => walk.torn = Some(torn),
                Next::End => return Ok(walk),
            }
        }
    }

    /// The number of the last line, and the link after it.
    pub(super) fn end(&self) -> Option<(u64, Link)> {
        self.place.as_ref().map(|place| (place.sequence, place.link))
    }

    /// The link after the line with a number, if that is marked.
    pub(super) fn link_at(&self, sequence: u64) -> Option<Link> {
        self.marked(sequence).map(|place| place.link)
    }

    pub(super) fn flaws(&self) -> impl Iterator<Item = Flaw> {
        let untold = (self.untold > 0).then(|| Flaw {
            segment: self.name.clone(),
            line: None,
            what: format!("{} flaws more are not told", self.untold),
        });
        self.flaws.iter().cloned().chain(untold)
    }

    /// What the others and the head know of this one.
    pub(super) fn held_against_the_others(&self, place: usize, walks: &[Self], report: &mut Report) {
        let mut flaw = |what: String| report.flaws.push(Flaw { segment: self.name.clone(), line: None, what });
        self.held_against_its_head(place + 1 == walks.len(), &mut flaw);
        if let Some(previous) = &self.previous {
            let before = walks.iter().find(|walk| walk.name == previous.segment);
            let link = before.and_then(|walk| walk.link_at(previous.sequence));
            match (before, link) {
                (None, _) if place == 0 => {
                    let what = format!("it continues {}, which is not among these files", previous.segment);
                    report.notes.push(Note { segment: self.name.clone(), what });
                }
                (None, _) => flaw(format!("it continues {}, which is missing", previous.segment)),
                (Some(_), Some(link)) if link.to_string() == previous.chain => {}
                (Some(walk), _) => flaw(format!(
                    "it continues {} after the number {}, which does not stand there: its end was cut",
                    walk.name, previous.sequence
                )),
            }
        }
        let mut ends = walks.iter().filter_map(|walk| {
            let previous = walk.previous.as_ref().filter(|previous| previous.ended && previous.segment == self.name)?;
            Some((previous, walk))
        });
        if let Some((known, next)) = ends.next() {
            let end = self.end().map_or(0, |(sequence, _)| sequence);
            if end > known.sequence {
                flaw(format!("it goes on behind the number {}, where {} knows its end", known.sequence, next.name));
            } else if self.torn != known.torn {
                let bytes = |torn: &Option<Torn>| torn.as_ref().map_or(0, |torn| torn.bytes);
                let (stand, known) = (bytes(&self.torn), bytes(&known.torn));
                let next = &next.name;
                flaw(format!("{stand} bytes stand behind its last line, and {next} knows of {known}, or of others"));
            }
        }
        if let Some(Torn { bytes, .. }) = self.torn {
            let known = walks.iter().any(|walk| walk.previous.as_ref().is_some_and(|it| it.torn == self.torn));
            let what = if known { "recovered at the next start" } else { "as after a crash" };
            let what = format!("it ends in {bytes} bytes that are no whole line: {what}");
            report.notes.push(Note { segment: self.name.clone(), what });
        }
    }

    fn held_against_its_head(&self, is_newest: bool, flaw: &mut impl FnMut(String)) {
        let end = self.end().map_or(0, |(sequence, _)| sequence);
        let Some(found) = &self.head else {
            // A process may have ended before it had written anything at all.
            if self.lines > 0 || self.torn.is_some() || !is_newest {
                flaw("its head is missing, or no key of the ring vouches for it".to_owned());
            }
            return;
        };
        let head = &found.head;
        if head.segment != self.name {
            return flaw(format!("its head is that of {}", head.segment));
        }
        if found.is_first {
            return;
        }
        match self.marked(head.sequence) {
            Some(place) if place.link == head.link && place.key_id == Some(found.key_id) => {
                // One place is spoilt while the head is written anew, and then there are lines already that it knows of.
                if !found.is_whole && end == head.sequence {
                    flaw("its head was changed, which may hide that its end was cut".to_owned());
                }
            }
            _ => flaw(format!("it ends with the number {end}, and its head knows {}: the end was cut", head.sequence)),
        }
    }

    fn marked(&self, sequence: u64) -> Option<&Place> {
        self.marked.get(&sequence)?.as_ref()
    }

    /// Looks at a line. What a flawed one says of itself is believed as far as the place of the next one goes, so that
    /// one change is not reported for all lines behind it.
    fn step(&mut self, bytes: &[u8], keys: &[Key], before: &[Self]) {
        self.lines += 1;
        let read = std::str::from_utf8(bytes).ok().and_then(|text| {
            let line: Line = serde_json::from_str(text).ok()?;
            Some((text, line, Link::said_by(text)?))
        });
        let Some((text, line, said)) = read else {
            return self.flaw("it is no line of an audit log");
        };
        let at = if self.lines == 1 { self.open(&line, before) } else { self.place.take().unwrap_or(Place::START) };
        if line.sequence != at.sequence + 1 {
            let due = at.sequence + 1;
            self.flaw(format!(
                "it has the number {}, and {due} is due: lines are missing or were moved",
                line.sequence
            ));
        }
        let key = KeyId::parse(line.audit_key.as_bytes()).and_then(|id| keys.iter().find(|key| key.id() == id));
        let Place { mut left, key_id, .. } = at;
        match key {
            None => self.flaw(format!("it is under the key `{}`, which the ring does not have", line.audit_key)),
            Some(key) if at.link.follow(text, key).is_none() => {
                self.flaw("it was changed, or does not follow the line before it");
            }
            Some(key) if left.contains(&key.id()) => {
                let id = key.id();
                self.flaw(format!("it is under the key `{id}` again, which had been given up: it may be forged"));
            }
            Some(key) => left.extend(key_id.filter(|before| *before != key.id())),
        }
        let place = Place { sequence: line.sequence, link: said, key_id: key.map(Key::id).or(key_id), left };
        if let Some(mark) = self.marked.get_mut(&line.sequence) {
            *mark = Some(place.clone());
        }
        self.place = Some(place);
    }

    /// The first line says what the segment is and continues.
    fn open(&mut self, line: &Line, before: &[Self]) -> Place {
        if line.segment.as_ref() != Some(&self.name) {
            let name = line.segment.clone().unwrap_or_default();
            self.flaw(format!("it does not open this file, but `{name}`"));
        }
        self.oldest = line.oldest;
        self.previous.clone_from(&line.previous);
        let Some(previous) = &line.previous else { return Place::START };
        let link = Link::parse(&previous.chain).unwrap_or(Link::START);
        let keys = before.iter().find(|walk| walk.name == previous.segment).and_then(|it| it.marked(previous.sequence));
        Place { sequence: previous.sequence, link, ..keys.cloned().unwrap_or(Place::START) }
    }

    fn flaw(&mut self, what: impl Into<String>) {
        if self.flaws.len() == TOLD {
            self.untold += 1;
            return;
        }
        self.flaws.push(Flaw { segment: self.name.clone(), line: Some(self.lines), what: what.into() });
    }
}
