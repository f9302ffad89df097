//! What the layers note down about one request, for the one line that the access log writes of it.
//!
//! It hangs in the request's extensions, since a response's vanish when the client goes away before it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::policy::Policy;

/// The notes of one request. Each layer fills in what it alone knows.
#[derive(Debug, Default)]
pub struct Record(Mutex<Entry>);

/// What there is to know. A field that stayed `None` did not come to pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The route's pattern, as configured.
    pub route: Option<Arc<str>>,
    /// Under which number whoever counts knows the route.
    pub slot: Option<usize>,
    /// What the route asks.
    pub policy: Option<Policy>,
    /// How the cookie was read.
    pub reading: Option<&'static str>,
    /// Whether a key of ours vouches for the cookie, whatever else is wrong with it.
    pub hmac_verified: Option<bool>,
    /// What the gate did: `pass`, `mint`, `refuse`, `redirect`, `reload`.
    pub decision: Option<&'static str>,
    /// What a route in shadow would have answered: a refusal's code, `redirect` or `reload`.
    pub shadow: Option<&'static str>,
    /// Why: the rule that a refusal fell under, why a visit stayed without a session, or why a page was reloaded.
    pub reason: Option<Cow<'static, str>>,
    /// The verified or minted session.
    pub session_id: Option<String>,
    /// The upstream's name.
    pub upstream: Option<Arc<str>>,
    /// The address of its server that was asked last, and so of the one that answered, if any did.
    pub server: Option<Arc<str>>,
    /// From handing the request to the upstream until its response's head.
    pub upstream_time: Option<Duration>,
    /// How a visit came by its session, `pool` or `direct`; `failed` where none could be made.
    pub mint: Option<&'static str>,
    /// How long a visit waited for its session.
    pub mint_time: Option<Duration>,
    /// Whether the response ended before it was whole.
    pub cut: bool,
}

impl Record {
    /// Notes something down. The lock is the request's own, so nobody else ever waits for it.
    pub fn note(&self, fill: impl FnOnce(&mut Entry)) {
        // A panic while noting leaves at worst half an entry, which is still worth its line.
        fill(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All that was noted.
    #[must_use]
    pub fn take(&self) -> Entry {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
