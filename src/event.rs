//! What happened, said once: the gate and forward speak, whoever listens makes lines, counters or deliveries of it.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::context::{Context, Entry};
use crate::cookie::{KeyId, Protection, Reading};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::session::{MintError, Session, Source};
use crate::store::Revocation;

/// Something worth telling. Borrowed, since most listeners keep none of it. Never a token: a listener that needs one
/// has no business here.
///
/// ```
/// use guestpass::event::Event;
///
/// fn line(event: &Event<'_>) -> Option<String> {
///     match event {
///         Event::Minted { session, waited, .. } => Some(format!("{} after {} ms", session.id, waited.as_millis())),
///         Event::MintFailed { error, .. } => Some(format!("no session: {error}")),
///         _ => None, // There may be more in a later version.
///     }
/// }
/// # assert_eq!(line(&Event::MintLimited), None);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A visit got a session. Told when it is handed out, however long before it was made.
    Minted {
        /// The session.
        session: &'a Session,
        /// The key that vouches for its cookie.
        key_id: KeyId,
        /// How its cookie is protected.
        protection: Protection,
        /// How long the visit waited for it.
        waited: Duration,
        /// Whether it had to be made first.
        source: Source,
    },
    /// A cookie was good.
    Verified {
        /// The session it carried.
        session: &'a Session,
        /// The key that vouched for it.
        key_id: KeyId,
    },
    /// A cookie was there and was not good, or none of several.
    CookieRejected {
        /// How it was read.
        reading: Reading,
        /// The key of ours that it names, if it names one.
        key_id: Option<KeyId>,
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
    /// The configuration was read again.
    ConfigReloaded {
        /// Whether it is in use now; else the last good one still is.
        taken: bool,
    },
    /// A route in shadow would have turned the request away, and let it pass.
    Shadowed {
        /// What it would have got: a refusal's code, `redirect` or `reload`.
        instead: &'static str,
    },
    /// A request was answered to its end, or given up before it. Told of every one that the proxy could read, last of all.
    Answered {
        /// The answer's status; 499 where the client left before there was one.
        status: u16,
        /// From the request's head to the answer's last byte.
        duration: Duration,
        /// What the layers have noted down.
        entry: &'a Entry,
    },
    /// The request went no further.
    Refused {
        /// With what.
        refusal: &'a Refusal,
    },
    /// Another key signs from now on.
    KeyRotated {
        /// The one that did.
        from: KeyId,
        /// The one that does.
        to: KeyId,
    },
    /// Cookies under a key are accepted no more.
    KeyRetired {
        /// Which.
        key_id: KeyId,
    },
    /// The site tried to set one of our cookies; it was dropped.
    UpstreamSetOurCookie {
        /// Which.
        name: &'a str,
    },
}

/// What [`Sink::record`] returns.
///
/// ```
/// use std::io::Write;
/// use std::sync::{Mutex, PoisonError};
///
/// use guestpass::event::{Recording, Unrecorded};
///
/// fn append<'a>(journal: &'a Mutex<impl Write + Send>, line: String) -> Recording<'a> {
///     Box::pin(async move {
///         let written = journal.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
///         written.map_err(|error| Unrecorded { by: "the journal", why: error.to_string() })
///     })
/// }
/// # drop(append(&Mutex::new(Vec::new()), "line".to_owned()));
/// ```
pub type Recording<'a> = Pin<Box<dyn Future<Output = Result<(), Unrecorded>> + Send + 'a>>;

/// Something could not be written down that must be, so it must not take effect.
///
/// ```
/// use guestpass::event::Unrecorded;
///
/// let error = Unrecorded { by: "the journal", why: "no space left on device".to_owned() };
/// assert_eq!(error.to_string(), "the journal cannot be written: no space left on device");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{by} cannot be written: {why}")]
pub struct Unrecorded {
    /// Who was to write it.
    pub by: &'static str,
    /// Why it could not.
    pub why: String,
}

