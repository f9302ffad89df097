//! Dead letters, for the operator: to look at, to send again, to drop. It works on the journal itself, whether or not a
//! process has it open; one that delivers notices within a second.

use std::path::Path;

use crate::clock::Timestamp;

use super::JournalError;
use super::journal::{Dead, Journal};
use super::wire::Glance;

/// The dead letters of one outbox. Each call may wait for the disk.
#[derive(Debug)]
pub struct Letters(Journal);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// `webhook-id`, by which the receiver knows it.
    pub id: String,
    /// What it tells of.
    pub event: String,
    /// The session, if it is about a single one.
    pub session_id: Option<String>,
    /// Since when it had been waiting.
    pub since: Timestamp,
    /// When it was given up.
    pub died: Timestamp,
    /// Why.
    pub why: String,
}

/// Which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those with one of these ids.
    Ids(Vec<String>),
}

impl Letters {
    /// Those of the outbox in `folder`; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be used, as with all that follows.
    pub fn open(folder: &Path) -> Result<Option<Self>, JournalError> {
        Ok(Journal::open_existing(folder)?.map(Self))
    }

    /// How many there are.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn count(&self) -> Result<u64, JournalError> {
        Ok(self.0.count()?.dead)
    }

    /// The first `limit` of them, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn list(&self, limit: usize) -> Result<Vec<Letter>, JournalError> {
        Ok(self.0.dead(limit)?.into_iter().map(Letter::from).collect())
    }

    /// Lets them be delivered again, behind all that waits, and as if they were from `now`. Says how many those are.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn retry(&mut self, which: &Which, now: Timestamp) -> Result<usize, JournalError> {
        self.0.revive(which.ids(), now)
    }

    /// Throws them away for good, and says how many those were.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn drop(&mut self, which: &Which) -> Result<usize, JournalError> {
        self.0.forget(which.ids())
    }
}

impl Which {
    fn ids(&self) -> Option<&[String]> {
        match self {
            Self::All => None,
            Self::Ids(ids) => Some(ids),
        }
    }
}

impl From<Dead> for Letter {
    fn from(Dead { message, died, why }: Dead) -> Self {
        // We wrote it ourselves; somebody else may have written since.
        let glance = serde_json::from_str(&message.body);
        let glance = glance.unwrap_or_else(|_| Glance { event: "unknown".to_owned(), session_id: None });
        Self { id: message.id, event: glance.event, session_id: glance.session_id, since: message.since, died, why }
    }
}
