//! The thread behind the trail: one step for what is waiting, and the loop around it.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::cookie::{Key, KeyId, SharedRing};

use super::chain::Link;
use super::head::{Head, HeadFile};
use super::line::Draft;
use super::segment::{self, End, file_name};
use super::wire::{Line, Previous};
use super::{Config, Health};

/// Lines that share one sync: a disk's slowest millisecond is then paid by many.
const BATCH: usize = 1_024;

/// How long a line that nobody waits for may be on its way to the disk. A crash of the program alone loses none.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What is asked of the thread.
#[derive(Debug)]
pub(super) enum Order {
    /// A line, and who waits for it to be on disk.
    Write(Box<Draft>, Option<oneshot::Sender<Result<(), String>>>),
    /// Whatever was said before is to be on disk.
    Flush(Sender<()>),
}

/// The only one who writes this process's segments.
pub(super) struct Writer {
    config: Config,
    ring: SharedRing,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    segment: Segment,
    /// Where the chain has come to, and under which key.
    sequence: u64,
    link: Link,
    key: Key,
    /// Those that were in use before that one. A clock that is set back makes none of them sign again.
    left: Vec<KeyId>,
    /// The number of the oldest segment that was not taken away.
    oldest: u64,
    /// What [`Health`] counted as lost when the trail last said so.
    told_lost: u64,
    is_unsynced: bool,
    /// When everything was last on disk, by the clock's uptime.
    synced: Duration,
}

/// The file that is written.
struct Segment {
    path: PathBuf,
    file: File,
    head: HeadFile,
    /// Bytes of whole lines.
    size: u64,
    /// What it is to begin with, until that stands.
    opening: Option<Line>,
    /// What goes when that stands.
    too_old: Vec<(u64, PathBuf)>,
    /// Whether it is in doubt how it ends, so that the next line belongs into another one.
    is_broken: bool,
}

impl Writer {
    pub(super) fn open(
        config: &Config,
        ring: SharedRing,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
    ) -> io::Result<Self> {
        let end = segment::last_end(&config.path)?;
        let (sequence, link) = match &end {
            Some(End { previous, .. }) => (previous.sequence, Link::parse(&previous.chain).unwrap_or(Link::START)),
            None => (0, Link::START),
        };
        let oldest = end.as_ref().map_or(1, |end| end.oldest);
        let key = ring.load().signing(clock.now()).clone();
        let segment = Segment::begin(config, end.map(|end| end.previous), oldest, (sequence, link, &key), &*clock)?;
        let (config, left, synced) = (config.clone(), Vec::new(), clock.uptime());
        let mut this = Self {
            config,
            ring,
            clock,
            health,
            segment,
            sequence,
            link,
            key,
            left,
            oldest,
            told_lost: 0,
            is_unsynced: false,
            synced,
        };
        this.carry_out(Vec::new());
        this.sync();
        Ok(this)
    }

    /// Runs until nobody can say anything any more.
    pub(super) fn run(mut self, queue: &Receiver<Order>) {
        loop {
            match queue.recv_timeout(SYNC_EVERY) {
                Ok(first) => {
                    let orders = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)).collect();
                    self.carry_out(orders);
                    if self.clock.uptime().saturating_sub(self.synced) >= SYNC_EVERY {
                        self.sync();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => return self.sync(),
            }
        }
    }

