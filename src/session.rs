//! A guest session, and who can make one.
//!
//! [`Provider`] is the seam between the gate and Genesys: the REST provider stands in [`crate::genesys`], and whoever
//! wears the gate as a library may bring their own.

mod ending;
mod id;
mod made_up;

pub use self::ending::Ending;
#[doc(hidden)]
pub use self::id::{BadId, check_id};
pub use self::made_up::MadeUp;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret::SecretText;

/// A Genesys guest session: what the cookie carries and the site is told of.
///
/// A request that passed the gate with a verified or freshly minted one carries it in its extensions, as
/// `Arc<Session>`.
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::session::Session;
///
/// fn greet<B>(request: &http::Request<B>) -> String {
///     match request.extensions().get::<Arc<Session>>() {
///         Some(session) => format!("Welcome, {}, until {}.", session.id, session.expires_at),
///         None => "Welcome.".to_owned(),
///     }
/// }
/// # assert_eq!(greet(&http::Request::new(())), "Welcome.");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Genesys' name for the session. An identifier, no secret.
    pub id: String,
    /// What acts in the session's name.
    pub token: SecretText,
    /// The Genesys organization that the session belongs to.
    pub organization_id: String,
    /// When it was minted.
    pub issued_at: Timestamp,
    /// From when on it is void.
    pub expires_at: Timestamp,
}

/// What [`Provider::mint`] returns.
///
/// ```
/// use guestpass::session::{MintError, Minting};
///
/// // What is known at once needs no waiting.
/// fn closed() -> Minting<'static> {
///     Box::pin(async { Err(MintError::Unreachable("the chat opens at eight".to_owned())) })
/// }
/// # drop(closed());
/// ```
pub type Minting<'a> = Pin<Box<dyn Future<Output = Result<Session, MintError>> + Send + 'a>>;

/// How a visit came by its session.
///
/// ```
/// use guestpass::event::Event;
/// use guestpass::session::Source;
///
/// fn has_waited(event: &Event<'_>) -> bool {
///     matches!(event, Event::Minted { source: Source::Direct, .. })
/// }
/// # assert!(!has_waited(&Event::MintLimited));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// It had been made ahead, or for a visitor who then left: nobody waited for it.
    Pool,
    /// It was made while the visit waited.
    Direct,
}

impl Source {
    /// The word for it in logs and metrics.
    ///
    /// ```
    /// use guestpass::session::Source;
    ///
    /// assert_eq!([Source::Pool, Source::Direct].map(Source::as_str), ["pool", "direct"]);
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Direct => "direct",
        }
    }
}

/// Whoever can make a session.
///
/// With the feature `rest` there is one that asks Genesys, [`genesys::Rest`](crate::genesys::Rest). One's own needs no
/// more than this:
///
/// ```
/// use std::time::Duration;
///
/// use guestpass::session::{MintError, Minting, Provider, Session};
///
/// /// Asks a service of the house, which has the OAuth client.
/// #[derive(Debug)]
/// struct House;
///
/// impl Provider for House {
///     fn mint(&self, budget: Duration) -> Minting<'_> {
///         Box::pin(async move {
///             let session = tokio::time::timeout(budget, ask()).await;
///             session.unwrap_or(Err(MintError::TimedOut { waited: budget }))
///         })
///     }
///
///     fn organization_id(&self) -> &str {
///         "3fa85f64-5717-4562-b3fc-2c963f66afa6"
///     }
/// }
///
/// async fn ask() -> Result<Session, MintError> {
///     // …
/// #   Err(MintError::Unreachable("it is an example".to_owned()))
/// }
/// ```
pub trait Provider: fmt::Debug + Send + Sync {
    /// A session that is there already, for a visit that is about to ask for one. The gate asks this once for each such
    /// visit, and [`Provider::mint`] only where there is none. It must not wait.
    ///
    /// A provider that keeps nothing in stock need not say anything of it.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use std::time::Duration;
    ///
    /// use guestpass::session::{MadeUp, Minting, Provider, Session};
    ///
    /// /// Sessions that were left over from something else come first.
    /// #[derive(Debug, Default)]
    /// struct Thrifty(MadeUp, Mutex<Vec<Session>>);
    ///
    /// impl Provider for Thrifty {
    ///     fn at_hand(&self) -> Option<Session> {
    ///         self.1.try_lock().ok()?.pop()
    ///     }
    ///
    ///     fn mint(&self, budget: Duration) -> Minting<'_> {
    ///         self.0.mint(budget)
    ///     }
    ///
    ///     fn organization_id(&self) -> &str {
    ///         self.0.organization_id()
    ///     }
    /// }
    /// # assert!(Thrifty::default().at_hand().is_none());
    /// ```
    fn at_hand(&self) -> Option<Session> {
        None
    }

