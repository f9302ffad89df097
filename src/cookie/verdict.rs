//! What a request's cookies amount to: how they are read, and the one session that they stand for.

use crate::session::Session;

use super::key::KeyId;

/// What a request's session cookies amount to.
///
/// ```
/// use guestpass::cookie::Reading;
/// use guestpass::gate::Outcome;
///
/// fn is_suspicious(outcome: &Outcome) -> bool {
///     matches!(outcome.reading, Reading::Forged | Reading::Malformed | Reading::Conflict)
/// }
/// # assert!(!is_suspicious(&Outcome::default()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// One good session.
    Valid,
    /// None was sent.
    Absent,
    /// A good one whose session was taken back.
    Revoked,
    /// A good one whose time is over.
    Expired,
    /// Under a key or an organization that is not (or no longer) ours; no sign of forgery.
    Outdated,
    /// The signature is wrong.
    Forged,
    /// It has not the form of a cookie of ours.
    Malformed,
    /// Several good ones of different sessions, so that nobody knows whose this visitor is.
    Conflict,
}

impl Reading {
    /// The word for it in logs and metrics.
    ///
    /// ```
    /// use guestpass::cookie::Reading;
    ///
    /// assert_eq!(Reading::Expired.as_str(), "expired");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Absent => "absent",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Outdated => "outdated",
            Self::Forged => "forged",
            Self::Malformed => "malformed",
            Self::Conflict => "conflict",
        }
    }

    /// Which of a request's cookies decides: the lowest, and the first of equals.
    const fn precedence(self) -> u8 {
        match self {
            Self::Conflict => 0,
            Self::Valid => 1,
            Self::Revoked => 2,
            Self::Expired => 3,
            Self::Outdated => 4,
            Self::Forged => 5,
            Self::Malformed => 6,
            Self::Absent => 7,
        }
    }
}

/// What a request's cookies amount to, and the session that they carry.
///
/// ```
/// use guestpass::cookie::{Reading, Verdict};
///
/// fn greeting(verdict: &Verdict) -> String {
///     match (verdict.session(), verdict.reading()) {
///         (Some(session), _) => format!("Welcome back, {}.", session.id),
///         (None, Reading::Expired) => "It has been a while.".to_owned(),
///         (None, _) => "Welcome.".to_owned(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub(super) reading: Reading,
    pub(super) session: Option<Session>,
    pub(super) key_id: Option<KeyId>,
}

impl Verdict {
    /// How the cookies are read.
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    /// use guestpass::cookie::Reading;
    /// # use std::sync::Arc;
    /// # use guestpass::cookie::{Config, Jar, Key};
    /// # use guestpass::{random::SystemRandom, secret::SecretBytes};
    /// #
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// # let jar = Jar::new(Config::default(), key, "organization".to_owned(), Arc::new(SystemRandom));
    ///
    /// let request = http::Request::get("/").body(())?; // without any cookie
    /// assert_eq!(jar.read(request.headers(), SystemClock::new().now()).reading(), Reading::Absent);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn reading(&self) -> Reading {
        self.reading
    }

    /// The visitor's session: there exactly when the reading is [`Reading::Valid`].
    ///
    /// ```
    /// use guestpass::cookie::Verdict;
    ///
    /// fn id(verdict: &Verdict) -> &str {
    ///     verdict.session().map_or("nobody", |session| &session.id)
    /// }
    /// ```
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The session, to keep.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    /// use guestpass::cookie::Jar;
    /// use guestpass::session::Session;
    ///
    /// fn visitor(jar: &Jar, headers: &http::HeaderMap, now: Timestamp) -> Option<Session> {
    ///     jar.read(headers, now).into_session()
    /// }
    /// ```
    #[must_use]
    pub fn into_session(self) -> Option<Session> {
        self.session
    }

    /// The key of the ring that the deciding cookie names. A name that is not in the ring is the client's own text and
    /// is not repeated.
    #[doc(hidden)]
    #[must_use]
    pub const fn key_id(&self) -> Option<KeyId> {
        self.key_id
    }

    /// Whether a key of ours vouches for the deciding cookie, whatever else is wrong with it.
    #[doc(hidden)]
    #[must_use]
    pub const fn is_authentic(&self) -> bool {
        match self.reading {
            Reading::Valid | Reading::Revoked | Reading::Expired | Reading::Conflict => true,
            // Of another organization, or with claims that are none: the key has vouched before that was seen.
            Reading::Outdated | Reading::Malformed => self.key_id.is_some(),
            Reading::Forged | Reading::Absent => false,
        }
    }

    pub(super) const fn without_session(reading: Reading, key_id: Option<KeyId>) -> Self {
        Self { reading, session: None, key_id }
    }

    /// One verdict of two, so that a planted or stale twin can neither log a visitor out nor slip another's session
    /// under them.
    pub(super) fn and(self, next: Self) -> Self {
        match (&self.session, &next.session) {
            (Some(mine), Some(theirs)) if mine.id != theirs.id => Self::without_session(Reading::Conflict, None),
            (Some(mine), Some(theirs)) if theirs.expires_at > mine.expires_at => next,
            _ if next.reading.precedence() < self.reading.precedence() => next,
            _ => self,
        }
    }
}