    /// One step: written, on disk where somebody waits for that, the head behind it, and then said.
    fn carry_out(&mut self, orders: Vec<Order>) {
        let (mut drafts, mut waiting, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Write(draft, done) => {
                    drafts.push(draft.0);
                    waiting.extend(done);
                }
                Order::Flush(done) => flushes.push(done),
            }
        }
        let count = drafts.len();
        let written = self.renew_segment().and_then(|()| self.write(drafts, !waiting.is_empty()));
        let outcome = written.map_err(|error| error.to_string());
        self.health.queued.fetch_sub(count, Ordering::Relaxed);
        self.tell_health(count as u64, outcome.as_ref().err());
        for done in waiting {
            // Whoever has gone away meanwhile is in the trail all the same.
            let _ = done.send(outcome.clone());
        }
        if !flushes.is_empty() {
            self.sync();
        }
        for done in flushes {
            let _ = done.send(());
        }
    }

    fn tell_health(&self, count: u64, error: Option<&String>) {
        let Some(error) = error else {
            self.health.written.fetch_add(count, Ordering::Relaxed);
            if self.health.failing.swap(false, Ordering::Relaxed) {
                tracing::info!("the audit log can be written again");
            }
            return;
        };
        self.health.lost.fetch_add(count, Ordering::Relaxed);
        if !self.health.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(path = %self.segment.path.display(), %error, "the audit log cannot be written");
        }
    }

    /// All or nothing: what was written in part is taken out again, so that the next line follows a whole one.
    fn write(&mut self, drafts: Vec<Line>, is_awaited: bool) -> io::Result<()> {
        let lost = self.health.lost();
        let gap = (lost > self.told_lost).then(|| {
            let line = Draft::of_the_trail("log.gap", &*self.clock);
            Line { lost: Some(lost - self.told_lost), ..line }
        });
        let key = self.signing();
        let (mut sequence, mut link, mut text) = (self.sequence, self.link, String::new());
        for line in self.segment.opening.clone().into_iter().chain(gap).chain(drafts) {
            sequence += 1;
            let line = Line { sequence, audit_key: key.id().to_string(), ..line };
            let json = serde_json::to_string(&line).expect("texts and numbers always make JSON");
            let (closed, next) = link.close(&json, &key);
            text.push_str(&closed);
            text.push('\n');
            link = next;
        }
        if text.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.segment.append(&text, is_awaited) {
            self.segment.is_broken |= self.segment.file.set_len(self.segment.size).is_err();
            return Err(error);
        }
        self.segment.size += text.len() as u64;
        if key.id() != self.key.id() {
            self.left.push(self.key.id());
        }
        (self.sequence, self.link, self.key, self.told_lost) = (sequence, link, key, lost);
        self.is_unsynced = true;
        if self.segment.opening.take().is_some() {
            self.take_away_what_is_too_old();
        }
        if is_awaited {
            self.write_head();
        }
        Ok(())
    }

    /// The key for the next lines: the one that signs cookies, unless that would be going back. Whoever has a key that
    /// was given up could otherwise go on with the trail in its name.
    fn signing(&self) -> Key {
        let ring = self.ring.load();
        let signing = ring.signing(self.clock.now());
        let goes_back = self.left.contains(&signing.id()) && ring.keys().any(|key| key.id() == self.key.id());
        if goes_back { self.key.clone() } else { signing.clone() }
    }

    /// The next segment, where this one is full or spoilt, or somebody has taken it away.
    fn renew_segment(&mut self) -> io::Result<()> {
        let segment = &self.segment;
        let is_good = !segment.is_broken && segment::stands_at(&segment.file, &segment.path);
        if is_good && segment.size < self.config.max_size {
            return Ok(());
        }
        self.sync();
        let torn = segment::left_behind(&self.segment.file, self.segment.size)?;
        let previous = Previous {
            segment: file_name(&self.segment.path),
            sequence: self.sequence,
            chain: self.link.to_string(),
            ended: true,
            torn,
        };
        // One that could not even be opened is followed by one that continues the same.
        let previous = match &self.segment.opening {
            Some(opening) => opening.previous.clone(),
            None => Some(previous),
        };
        let from = (self.sequence, self.link, &self.key);
        self.segment = Segment::begin(&self.config, previous, self.oldest, from, &*self.clock)?;
        Ok(())
    }

    fn take_away_what_is_too_old(&mut self) {
        for (number, path) in std::mem::take(&mut self.segment.too_old) {
            self.oldest = number + 1;
            if let Err(error) = segment::remove(&path) {
                tracing::warn!(path = %path.display(), %error, "an old file of the audit log cannot be removed");
            }
        }
    }

    fn sync(&mut self) {
        self.synced = self.clock.uptime();
        if !self.is_unsynced {
            return;
        }
        match self.segment.file.sync_data() {
            Ok(()) => self.write_head(),
            Err(error) => {
                (self.is_unsynced, self.segment.is_broken) = (false, true);
                tracing::error!(%error, "the audit log cannot be brought to the disk");
            }
        }
    }

    /// Says in the head how far the segment goes. Its lines are on disk by now, so that a head that cannot be written
    /// takes nothing from them; but more lines would stand behind it unprotected.
    fn write_head(&mut self) {
        self.is_unsynced = false;
        let head = Head { segment: file_name(&self.segment.path), sequence: self.sequence, link: self.link };
        let head_file = &mut self.segment.head;
        if let Err(error) = head_file.write(&head, &self.key).and_then(|()| head_file.sync()) {
            self.segment.is_broken = true;
            tracing::error!(%error, "the head of the audit log cannot be written");
        }
    }
}

impl Segment {
    fn begin(
        config: &Config,
        previous: Option<Previous>,
        oldest: u64,
        (sequence, link, key): (u64, Link, &Key),
        clock: &dyn Clock,
    ) -> io::Result<Self> {
        let (path, file) = segment::create(&config.path)?;
        let start = Head { segment: file_name(&path), sequence, link };
        let head = HeadFile::create(&path, &start, key).and_then(|head| {
            segment::sync_names(&config.path)?;
            Ok(head)
        });
        let head = head.inspect_err(|_| {
            // What holds nothing must not look as if it had.
            let _ = segment::remove(&path);
        })?;
        segment::point(&config.path, &path);
        // Told to whoever keeps the program's own messages elsewhere: a head that is known there cannot be undone here.
        tracing::info!(file = %path.display(), head = %format_args!("{sequence}:{link}"), "the audit log goes on");
        let too_old = segment::too_old(&config.path, config.keep, config.max_size)?;
        let event = if previous.as_ref().is_some_and(|it| it.torn.is_some()) { "log.recovered" } else { "log.opened" };
        let opening = Line {
            segment: Some(file_name(&path)),
            oldest: Some(too_old.last().map_or(oldest, |(number, _)| number + 1)),
            previous,
            ..Draft::of_the_trail(event, clock)
        };
        Ok(Self { path, file, head, size: 0, opening: Some(opening), too_old, is_broken: false })
    }

    fn append(&mut self, text: &str, is_awaited: bool) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        if !is_awaited {
            return Ok(());
        }
        // What a sync has failed on may be on the disk or not, and the next one would not say (fsync(2)).
        self.file.sync_data().inspect_err(|_| self.is_broken = true)
    }
}
