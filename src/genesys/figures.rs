//! What the provider has done so far and how it stands, for whoever shows it: counts that only grow, and nothing that a
//! mint would ever wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::genesys::breaker::Breaker;
use crate::genesys::call::Answer;
use crate::genesys::retry::Failure;
use crate::genesys::token::Tokens;

/// The answers that Genesys is known to give. Others count together, so that a server that makes up statuses makes up no
/// series.
const STATUSES: [(u16, &str); 14] = [
    (200, "200"),
    (201, "201"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (409, "409"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

/// What a call can come to without an answer that is listed above.
const OTHERS: [&str; 4] = ["other", "timeout", "unreachable", "malformed"];

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint {
    Sessions,
    Token,
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    calls: [[AtomicU64; STATUSES.len() + OTHERS.len()]; 2],
    pub(super) retries: AtomicU64,
    pub(super) tokens_fetched: AtomicU64,
    pub(super) tokens_failed: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) waited_micros: AtomicU64,
    pub(super) held_back: AtomicU64,
}

impl Counts {
    pub(super) fn called(&self, endpoint: Endpoint, came_to: &Result<Answer, Failure>) {
        let other = |place: usize| STATUSES.len() + place;
        let place = match came_to {
            Ok(answer) => {
                let status = answer.status.as_u16();
                STATUSES.iter().position(|(known, _)| *known == status).unwrap_or_else(|| other(0))
            }
            Err(Failure::TimedOut) => other(1),
            Err(Failure::Unreachable(_)) => other(2),
            Err(Failure::Malformed(_) | Failure::Client(_) | Failure::Refused(_)) => other(3),
        };
        add(&self.calls[endpoint as usize][place], 1);
    }

    pub(super) fn fetched_token(&self, came_to: bool) {
        add(if came_to { &self.tokens_fetched } else { &self.tokens_failed }, 1);
    }

    /// A call waited so long for its turn, or was told that it would have to wait for longer than it may.
    pub(super) fn turn(&self, waited: Duration, got_one: bool) {
        if !got_one {
            add(&self.held_back, 1);
        }
        if !waited.is_zero() {
            add(&self.waits, 1);
            add(&self.waited_micros, u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// How a [`Rest`](super::Rest) fares. Cheap to clone, and good for as long as anybody looks.
///
/// ```
/// use guestpass::genesys::Figures;
///
/// fn line(figures: &Figures) -> String {
///     let (fetched, failed) = figures.token_fetches();
///     format!("{fetched} tokens, {failed} failures, {} retries", figures.retries())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Figures {
    pub(super) counts: Arc<Counts>,
    pub(super) breaker: Arc<Breaker>,
    pub(super) tokens: Arc<Tokens>,
}

/// How the breaker stands.
///
/// ```
/// use guestpass::genesys::{BreakerState, Figures};
///
/// fn says(figures: &Figures) -> String {
///     match figures.breaker() {
///         BreakerState::Closed => "Genesys answers".to_owned(),
///         BreakerState::Open { retry_in } => format!("Genesys is asked again in {} s", retry_in.as_secs()),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Genesys is asked whenever a session is wanted.
    Closed,
    /// Genesys failed several times in a row, and is left alone.
    Open {
        /// Until one try.
        retry_in: Duration,
    },
}

impl Figures {
    /// The calls so far: to which endpoint, what they came to, and how many.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// for (endpoint, result, count) in rest.figures().calls() {
    ///     println!("genesys_calls_total{{endpoint={endpoint:?},result={result:?}}} {count}");
    /// }
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn calls(&self) -> Vec<(&'static str, &'static str, u64)> {
        let words = || STATUSES.iter().map(|(_, word)| *word).chain(OTHERS);
        let of = |name: &'static str, endpoint: Endpoint| {
            let counts = &self.counts.calls[endpoint as usize];
            words().zip(counts).map(move |(word, count)| (name, word, count.load(Ordering::Relaxed)))
        };
        of("sessions", Endpoint::Sessions).chain(of("token", Endpoint::Token)).collect()
    }

    /// Calls that were another try for the same session.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// println!("genesys_retries_total {}", rest.figures().retries());
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.counts.retries.load(Ordering::Relaxed)
    }

    /// Tokens that were fetched, and fetches that failed.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// let (fetched, failed) = rest.figures().token_fetches();
    /// assert_eq!((fetched, failed), (0, 0)); // The first one comes with the first session.
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn token_fetches(&self) -> (u64, u64) {
        (self.counts.tokens_fetched.load(Ordering::Relaxed), self.counts.tokens_failed.load(Ordering::Relaxed))
    }

    /// Calls that waited for their turn within the organization's budget, and how long all of them together.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// let (calls, together) = rest.figures().waits();
    /// let each = together.checked_div(u32::try_from(calls).unwrap_or(u32::MAX)).unwrap_or_default();
    /// # assert!(each.is_zero());
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn waits(&self) -> (u64, Duration) {
        let waited = Duration::from_micros(self.counts.waited_micros.load(Ordering::Relaxed));
        (self.counts.waits.load(Ordering::Relaxed), waited)
    }

    /// Sessions that were not asked for, since their turn lay too far ahead.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// let figures = rest.figures();
    /// if figures.held_back() > 0 {
    ///     println!("the organization's budget is too small for its visitors");
    /// }
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.counts.held_back.load(Ordering::Relaxed)
    }

    /// How the breaker stands.
    ///
    /// ```
    /// use guestpass::genesys::BreakerState;
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    ///
    /// assert_eq!(rest.figures().breaker(), BreakerState::Closed);
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.breaker.stands().map_or(BreakerState::Closed, |retry_in| BreakerState::Open { retry_in })
    }

    /// How often it has opened.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// println!("genesys_breaker_openings_total {}", rest.figures().breaker_openings());
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn breaker_openings(&self) -> u64 {
        self.breaker.openings()
    }

    /// For how long the OAuth token is good; `None` while there is none that is.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// assert_eq!(rest.figures().token_left(), None); // None was needed yet.
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn token_left(&self) -> Option<Duration> {
        self.tokens.left()
    }
}