/// Whoever listens.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use guestpass::context::Context;
/// use guestpass::event::{Event, Sink};
///
/// #[derive(Debug, Default)]
/// struct Minted(AtomicU64);
///
/// impl Sink for Minted {
///     fn notice(&self, event: &Event<'_>, _context: Option<&Context>) {
///         if let Event::Minted { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// # use guestpass::{cookie::Key, gate::GateLayer, secret::SecretBytes, session::MadeUp};
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
///
/// let minted = Arc::new(Minted::default());
/// let gate = GateLayer::builder(key, MadeUp::default()).sink(Arc::clone(&minted)).build();
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
pub trait Sink: fmt::Debug + Send + Sync {
    /// Takes note of `event`. Called on the request's way, so it must never wait. `context` is missing where the gate is
    /// worn without the proxy around it.
    ///
    /// ```
    /// use guestpass::context::Context;
    /// use guestpass::event::{Event, Sink};
    ///
    /// #[derive(Debug)]
    /// struct Conflicts;
    ///
    /// impl Sink for Conflicts {
    ///     fn notice(&self, event: &Event<'_>, _context: Option<&Context>) {
    ///         if let Event::Conflicted { policy } = event {
    ///             tracing::warn!(%policy, "somebody plants cookies");
    ///         }
    ///     }
    /// }
    /// ```
    fn notice(&self, event: &Event<'_>, context: Option<&Context>);

    /// Has `event` in writing before it takes effect, which waits for this: a session leaves only once it is recorded.
    /// Whatever is recorded is told to [`Sink::notice`] as well, once it stands. Only what must not be lost in a crash is
    /// told here: [`Event::Minted`], [`Event::Revoked`], [`Event::KeyRotated`] and [`Event::KeyRetired`]; the last three
    /// have happened by then, and go on if it fails.
    ///
    /// ```
    /// use guestpass::context::Context;
    /// use guestpass::event::{Event, Recording, Sink};
    ///
    /// /// Sessions that a database must know of before anybody has one.
    /// #[derive(Debug)]
    /// struct Register;
    ///
    /// impl Sink for Register {
    ///     fn notice(&self, _event: &Event<'_>, _context: Option<&Context>) {}
    ///
    ///     fn record<'a>(&'a self, event: &'a Event<'a>, _context: Option<&'a Context>) -> Recording<'a> {
    ///         Box::pin(async move {
    ///             if let Event::Minted { session, .. } = event {
    ///                 // Waits for the database, and says `Unrecorded` if it will not.
    /// #               let _ = session;
    ///             }
    ///             Ok(())
    ///         })
    ///     }
    /// }
    /// ```
    fn record<'a>(&'a self, _event: &'a Event<'a>, _context: Option<&'a Context>) -> Recording<'a> {
        Box::pin(ready(Ok(())))
    }
}

/// Records and tells what has happened already, so that a failure to write it down changes nothing but is said.
#[doc(hidden)]
pub async fn tell_what_happened(sink: &dyn Sink, event: &Event<'_>, context: Option<&Context>) {
    if let Err(error) = sink.record(event, context).await {
        tracing::error!(%error, ?event, "something happened of which there is no record");
    }
    sink.notice(event, context);
}

/// Whoever is shared listens once for all that hold him.
impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn notice(&self, event: &Event<'_>, context: Option<&Context>) {
        (**self).notice(event, context);
    }

    fn record<'a>(&'a self, event: &'a Event<'a>, context: Option<&'a Context>) -> Recording<'a> {
        (**self).record(event, context)
    }
}

/// Tells several listeners.
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::context::Context;
/// use guestpass::event::{Event, Everyone, Sink};
/// use guestpass::gate::GateLayer;
/// # use guestpass::{cookie::Key, secret::SecretBytes, session::MadeUp};
/// # #[derive(Debug)] struct Log;
/// # #[derive(Debug)] struct Numbers;
/// # impl Sink for Log { fn notice(&self, _: &Event<'_>, _: Option<&Context>) {} }
/// # impl Sink for Numbers { fn notice(&self, _: &Event<'_>, _: Option<&Context>) {} }
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let numbers = Arc::new(Numbers);
/// let everyone = Everyone(vec![Box::new(Log), Box::new(Arc::clone(&numbers))]);
/// let gate = GateLayer::builder(key, MadeUp::default()).sink(everyone).build();
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Debug, Default)]
pub struct Everyone(pub Vec<Box<dyn Sink>>);

impl Sink for Everyone {
    fn notice(&self, event: &Event<'_>, context: Option<&Context>) {
        for sink in &self.0 {
            sink.notice(event, context);
        }
    }

    /// Of all of them at once: whoever waits for the disk does so while the others do.
    fn record<'a>(&'a self, event: &'a Event<'a>, context: Option<&'a Context>) -> Recording<'a> {
        let recordings = self.0.iter().map(move |sink| sink.record(event, context));
        Box::pin(async move { try_join_all(recordings).await.map(drop) })
    }
}
