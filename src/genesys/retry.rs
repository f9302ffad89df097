//! What went wrong with a call, and what to do about it: Genesys' error table as one pure function, [`next`].
//!
//! Waiting, calling and counting are the business of [`super::rest`].

use std::time::Duration;

use crate::backoff::{self, Backoff};
use crate::clock::Timestamp;
use crate::session::MintError;

/// The live platform's `Retry-After` can be hours, while the reason for it is usually gone within the minute.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// 2^n seconds, as Genesys advises.
pub(super) const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: LONGEST_WAIT };

/// What a call came to instead of a session or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The token endpoint does not accept our client, and will not until a person has changed something.
    Client(String),
    /// An answer that is no success.
    Refused(Refused),
    /// A success that is none.
    Malformed(String),
    /// No whole answer in time.
    TimedOut,
    /// No connection, or one that broke.
    Unreachable(String),
}

/// An answer that is no success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) message: String,
    pub(super) context_id: Option<String>,
    pub(super) correlation_id: Option<String>,
    /// At most [`LONGEST_WAIT`].
    pub(super) retry_after: Option<Duration>,
}

/// What was already tried for one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    pub(super) calls: u32,
    pub(super) max_calls: u32,
    pub(super) fresh_token: bool,
    pub(super) fresh_nonce: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Once more at once, under another token.
    FreshToken,
    /// Once more at once, under another nonce: the session may have been made and its answer lost.
    FreshNonce,
    /// The very same again, after the time that Genesys names, else after a back-off's.
    Again(Option<Duration>),
    /// Tell the visit.
    GiveUp,
}

/// The table.
pub(super) fn next(failure: &Failure, tried: Tried) -> Next {
    if tried.calls >= tried.max_calls {
        return Next::GiveUp;
    }
    match failure {
        Failure::Refused(refused) => match refused.status {
            401 if !tried.fresh_token => Next::FreshToken,
            409 if !tried.fresh_nonce => Next::FreshNonce,
            429 | 502 | 503 | 504 => Next::Again(refused.retry_after),
            _ => Next::GiveUp,
        },
        Failure::TimedOut | Failure::Unreachable(_) => Next::Again(None),
        Failure::Client(_) | Failure::Malformed(_) => Next::GiveUp,
    }
}

impl Failure {
    /// Whether the breaker counts it: Genesys is not working, or not for us.
    pub(super) fn breaks(&self) -> bool {
        match self {
            Self::Refused(refused) => matches!(refused.status, 401 | 403 | 500..),
            Self::Client(_) | Self::TimedOut | Self::Unreachable(_) => true,
            Self::Malformed(_) => false,
        }
    }

    /// For how long Genesys wants nobody to ask.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) if refused.status == 429 => refused.retry_after,
            _ => None,
        }
    }

    /// What the visit is told, after `waited`.
    pub(super) fn into_error(self, organization_id: &str, waited: Duration) -> MintError {
        match self {
            Self::Client(message) => MintError::Unauthorized { message },
            Self::Malformed(reason) => MintError::BadAnswer(reason),
            Self::TimedOut => MintError::TimedOut { waited },
            Self::Unreachable(reason) => MintError::Unreachable(reason),
            Self::Refused(refused) => match refused.status {
                400 => MintError::BadRequest { message: refused.message },
                401 => MintError::Unauthorized { message: refused.message },
                403 => MintError::Forbidden { organization_id: organization_id.to_owned() },
                429 => MintError::RateLimited { retry_after: refused.retry_after.unwrap_or(BACKOFF.base) },
                status => MintError::Status {
                    status,
                    message: refused.message,
                    context_id: refused.context_id,
                    correlation_id: refused.correlation_id,
                },
            },
        }
    }
}

