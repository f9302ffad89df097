//! Which message is next, and when: no clock of its own, no disk, no network.
//!
//! Of those about the same subject only the oldest is tried, and the others wait behind it. Each message waits longer
//! from try to try; and when several tries in a row have failed, whatever they were about, only one at a time is tried,
//! to see whether the receiver is back.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::random::Random;

use super::journal::Waiting;
use super::message::Message;

/// Deliveries at once: enough for a hundred a second at a receiver that takes 80 ms, and no storm for one that comes
/// back.
const IN_FLIGHT: usize = 8;

/// What is wrong with one message is rarely mended within minutes.
const BETWEEN_TRIES: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(600) };

/// Failures in a row, whatever they were about, that say that the receiver is down.
const BREAKS: u32 = 5;

/// A receiver that is back hears of it within half a minute.
const WHILE_DOWN: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

/// Past this the oldest become dead letters: some 60 MiB of memory and as much disk, and a day of one session a second.
const MOST_WAITING: usize = 100_000;

/// All that waits in the journal.
#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: BTreeMap<u64, Entry>,
    /// Of each subject its messages, in order.
    lines: HashMap<String, VecDeque<u64>>,
    /// The first of each line, unless it is being delivered, by when it is due.
    due: BTreeSet<(Instant, u64)>,
    in_flight: usize,
    failures: u32,
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    tries: u32,
    /// `None` while it is being delivered, and where it waits behind another.
    due: Option<Instant>,
    is_in_flight: bool,
    /// Why the last try failed.
    why: Option<String>,
}

/// A message that is given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    pub(super) number: u64,
    pub(super) why: String,
}

impl Queue {
    pub(super) fn add(&mut self, Waiting { number, message }: Waiting, now: Instant) {
        let line = self.lines.entry(message.subject.clone()).or_default();
        line.push_back(number);
        let due = (line.len() == 1).then_some(now);
        self.due.extend(due.map(|due| (due, number)));
        self.messages.insert(number, Entry { message, tries: 0, due, is_in_flight: false, why: None });
    }

    /// The next one to deliver, if one may be delivered now. Of it [`Self::delivered`] or [`Self::failed`] is to be said.
    pub(super) fn next(&mut self, now: Instant) -> Option<Waiting> {
        if self.is_full() || self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let (due, number) = *self.due.first()?;
        let entry = self.messages.get_mut(&number).filter(|_| due <= now)?;
        self.due.pop_first();
        self.in_flight += 1;
        (entry.due, entry.is_in_flight) = (None, true);
        Some(Waiting { number, message: entry.message.clone() })
    }

    /// When [`Self::next`] will have one, if nothing happens until then.
    pub(super) fn wakes(&self) -> Option<Instant> {
        let (due, _) = *self.due.first().filter(|_| !self.is_full())?;
        Some(self.paused_until.map_or(due, |until| until.max(due)))
    }

    pub(super) fn delivered(&mut self, number: u64, now: Instant) {
        self.in_flight -= 1;
        self.failures = 0;
        self.remove(number, now);
    }

    /// `retry_after` is what the receiver asks of everybody.
    pub(super) fn failed(
        &mut self,
        number: u64,
        why: String,
        retry_after: Option<Duration>,
        now: Instant,
        random: &dyn Random,
    ) {
        self.in_flight -= 1;
        self.failures = self.failures.saturating_add(1);
        let breaks = self.failures.checked_sub(BREAKS).map(|more| WHILE_DOWN.wait(more, random));
        if let Some(wait) = breaks.max(retry_after) {
            self.paused_until = self.paused_until.max(Some(now + wait));
        }
        if let Some(entry) = self.messages.get_mut(&number) {
            let due = now + BETWEEN_TRIES.wait(entry.tries, random);
            entry.tries += 1;
            (entry.due, entry.is_in_flight, entry.why) = (Some(due), false, Some(why));
            self.due.insert((due, number));
        }
    }

    /// Takes out what is older than `oldest`, and what is too much. What is being delivered stays until that is known.
    pub(super) fn give_up(&mut self, oldest: Timestamp, now: Instant) -> Vec<GivenUp> {
        let excess = self.messages.len().saturating_sub(MOST_WAITING);
        let too_many = self.messages.iter().take(excess);
        // They stand in the order in which they came.
        let too_old = self.messages.iter().skip(excess).take_while(|(_, entry)| entry.message.since < oldest);
        let given_up = too_many.map(|it| (it, "too many were waiting")).chain(too_old.map(|it| (it, "it was too old")));
        let given_up: Vec<_> = given_up
            .filter(|((_, entry), _)| !entry.is_in_flight)
            .map(|((number, entry), why)| GivenUp {
                number: *number,
                why: format!("{why}; {}", entry.why.as_deref().unwrap_or("it was never tried")),
            })
            .collect();
        for given_up in &given_up {
            self.remove(given_up.number, now);
        }
        given_up
    }

    /// Whether the last attempts failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    fn is_full(&self) -> bool {
        self.in_flight >= if self.failures >= BREAKS { 1 } else { IN_FLIGHT }
    }

    fn remove(&mut self, number: u64, now: Instant) {
        let Some(entry) = self.messages.remove(&number) else { return };
        if let Some(due) = entry.due {
            self.due.remove(&(due, number));
        }
        let Some(line) = self.lines.get_mut(&entry.message.subject) else { return };
        line.retain(|other| *other != number);
        match line.front() {
            None => drop(self.lines.remove(&entry.message.subject)),
            Some(first) => {
                // It may be due or on its way already, where another was taken out from behind it.
                if let Some(entry) = self.messages.get_mut(first).filter(|it| it.due.is_none() && !it.is_in_flight) {
                    entry.due = Some(now);
                    self.due.insert((now, *first));
                }
            }
        }
    }
}
