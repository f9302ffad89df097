//! What happened, said once: the gate and forward speak, whoever listens makes lines, counters or deliveries of it.

use std::fmt;
use std::time::Duration;

use crate::context::Context;
use crate::cookie::Reading;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::session::{MintError, Session, Source};
use crate::store::Revocation;

/// Something worth telling. Borrowed, since most listeners keep none of it. Never a token: a listener that needs one
/// has no business here.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A visit got a session. Told when it is handed out, however long before it was made.
    Minted {
        /// The session.
        session: &'a Session,
        /// How long the visit waited for it.
        waited: Duration,
        /// Whether it had to be made first.
        source: Source,
    },
    /// A cookie was good.
    Verified {
        /// The session it carried.
        session: &'a Session,
    },
    /// A cookie was there and was not good, or none of several.
    CookieRejected {
        /// How it was read.
        reading: Reading,
        /// What the route asks.
        policy: Policy,
    },
    /// A request brought good cookies of different sessions, of which somebody may have planted one: none was used.
    Conflicted {
        /// What the route asks.
        policy: Policy,
    },
    /// Sessions were taken back: by a visitor who signed out, or by the operator, who is in no request's context.
    Revoked {
        /// Which.
        revocation: &'a Revocation,
    },
    /// No session could be made for a visit.
    MintFailed {
        /// Why.
        error: &'a MintError,
        /// How long the visit waited in vain.
        waited: Duration,
    },
    /// A visit went on without a session, since its address had asked for too many.
    MintLimited,
    /// The request went no further.
    Refused {
        /// With what.
        refusal: &'a Refusal,
    },
    /// The site tried to set one of our cookies; it was dropped.
    UpstreamSetOurCookie {
        /// Which.
        name: &'a str,
    },
}

/// Whoever listens. Called on the request's way, so it must never wait.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Takes note of `event`. `context` is missing where the gate is worn without the proxy around it.
    fn notice(&self, event: &Event<'_>, context: Option<&Context>);
}

/// Tells several listeners.
#[derive(Debug, Default)]
pub struct Everyone(pub Vec<Box<dyn Sink>>);

impl Sink for Everyone {
    fn notice(&self, event: &Event<'_>, context: Option<&Context>) {
        for sink in &self.0 {
            sink.notice(event, context);
        }
    }
}
