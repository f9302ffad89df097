//! The file: what waits to be delivered, and dead letters, in one SQLite database.
//!
//! Whatever was written is on disk when [`Journal::write`] returns. Several processes may have it open, and each of them
//! may write; one that was killed leaves it whole. It does not grow past what stands in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Row, TransactionBehavior, params};

use crate::clock::Timestamp;

use super::JournalError;
use super::message::Message;

/// How long another process may be writing: a write takes milliseconds. One that was stopped in the middle of it must
/// not stop this one for good.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the tables below are. A newer guestpass may have others.
const VERSION: i64 = 1;

/// A number that was given away never comes again, so that whoever has seen one knows what is new.
const TABLES: &str = "
    CREATE TABLE waiting (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL, since INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX waiting_since ON waiting (since);
    CREATE TABLE dead (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL, since INTEGER NOT NULL,
        died INTEGER NOT NULL, why TEXT NOT NULL
    ) STRICT;
    CREATE INDEX dead_id ON dead (id);
";

/// The database.
#[derive(Debug)]
pub(super) struct Journal {
    database: Connection,
}

/// A message with its place in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) message: Message,
}

/// A message that waits no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Delivered(u64),
    GivenUp { number: u64, died: Timestamp, why: String },
}

/// How much stands in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waiting: u64,
    pub(super) oldest: Option<Timestamp>,
    pub(super) dead: u64,
}

/// A message that nobody accepted in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dead {
    pub(super) message: Message,
    pub(super) died: Timestamp,
    pub(super) why: String,
}

/// Where it stands in the store's folder.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("outbox.db")
}

