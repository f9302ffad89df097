//! What was told, counted. Where something has a label, its number is found by a place in an array, and the labels are
//! the operator's routes, the ring's keys and words of ours: nothing that a visitor says becomes one.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::context::{Context, Entry};
use crate::cookie::{KeyId, Reading};
use crate::event::Event;
use crate::refusal::Code;
use crate::session::Source;

use super::count::{Counter, Histogram};

/// Keys that are told apart: eight years of a key each season. Those that come after count as `other`.
const KEYS: usize = 32;

/// The slot of what met no route: the proxy's own paths, what was refused before, and redirects to https.
pub(super) const NO_ROUTE: usize = 0;

pub(super) const READINGS: [Reading; 8] = [
    Reading::Valid,
    Reading::Absent,
    Reading::Revoked,
    Reading::Expired,
    Reading::Outdated,
    Reading::Forged,
    Reading::Malformed,
    Reading::Conflict,
];

/// The words of `MintError::code`, and one for any that is not known here.
pub(super) const MINT_FAILURES: [&str; 13] = [
    "unauthorized",
    "forbidden",
    "bad_request",
    "invalid_payload",
    "bad_answer",
    "rate_limited",
    "breaker_open",
    "timed_out",
    "unreachable",
    "status",
    "unrecorded",
    "too_large",
    "other",
];

/// The counts.
#[derive(Debug)]
pub(super) struct Tally {
    /// Grows where a new configuration brings new routes; a number once given stays its route's.
    routes: ArcSwap<Vec<Arc<Route>>>,
    keys: [OnceLock<KeyId>; KEYS],
    /// For each key, then for a key too many, then for cookies that name none of ours.
    readings: [[Counter; READINGS.len()]; KEYS + 2],
    minted: [Counter; 2],
    mint_failures: [Counter; MINT_FAILURES.len()],
    mint_limited: Counter,
    mint_waits: Histogram,
    refusals: [Counter; Code::ALL.len()],
    /// Those that came to nothing, and those that were taken.
    reloads: [Counter; 2],
    revocations: Counter,
    rotations: Counter,
    retirements: Counter,
    cookies_of_the_site: Counter,
}

