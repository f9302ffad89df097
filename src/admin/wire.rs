//! What the operator's calls say and are answered, as JSON. Names are part of the interface: one is added, none is
//! renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `POST /sessions/revoke`: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    pub(super) session_id: Option<String>,
    pub(super) issued_before: Option<String>,
}

/// What came of it.
#[derive(Serialize)]
pub(super) struct Revoked {
    /// Until when it is remembered; by then the sessions would have ended by themselves.
    pub(super) kept_until: String,
}

/// `POST /keys/rotate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    /// Whether the new key signs at once, before every replica knows it.
    #[serde(default)]
    pub(super) now: bool,
}

/// What came of it.
#[derive(Serialize)]
pub(super) struct Rotated {
    /// The new key's id.
    pub(super) key: String,
    pub(super) signs_from: String,
}

/// `POST /outbox/retry`: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    #[serde(default)]
    pub(super) all: bool,
    /// As `guestpass outbox list` shows them.
    pub(super) ids: Option<Vec<String>>,
}

/// What came of it.
#[derive(Serialize)]
pub(super) struct Retried {
    /// Dead letters that are to be delivered again.
    pub(super) retried: usize,
}

/// `GET /status`. Moments are RFC 3339, durations are seconds, counts are since the start; what does not apply or is not
/// known is `null`.
#[derive(Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    /// What it was built from, where that is known.
    pub(super) commit: Option<&'static str>,
    pub(super) now: String,
    pub(super) started_at: String,
    pub(super) uptime_seconds: f64,
    pub(super) ready: bool,
    /// What stands against it, in words.
    pub(super) not_ready_because: Vec<String>,
    pub(super) last_minutes: LastMinutes,
    pub(super) reloads: Reloads,
    pub(super) genesys: Option<Genesys>,
    pub(super) pool: Option<Pool>,
    pub(super) connections: Option<Connections>,
    /// In the order of the configuration.
    pub(super) upstreams: Vec<Server>,
    pub(super) keys: Vec<Key>,
    /// When the signing key is to be replaced, where it is.
    pub(super) key_rotation_due_at: Option<String>,
    /// Where the keys stand in a ring file.
    pub(super) key_ring: Option<KeyRing>,
    /// The one that ends first comes first.
    pub(super) certificates: Vec<Certificate>,
    /// Where there is an audit log.
    pub(super) audit: Option<Audit>,
    /// Where there is a KMS to be told.
    pub(super) outbox: Option<Outbox>,
    /// What routes in shadow would have turned away, since the start, where there was anything.
    pub(super) shadowed: Vec<Shadowed>,
    /// The newest first, and 50 of them at most.
    pub(super) refusals: Vec<Refusal>,
    /// Whether calls that change something are on: there is a token for them.
    pub(super) can_be_changed: bool,
}

/// The last five minutes, or less after a start. The lists are of one length, the oldest step first, each with events a
/// second.
#[derive(Serialize)]
pub(super) struct LastMinutes {
    pub(super) step_seconds: f64,
    /// Requests of any kind.
    pub(super) requests: Vec<f64>,
    /// Requests that had a session, or were a visit that wanted one.
    pub(super) visits: Vec<f64>,
    pub(super) mints: Vec<f64>,
    pub(super) mint_failures: Vec<f64>,
    pub(super) refusals: Vec<f64>,
    /// The share of the cookies that were sent and were good, 0 to 1.
    pub(super) validity: Option<f64>,
    /// How cookies were read, and how often; what never came to pass is left out, here and in the next two.
    pub(super) readings: BTreeMap<&'static str, u64>,
    /// How long visits waited for a session.
    pub(super) mint_seconds: Option<Percentiles>,
    /// Why visits got none.
    pub(super) mint_failure_reasons: BTreeMap<&'static str, u64>,
    /// With what requests were refused.
    pub(super) refusal_codes: BTreeMap<&'static str, u64>,
}