impl Journal {
    /// Opens the one in `folder`, and makes both, for their owner alone, where they are missing.
    pub(super) fn open(folder: &Path) -> Result<Self, JournalError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // SQLite would let everybody read it. The files that it puts beside it look as this one does.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path(folder))?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(JournalError::Exposed(mode));
        }
        File::open(folder)?.sync_all()?;
        Self::connect(&path(folder))
    }

    /// As [`Self::open`], where there is one.
    pub(super) fn open_existing(folder: &Path) -> Result<Option<Self>, JournalError> {
        if fs::exists(path(folder))? { Self::connect(&path(folder)).map(Some) } else { Ok(None) }
    }

    fn connect(path: &Path) -> Result<Self, JournalError> {
        let mut database = Connection::open(path)?;
        database.busy_timeout(PATIENCE)?;
        // What was deleted gives its room back; this has to be said before there is a table.
        database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        // Readers and the writer do not wait for each other, and a commit is one write and one sync.
        database.pragma_update(None, "journal_mode", "WAL")?;
        // The log is synced with every commit. NORMAL would lose the last ones when the power fails.
        database.pragma_update(None, "synchronous", "FULL")?;
        // After a burst the log is cut back to this.
        database.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
        let begun = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match begun.pragma_query_value(None, "user_version", |row| row.get(0))? {
            0 => {
                begun.execute_batch(TABLES)?;
                begun.pragma_update(None, "user_version", VERSION)?;
            }
            VERSION => {}
            newer => return Err(JournalError::Version(newer)),
        }
        begun.commit()?;
        Ok(Self { database })
    }

    /// Adds what is new and takes out what waits no more: all of it or, when it fails, nothing.
    pub(super) fn write(&mut self, news: &[&Message], settled: &[Settled]) -> Result<(), JournalError> {
        let writing = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut add = writing.prepare("INSERT INTO waiting (id, subject, body, since) VALUES (?, ?, ?, ?)")?;
            for message in news {
                add.execute(params![message.id, message.subject, message.body, millis(message.since)])?;
            }
            let mut bury = writing.prepare(
                "INSERT INTO dead (id, subject, body, since, died, why)
                 SELECT id, subject, body, since, ?2, ?3 FROM waiting WHERE number = ?1",
            )?;
            let mut remove = writing.prepare("DELETE FROM waiting WHERE number = ?")?;
            for settled in settled {
                let (Settled::Delivered(number) | Settled::GivenUp { number, .. }) = settled;
                if let Settled::GivenUp { died, why, .. } = settled {
                    bury.execute(params![whole(*number), millis(*died), why])?;
                }
                remove.execute([whole(*number)])?;
            }
        }
        Ok(writing.commit()?)
    }

    /// The first `limit` that wait behind `number`, the oldest first.
    pub(super) fn waiting_behind(&self, number: u64, limit: usize) -> Result<Vec<Waiting>, JournalError> {
        let mut query = self
            .database
            .prepare("SELECT id, subject, body, since, number FROM waiting WHERE number > ? ORDER BY number LIMIT ?")?;
        let found = query.query_map(params![whole(number), limit_of(limit)], |row| {
            Ok(Waiting { number: row.get::<_, i64>(4)?.unsigned_abs(), message: message(row)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    pub(super) fn count(&self) -> Result<Counts, JournalError> {
        let query = "SELECT (SELECT count(*) FROM waiting), (SELECT min(since) FROM waiting),
                            (SELECT count(*) FROM dead)";
        Ok(self.database.query_row(query, [], |row| {
            let oldest: Option<i64> = row.get(1)?;
            let (waiting, dead): (i64, i64) = (row.get(0)?, row.get(2)?);
            Ok(Counts { waiting: waiting.unsigned_abs(), oldest: oldest.map(moment), dead: dead.unsigned_abs() })
        })?)
    }

    /// Something that is another number whenever another process has written since.
    pub(super) fn others_wrote(&self) -> Result<i64, JournalError> {
        Ok(self.database.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// Throws the oldest dead letters away until `keep` are left, and says how many those were.
    pub(super) fn forget_oldest_dead(&self, keep: u64) -> Result<usize, JournalError> {
        let query = "DELETE FROM dead WHERE number <= (SELECT number FROM dead ORDER BY number DESC LIMIT 1 OFFSET ?)";
        Ok(self.database.execute(query, [whole(keep)])?)
    }

    /// Gives the room of what was deleted back to the file system.
    pub(super) fn shrink(&self) -> Result<(), JournalError> {
        let mut vacuum = self.database.prepare("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query([])?;
        // Each step gives one page back.
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// The first `limit` dead letters, the oldest first.
    pub(super) fn dead(&self, limit: usize) -> Result<Vec<Dead>, JournalError> {
        let mut query =
            self.database.prepare("SELECT id, subject, body, since, died, why FROM dead ORDER BY number LIMIT ?")?;
        let found = query.query_map([limit_of(limit)], |row| {
            Ok(Dead { message: message(row)?, died: moment(row.get(4)?), why: row.get(5)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Lets dead letters wait again, as if they were from `now`: all, or those with an id of `ids`.
    pub(super) fn revive(&mut self, ids: Option<&[String]>, now: Timestamp) -> Result<usize, JournalError> {
        let now = millis(now);
        let copy = format!("INSERT INTO waiting (id, subject, body, since) SELECT id, subject, body, {now} FROM dead");
        self.take_dead(ids, Some(&copy))
    }

    /// Throws dead letters away: all, or those with an id of `ids`.
    pub(super) fn forget(&mut self, ids: Option<&[String]>) -> Result<usize, JournalError> {
        self.take_dead(ids, None)
    }

    /// Takes dead letters out, after `copy` was done with the same, and says how many those were.
    fn take_dead(&mut self, ids: Option<&[String]>, copy: Option<&str>) -> Result<usize, JournalError> {
        let writing = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut count = 0;
        match ids {
            None => {
                if let Some(copy) = copy {
                    writing.execute(&format!("{copy} ORDER BY number"), [])?;
                }
                count += writing.execute("DELETE FROM dead", [])?;
            }
            Some(ids) => {
                for id in ids {
                    if let Some(copy) = copy {
                        writing.execute(&format!("{copy} WHERE id = ? ORDER BY number"), [id])?;
                    }
                    count += writing.execute("DELETE FROM dead WHERE id = ?", [id])?;
                }
            }
        }
        writing.commit()?;
        Ok(count)
    }
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message { id: row.get(0)?, subject: row.get(1)?, body: row.get(2)?, since: moment(row.get(3)?) })
}

/// SQLite's numbers have a sign.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn millis(moment: Timestamp) -> i64 {
    whole(moment.millis())
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis.unsigned_abs())
}