/// Reads `Retry-After`; at most [`LONGEST_WAIT`].
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    backoff::retry_after(value, now).map(|wait| wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Tried = Tried { calls: 1, max_calls: 3, fresh_token: false, fresh_nonce: false };

    fn status(status: u16) -> Failure {
        Failure::Refused(Refused { status, ..Refused::default() })
    }

    fn asking(status: u16, seconds: u64) -> Failure {
        Failure::Refused(Refused { status, retry_after: Some(Duration::from_secs(seconds)), ..Refused::default() })
    }

    fn unreachable() -> Failure {
        Failure::Unreachable(String::new())
    }

    #[test]
    fn every_row_of_the_table() {
        let again = Tried { calls: 2, fresh_token: true, fresh_nonce: true, ..FIRST };
        for (failure, first, later) in [
            (status(401), Next::FreshToken, Next::GiveUp),
            (status(403), Next::GiveUp, Next::GiveUp),
            (status(400), Next::GiveUp, Next::GiveUp),
            (status(409), Next::FreshNonce, Next::GiveUp),
            (status(429), Next::Again(None), Next::Again(None)),
            (asking(429, 2), Next::Again(Some(Duration::from_secs(2))), Next::Again(Some(Duration::from_secs(2)))),
            (status(502), Next::Again(None), Next::Again(None)),
            (status(503), Next::Again(None), Next::Again(None)),
            (asking(503, 0), Next::Again(Some(Duration::ZERO)), Next::Again(Some(Duration::ZERO))),
            (status(504), Next::Again(None), Next::Again(None)),
            (Failure::TimedOut, Next::Again(None), Next::Again(None)),
            (unreachable(), Next::Again(None), Next::Again(None)),
            (status(500), Next::GiveUp, Next::GiveUp),
            (status(501), Next::GiveUp, Next::GiveUp),
            (status(404), Next::GiveUp, Next::GiveUp),
            (status(302), Next::GiveUp, Next::GiveUp),
            (Failure::Client(String::new()), Next::GiveUp, Next::GiveUp),
            (Failure::Malformed(String::new()), Next::GiveUp, Next::GiveUp),
        ] {
            assert_eq!(next(&failure, FIRST), first, "{failure:?}");
            assert_eq!(next(&failure, again), later, "{failure:?} later");
            assert_eq!(next(&failure, Tried { calls: 3, ..FIRST }), Next::GiveUp, "{failure:?} with no call left");
        }
    }

    #[test]
    fn the_breaker_counts_what_says_that_genesys_does_not_work_for_us() {
        for failure in [status(401), status(403), status(500), status(503), status(599), Failure::TimedOut] {
            assert!(failure.breaks(), "{failure:?}");
        }
        assert!(unreachable().breaks() && Failure::Client(String::new()).breaks());
        for failure in [status(400), status(404), status(409), status(429), Failure::Malformed(String::new())] {
            assert!(!failure.breaks(), "{failure:?}");
        }
    }

    #[test]
    fn only_429_pauses_everybody() {
        assert_eq!(asking(429, 5).pause(), Some(Duration::from_secs(5)));
        assert_eq!(asking(503, 5).pause(), None);
        assert_eq!(status(429).pause(), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_long() {
        let now = Timestamp::from_seconds(1_795_357_200); // Sun, 22 Nov 2026 14:20:00 GMT
        for (value, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("60", Some(60)),
            ("7200", Some(60)),
            ("99999999999999999999999999", Some(60)),
            ("Sun, 22 Nov 2026 14:20:07 GMT", Some(7)),
            ("Sunday, 22-Nov-26 14:20:07 GMT", Some(7)),
            ("Sun, 22 Nov 2026 18:20:00 GMT", Some(60)),
            ("Sun, 22 Nov 2026 14:19:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn a_visit_is_told_what_happened() {
        for (failure, code) in [
            (Failure::Client(String::new()), "unauthorized"),
            (status(401), "unauthorized"),
            (status(403), "forbidden"),
            (status(400), "bad_request"),
            (status(429), "rate_limited"),
            (status(409), "status"),
            (status(500), "status"),
            (Failure::TimedOut, "timed_out"),
            (unreachable(), "unreachable"),
            (Failure::Malformed(String::new()), "bad_answer"),
        ] {
            assert_eq!(failure.clone().into_error("org", Duration::ZERO).code(), code, "{failure:?}");
        }
    }
}