/// Times that the configuration was read again.
#[derive(Serialize)]
pub(super) struct Reloads {
    pub(super) taken: u64,
    pub(super) refused: u64,
    pub(super) last_at: Option<String>,
    /// `taken`, or `refused` where the last good one stayed in use.
    pub(super) last_result: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

#[derive(Serialize)]
pub(super) struct Genesys {
    /// `closed`, or `open` while it is left alone since it keeps failing.
    pub(super) breaker: &'static str,
    /// Until one try, while it is open.
    pub(super) retry_in_seconds: Option<f64>,
    /// For how long the OAuth token is good; none has been needed yet, or could be had, where it is `null`.
    pub(super) token_seconds: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct Pool {
    /// Sessions that are ready for the next visits.
    pub(super) ready: usize,
    /// Sessions that are being made ahead.
    pub(super) under_way: usize,
    /// `session.warm_pool.size`.
    pub(super) size: usize,
}

#[derive(Serialize)]
pub(super) struct Connections {
    pub(super) open: usize,
    pub(super) refused: u64,
}

#[derive(Serialize)]
pub(super) struct Server {
    /// The name of its upstream.
    pub(super) upstream: String,
    /// Its address, as it is configured.
    pub(super) server: String,
    pub(super) healthy: bool,
    /// Since when that is so.
    pub(super) since: String,
    /// What was last wrong with it, if ever anything was.
    pub(super) last_error: Option<String>,
    /// Requests and tunnels.
    pub(super) under_way: usize,
}

#[derive(Serialize)]
pub(super) struct Key {
    pub(super) id: String,
    /// `signing`, `staged` or `verifying`.
    pub(super) state: &'static str,
    pub(super) created_at: Option<String>,
    pub(super) age_seconds: Option<f64>,
    /// When one that is staged takes over.
    pub(super) signs_from: Option<String>,
    /// From when on nobody can have a cookie under it, where that is known.
    pub(super) retirable_from: Option<String>,
    /// Cookies that it has vouched for.
    pub(super) verified: u64,
    /// Its share of all good cookies, 0 to 1.
    pub(super) share: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct KeyRing {
    /// Whether this process may change it, and so rotate its keys.
    pub(super) writable: bool,
    /// How long a new key verifies before it signs.
    pub(super) stage_seconds: f64,
}

#[derive(Serialize)]
pub(super) struct Certificate {
    pub(super) names: Vec<String>,
    pub(super) not_after: String,
    pub(super) seconds_left: f64,
}

#[derive(Serialize)]
pub(super) struct Audit {
    /// Lines that were written.
    pub(super) written: u64,
    /// Lines that could not be.
    pub(super) lost: u64,
    /// Whether the last attempt failed.
    pub(super) failing: bool,
}

#[derive(Serialize)]
pub(super) struct Outbox {
    /// Events that the KMS has not accepted yet.
    pub(super) messages: u64,
    /// For how long the oldest of them has been waiting.
    pub(super) oldest_age_seconds: Option<f64>,
    /// Events that were given up and not dropped.
    pub(super) dead_letters: u64,
    /// Deliveries that were accepted.
    pub(super) accepted: u64,
    /// Attempts that failed.
    pub(super) failed: u64,
    /// Events that became dead letters.
    pub(super) given_up: u64,
    /// Dead letters that were lost, since there were too many.
    pub(super) dropped: u64,
    /// Events that could not be written down.
    pub(super) unrecorded: u64,
    /// Whether the last attempt to deliver failed.
    pub(super) failing: bool,
    /// Whether the last attempt to write an event down failed.
    pub(super) unwritable: bool,
    /// Whether it is this process that delivers, of several that share the store's folder.
    pub(super) delivering: bool,
}

#[derive(Serialize)]
pub(super) struct Shadowed {
    pub(super) route: String,
    pub(super) requests: u64,
}

#[derive(Serialize)]
pub(super) struct Refusal {
    pub(super) at: String,
    pub(super) status: u16,
    pub(super) code: &'static str,
    /// The rule that it fell under.
    pub(super) reason: String,
    /// The route's path pattern.
    pub(super) route: Option<String>,
    /// The visitor's address, as `audit.client_address` says: its network unless it is told otherwise.
    pub(super) client: Option<String>,
}