    /// Makes one session. It is done or has failed within `budget`, which spans every attempt and wait.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::session::{MintError, Provider};
    ///
    /// /// Before the doors open: whether visitors are going to get sessions.
    /// async fn rehearse(provider: &dyn Provider) -> Result<(), MintError> {
    ///     let session = provider.mint(Duration::from_secs(3)).await?;
    ///     println!("{} lasts until {}", session.id, session.expires_at);
    ///     Ok(())
    /// }
    /// ```
    fn mint(&self, budget: Duration) -> Minting<'_>;

    /// The Genesys organization that the sessions belong to: a cookie of another one is Outdated here.
    ///
    /// ```
    /// use guestpass::session::{MadeUp, Provider};
    ///
    /// assert_eq!(MadeUp::default().organization_id(), "made-up");
    /// ```
    fn organization_id(&self) -> &str;
}

impl<P: Provider + ?Sized> Provider for Arc<P> {
    fn at_hand(&self) -> Option<Session> {
        (**self).at_hand()
    }

    fn mint(&self, budget: Duration) -> Minting<'_> {
        (**self).mint(budget)
    }

    fn organization_id(&self) -> &str {
        (**self).organization_id()
    }
}

/// Whoever knows which sessions were taken back before their end. A [`Store`](crate::store::Store) does, and keeps it on
/// disk.
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::{Arc, RwLock};
///
/// use guestpass::session::{Revocations, Session};
///
/// #[derive(Debug, Default)]
/// struct SignedOut(RwLock<HashSet<String>>);
///
/// impl Revocations for SignedOut {
///     fn is_revoked(&self, session: &Session) -> bool {
///         // Who cannot know says no to nobody; a site for which that is wrong says yes.
///         self.0.read().is_ok_and(|ids| ids.contains(&session.id))
///     }
/// }
/// # use guestpass::{cookie::Key, gate::GateLayer, secret::SecretBytes, session::MadeUp};
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
///
/// let signed_out = Arc::new(SignedOut::default());
/// let gate = GateLayer::builder(key, MadeUp::default()).revocations(Arc::clone(&signed_out)).build();
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
pub trait Revocations: fmt::Debug + Send + Sync {
    /// Whether this one was. Asked on the request's way, so it must never wait.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    /// use guestpass::session::{Revocations, Session};
    ///
    /// /// Everybody has to come anew after the move.
    /// #[derive(Debug)]
    /// struct Before(Timestamp);
    ///
    /// impl Revocations for Before {
    ///     fn is_revoked(&self, session: &Session) -> bool {
    ///         session.issued_at < self.0
    ///     }
    /// }
    /// ```
    fn is_revoked(&self, session: &Session) -> bool;
}

impl<R: Revocations + ?Sized> Revocations for Arc<R> {
    fn is_revoked(&self, session: &Session) -> bool {
        (**self).is_revoked(session)
    }
}

/// Nothing is ever taken back.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRevocations;

impl Revocations for NoRevocations {
    fn is_revoked(&self, _session: &Session) -> bool {
        false
    }
}