/// What is counted for each route.
#[derive(Debug)]
pub(super) struct Route {
    /// Host and path pattern, as configured.
    pub(super) name: String,
    /// Its upstream's name.
    pub(super) upstream: String,
    classes: [Counter; 5],
    pub(super) durations: Histogram,
    pub(super) upstream_durations: Histogram,
    /// Requests that it would have turned away if it were not in shadow.
    pub(super) shadowed: Counter,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            routes: ArcSwap::from_pointee(vec![Arc::new(Route::new("none".to_owned(), "none".to_owned()))]),
            keys: [const { OnceLock::new() }; KEYS],
            readings: std::array::from_fn(|_| Default::default()),
            minted: Default::default(),
            mint_failures: Default::default(),
            mint_limited: Counter::default(),
            mint_waits: Histogram::default(),
            refusals: Default::default(),
            reloads: Default::default(),
            revocations: Counter::default(),
            rotations: Counter::default(),
            retirements: Counter::default(),
            cookies_of_the_site: Counter::default(),
        }
    }

    /// The number under which this route is counted, from now on and for ever.
    pub(super) fn slot(&self, name: &str, upstream: &str) -> usize {
        let known = self.routes.load_full();
        if let Some(slot) = known.iter().position(|route| route.name == name && route.upstream == upstream) {
            return slot;
        }
        let mut routes = Vec::clone(&known);
        routes.push(Arc::new(Route::new(name.to_owned(), upstream.to_owned())));
        self.routes.store(Arc::new(routes));
        known.len()
    }

    pub(super) fn count(&self, event: &Event<'_>, context: Option<&Context>) {
        match event {
            Event::Answered { status, duration, entry } => self.answered(*status, *duration, entry),
            Event::Verified { key_id, .. } => self.read(Reading::Valid, Some(*key_id)),
            Event::CookieRejected { reading, key_id, .. } => self.read(*reading, *key_id),
            Event::Conflicted { .. } => self.read(Reading::Conflict, None),
            Event::Minted { source, waited, .. } => {
                self.minted[*source as usize].add_one();
                self.mint_waits.observe(*waited);
            }
            Event::MintFailed { error, waited } => {
                let known = MINT_FAILURES.iter().position(|word| *word == error.code());
                self.mint_failures[known.unwrap_or(MINT_FAILURES.len() - 1)].add_one();
                self.mint_waits.observe(*waited);
            }
            Event::MintLimited => self.mint_limited.add_one(),
            Event::Refused { refusal } => self.refusals[refusal.code as usize].add_one(),
            Event::Shadowed { .. } => self.shadowed(context),
            Event::ConfigReloaded { taken } => self.reloads[usize::from(*taken)].add_one(),
            Event::Revoked { .. } => self.revocations.add_one(),
            Event::KeyRotated { .. } => self.rotations.add_one(),
            Event::KeyRetired { .. } => self.retirements.add_one(),
            Event::UpstreamSetOurCookie { .. } => self.cookies_of_the_site.add_one(),
        }
    }

    fn answered(&self, status: u16, duration: std::time::Duration, entry: &Entry) {
        let routes = self.routes.load();
        let Some(route) = routes.get(entry.slot.unwrap_or(NO_ROUTE)) else { return };
        // What is no status of HTTP's was given up by its client: 499 is one of the 4xx.
        route.classes[usize::from(status / 100).clamp(1, 5) - 1].add_one();
        route.durations.observe(duration);
        if let Some(upstream) = entry.upstream_time {
            route.upstream_durations.observe(upstream);
        }
        // Of all readings this one alone is no event: nothing happens where nothing was sent.
        if entry.reading == Some(Reading::Absent.as_str()) {
            self.read(Reading::Absent, None);
        }
    }

    fn shadowed(&self, context: Option<&Context>) {
        let mut slot = None;
        if let Some(context) = context {
            context.record.note(|entry| slot = entry.slot);
        }
        if let Some(route) = self.routes.load().get(slot.unwrap_or(NO_ROUTE)) {
            route.shadowed.add_one();
        }
    }

    fn read(&self, reading: Reading, key_id: Option<KeyId>) {
        let row = key_id.map_or(KEYS + 1, |id| self.key_slot(id));
        self.readings[row][reading as usize].add_one();
    }

    /// The ring has few keys, and each is found within the first places.
    fn key_slot(&self, id: KeyId) -> usize {
        self.keys.iter().position(|known| *known.get_or_init(|| id) == id).unwrap_or(KEYS)
    }

    pub(super) fn routes(&self) -> Arc<Vec<Arc<Route>>> {
        self.routes.load_full()
    }

    /// Cookie readings: the reading, the key's id, and how often. What never came to pass is left out for keys.
    pub(super) fn readings(&self) -> Vec<(Reading, String, u64)> {
        let named = self.keys.iter().map_while(|key| key.get().map(KeyId::to_string)).enumerate();
        let rows = named.chain([(KEYS, "other".to_owned()), (KEYS + 1, "none".to_owned())]);
        rows.flat_map(|(row, name)| READINGS.map(|reading| (reading, name.clone(), &self.readings[row])))
            .map(|(reading, name, row)| (reading, name, row[reading as usize].count()))
            .filter(|(_, name, count)| *count > 0 || name == "none")
            .collect()
    }

    /// How many cookies a key has vouched for.
    pub(super) fn verified_with(&self, id: KeyId) -> u64 {
        let row = self.keys.iter().position(|known| known.get() == Some(&id));
        row.map_or(0, |row| self.readings[row][Reading::Valid as usize].count())
    }

    /// How often cookies were read so, under whatever key.
    pub(super) fn read_as(&self, reading: Reading) -> u64 {
        self.readings.iter().map(|row| row[reading as usize].count()).sum()
    }

    pub(super) fn minted(&self) -> [(&'static str, u64); 2] {
        [Source::Pool, Source::Direct].map(|source| (source.as_str(), self.minted[source as usize].count()))
    }

    /// Visits for which no session could be made, by the words of [`MINT_FAILURES`].
    pub(super) fn mint_failures(&self) -> [u64; MINT_FAILURES.len()] {
        std::array::from_fn(|place| self.mint_failures[place].count())
    }

    pub(super) const fn mint_waits(&self) -> &Histogram {
        &self.mint_waits
    }

    /// Requests that were refused, by [`Code::ALL`].
    pub(super) fn refusals(&self) -> [u64; Code::ALL.len()] {
        std::array::from_fn(|place| self.refusals[place].count())
    }

    /// What has one number and no label: the metric's name, what it is, and the number.
    pub(super) fn plain(&self) -> [(&'static str, &'static str, u64); 5] {
        [
            (
                "guestpass_mints_limited",
                "Visits that went on without a session, since their address had asked for too many.",
                self.mint_limited.count(),
            ),
            ("guestpass_revocations", "Revocations, by sign-out and by the operator.", self.revocations.count()),
            ("guestpass_key_rotations", "Times that another key began to sign.", self.rotations.count()),
            ("guestpass_key_retirements", "Keys whose cookies ceased to be accepted.", self.retirements.count()),
            (
                "guestpass_upstream_cookies_dropped",
                "Times that the site tried to set one of the proxy's cookies.",
                self.cookies_of_the_site.count(),
            ),
        ]
    }

    /// Reloads of the configuration, by what became of them.
    pub(super) fn reloads(&self) -> [(&'static str, u64); 2] {
        let [refused, taken] = &self.reloads;
        [("refused", refused.count()), ("taken", taken.count())]
    }

    pub(super) fn mints_limited(&self) -> u64 {
        self.mint_limited.count()
    }
}

impl Route {
    fn new(name: String, upstream: String) -> Self {
        Self {
            name,
            upstream,
            classes: Default::default(),
            durations: Histogram::default(),
            upstream_durations: Histogram::default(),
            shadowed: Counter::default(),
        }
    }

    /// Requests by the class of their status.
    pub(super) fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&self.classes).map(|(word, count)| (word, count.count()))
    }
}
