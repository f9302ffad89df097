//! The trail for eyes: line by line, not verified.

use std::fmt;
use std::io;
use std::path::Path;

use crate::clock::Timestamp;

use super::lines::{Lines, Next};
use super::wire::Line;

/// A line, as it stands there. What is in it may be anybody's: [`super::verify()`] knows.
#[derive(Clone, Debug)]
pub struct Entry(Line);

/// The lines of a segment, one at a time. What is no line is left out.
#[derive(Debug)]
pub struct Entries(Lines);

impl Entries {
    /// Those of one file.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn of(segment: &Path) -> io::Result<Self> {
        Lines::of(segment).map(Self)
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next() {
                Ok(Next::Line(line)) => {
                    if let Ok(line) = serde_json::from_slice(line) {
                        return Some(Ok(Entry(line)));
                    }
                }
                Ok(Next::TooLong) => {}
                Ok(Next::Torn(_) | Next::End) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Entry {
    /// What happened, such as `session.minted`.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.0.event
    }

    /// Whose session it is about.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.0.session_id.as_deref()
    }

    /// In which request it happened.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// When it happened.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_rfc3339(&self.0.timestamp)
    }
}

/// One line for a terminal: whatever could give it orders is escaped.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = &self.0;
        write!(
            f,
            "{:>6}  {}  {:<16}",
            line.sequence,
            line.timestamp.escape_debug(),
            line.event.escape_debug().to_string()
        )?;
        let said = [
            ("session", line.session_id.as_deref()),
            ("issued before", line.issued_before.as_deref()),
            ("reason", line.reason.as_deref()),
            ("source", line.source.as_deref()),
            ("cookie", line.cookie.as_deref()),
            ("key", line.key_version.as_deref()),
            ("before it", line.key_version_before.as_deref()),
            ("client", line.client_address.as_deref()),
            ("request", line.request_id.as_deref()),
            ("file", line.segment.as_deref()),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                write!(f, "  {name} {}", value.escape_debug())?;
            }
        }
        if let Some(latency) = line.latency_ms {
            write!(f, "  {latency:.1} ms")?;
        }
        if let Some(omitted) = line.omitted {
            write!(f, "  {omitted} more refusals and rejected cookies")?;
        }
        if let Some(lost) = line.lost {
            write!(f, "  {lost} lines could not be written")?;
        }
        Ok(())
    }
}