/// Why there is no session.
///
/// ```
/// use guestpass::session::MintError;
///
/// fn is_for_the_operator(error: &MintError) -> bool {
///     matches!(error, MintError::Unauthorized { .. } | MintError::Forbidden { .. } | MintError::InvalidPayload(_))
/// }
/// # assert!(!is_for_the_operator(&MintError::Unreachable(String::new())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// Genesys does not accept our client, even with a fresh token.
    #[error("Genesys does not accept the OAuth client: {message}")]
    Unauthorized {
        /// What Genesys said.
        message: String,
    },
    /// The client may not make sessions for this organization.
    #[error(
        "the OAuth client may not create sessions: it needs the scope webmessaging:session:create for organization \
         {organization_id}"
    )]
    Forbidden {
        /// The organization asked for.
        organization_id: String,
    },
    /// Genesys found the request wrong.
    #[error("Genesys refused the session request: {message}")]
    BadRequest {
        /// What Genesys said.
        message: String,
    },
    /// What would be sent breaks Genesys' rules, so it was not sent.
    #[error("the session request would be invalid: {0}")]
    InvalidPayload(String),
    /// Genesys answered with something that is no session.
    #[error("Genesys answered with something that is no session: {0}")]
    BadAnswer(String),
    /// Genesys asked us to slow down, or our own share of the organization's budget is spent.
    #[error("the organization's session budget is spent")]
    RateLimited {
        /// When to come again.
        retry_after: Duration,
    },
    /// Genesys failed several times in a row and is left alone for a while.
    #[error("Genesys is failing; the next attempt is in {} s", retry_after.as_secs())]
    BreakerOpen {
        /// When to come again.
        retry_after: Duration,
    },
    /// No answer in time.
    #[error("no session within {} ms", waited.as_millis())]
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Genesys could not be reached, or the connection broke.
    #[error("Genesys cannot be reached: {0}")]
    Unreachable(String),
    /// Any other answer.
    #[error("Genesys answered {status}: {message}{}", trace(context_id.as_deref(), correlation_id.as_deref()))]
    Status {
        /// The HTTP status.
        status: u16,
        /// Genesys' own message, or what there was of one.
        message: String,
        /// `contextId` of Genesys' error body, which its support asks for.
        context_id: Option<String>,
        /// The header `inin-correlation-id`, likewise.
        correlation_id: Option<String>,
    },
    /// It could not be written down that the session exists, so nobody may have it.
    #[error("the session cannot be handed out: {0}")]
    Unrecorded(String),
    /// The session would make a cookie larger than a browser keeps.
    #[error("the session does not fit into a cookie: {size} bytes of {limit}")]
    TooLarge {
        /// How large the `Set-Cookie` would be.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
}

impl MintError {
    /// A stable word for logs and metrics.
    ///
    /// ```
    /// use guestpass::session::MintError;
    ///
    /// let error = MintError::Unreachable("connection refused".to_owned());
    /// assert_eq!(error.code(), "unreachable");
    /// assert_eq!(error.to_string(), "Genesys cannot be reached: connection refused");
    /// ```
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::BadRequest { .. } => "bad_request",
            Self::InvalidPayload(_) => "invalid_payload",
            Self::BadAnswer(_) => "bad_answer",
            Self::RateLimited { .. } => "rate_limited",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::TimedOut { .. } => "timed_out",
            Self::Unreachable(_) => "unreachable",
            Self::Status { .. } => "status",
            Self::Unrecorded(_) => "unrecorded",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// When it makes sense to come again, if that is known.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::session::MintError;
    ///
    /// let retry_after = Duration::from_secs(7);
    /// assert_eq!(MintError::RateLimited { retry_after }.retry_after(), Some(retry_after));
    /// ```
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::BreakerOpen { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

fn trace(context_id: Option<&str>, correlation_id: Option<&str>) -> String {
    let named = |name, value: Option<&str>| value.map(|value| format!(" ({name} {value})")).unwrap_or_default();
    named("contextId", context_id) + &named("inin-correlation-id", correlation_id)
}
