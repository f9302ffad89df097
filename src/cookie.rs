//! The session cookie: reading, judging and writing it. What follows from a reading is the gate's business.
//!
//! [`Jar`] is the whole of it for the gate: one reading for a request, one `Set-Cookie` for a session.

mod header;
mod envelope;
mod signed;
mod sealed;
mod claims;
mod flaw;
mod verdict;
mod set_cookie;
mod companion;
mod clear;
mod key;
mod ring;
mod peek;

#[doc(hidden)]
pub use self::companion::Hop;
#[doc(hidden)]
pub use self::flaw::Flaw;
pub use self::key::{Key, KeyId, SHORTEST_SECRET, ShortSecret};
#[doc(hidden)]
pub use self::peek::{Peek, peek};
pub use self::ring::{KeyRing, RepeatedId, SharedRing};
pub use self::set_cookie::Unwritable;
pub use self::verdict::{Reading, Verdict};

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::clock::Timestamp;
use crate::random::Random;
use crate::session::Session;

use self::claims::Claims;
use self::companion::{MARKED, Names};
use self::envelope::{Envelope, Scratch};

/// How the cookie is written.
///
/// ```
/// use guestpass::cookie::{Config, Protection};
///
/// // One session for all hosts of the shop, and nobody can look into it.
/// let domain = Some("shop.example".to_owned());
/// let config = Config { domain, protection: Protection::Sealed, ..Config::default() };
/// assert!(config.is_legal());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// How its value is protected. Both forms are always read.
    pub protection: Protection,
    /// When browsers send it along from other sites.
    pub same_site: SameSite,
    /// Which hosts share it; `None` makes it host-only.
    pub domain: Option<String>,
    /// Which paths see it.
    pub path: String,
    /// How much earlier than the session the cookie ends.
    pub expiry_margin: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "genesys_session".to_owned(),
            protection: Protection::Signed,
            same_site: SameSite::Strict,
            domain: None,
            path: "/".to_owned(),
            expiry_margin: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Whether these settings can stand in a `Set-Cookie` header at all: a name that is a token (RFC 9110, section
    /// 5.6.2), a path and a domain that nothing ends early. Whether browsers keep such a cookie is another question.
    ///
    /// ```
    /// use guestpass::cookie::Config;
    ///
    /// let named = |name: &str| Config { name: name.to_owned(), ..Config::default() };
    /// assert!(named("__Host-guest").is_legal());
    /// assert!(!named("my guest").is_legal());
    /// ```
    #[must_use]
    pub fn is_legal(&self) -> bool {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let in_path = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
        let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !self.name.is_empty()
            && self.name.bytes().all(token)
            && self.path.starts_with('/')
            && self.path.bytes().all(in_path)
            && self.domain.as_ref().is_none_or(|domain| !domain.is_empty() && domain.bytes().all(in_host))
    }
}

/// How a cookie's value is protected.
///
/// ```
/// use guestpass::cookie::{Config, Protection};
///
/// // For pages on which others can run scripts or look into the browser's storage.
/// let config = Config { protection: Protection::Sealed, ..Config::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// Anyone can read it, nobody can change it.
    #[default]
    Signed,
    /// Nobody without the key can read it, either.
    Sealed,
}

impl Protection {
    /// What it is done with, by the algorithm's own name.
    #[doc(hidden)]
    #[must_use]
    pub const fn algorithm(self) -> &'static str {
        match self {
            Self::Signed => "HMAC-SHA256",
            Self::Sealed => "AES-256-GCM",
        }
    }
}

/// RFC 6265bis, section 5.6.7.
///
/// ```
/// use guestpass::cookie::{Config, SameSite};
///
/// // A shop whose payment pages, on another site, post the visitor back.
/// let config = Config { same_site: SameSite::None, ..Config::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Only from the site itself.
    #[default]
    Strict,
    /// Also when a link elsewhere leads here.
    Lax,
    /// Always.
    None,
}

/// The `Set-Cookie` headers that belong together.
///
/// ```
/// use guestpass::cookie::SetCookies;
/// use http::{HeaderMap, header::SET_COOKIE};
///
/// fn give(cookies: SetCookies, headers: &mut HeaderMap) {
///     for cookie in cookies {
///         headers.append(SET_COOKIE, cookie);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct SetCookies {
    /// The session cookie's.
    pub session: HeaderValue,
    /// That of its marker, which a Strict cookie has.
    pub marker: Option<HeaderValue>,
    /// The key that vouches for the session, where one is given and not taken away.
    pub key_id: Option<KeyId>,
}

impl IntoIterator for SetCookies {
    type Item = HeaderValue;
    type IntoIter = std::iter::Chain<std::iter::Once<HeaderValue>, std::option::IntoIter<HeaderValue>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.session).chain(self.marker)
    }
}

/// Reads, writes and removes the session cookie. Reading takes no network, no store and no lock.
///
/// The gate has one. A service behind it that wants to see the cookie for itself can have its own:
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::clock::{Clock, SystemClock};
/// use guestpass::cookie::{Config, Jar, Key, KeyRing, Reading};
/// use guestpass::random::SystemRandom;
/// # use guestpass::secret::SecretBytes;
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let jar = Jar::new(Config::default(), KeyRing::from(key), "organization".to_owned(), Arc::new(SystemRandom));
/// let request = http::Request::get("/").header("cookie", "genesys_session=v1.a.b.c").body(())?;
/// let verdict = jar.read(request.headers(), SystemClock::new().now());
/// assert_eq!((verdict.reading(), verdict.session()), (Reading::Malformed, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Jar {
    config: Config,
    names: Names,
    ring: SharedRing,
    organization_id: String,
    random: Arc<dyn Random>,
}

impl Jar {
    /// A jar for the sessions of one Genesys organization. `random` gives the nonces of sealed cookies.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use guestpass::cookie::{Config, Jar, Key};
    /// use guestpass::random::SystemRandom;
    /// # use guestpass::secret::SecretBytes;
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// // What the gates of this organization's sites have written.
    /// let jar = Jar::new(Config::default(), key, "organization".to_owned(), Arc::new(SystemRandom));
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    ///
    /// # Panics
    ///
    /// When the configured name, path or domain cannot stand in a `Set-Cookie` header. Whoever takes them from an
    /// operator has refused such a one before.
    #[must_use]
    pub fn new(config: Config, ring: impl Into<SharedRing>, organization_id: String, random: Arc<dyn Random>) -> Self {
        assert!(config.is_legal(), "no header can hold {config:?}");
        let domain = config.domain.map(|domain| domain.trim_start_matches('.').to_ascii_lowercase());
        let names = Names::of(&config.name);
        Self { config: Config { domain, ..config }, names, ring: ring.into(), organization_id, random }
    }

    /// Judges every cookie of our name and makes one reading of them for the request.
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    /// # use std::sync::Arc;
    /// # use guestpass::cookie::{Config, Jar, Key};
    /// # use guestpass::{random::SystemRandom, secret::SecretBytes};
    /// #
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// # let jar = Jar::new(Config::default(), key, "organization".to_owned(), Arc::new(SystemRandom));
    ///
    /// let request = http::Request::get("/").header("cookie", "genesys_session=v1.made.it.up").body(())?;
    /// let verdict = jar.read(request.headers(), SystemClock::new().now());
    /// assert_eq!(verdict.session(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn read(&self, headers: &HeaderMap, now: Timestamp) -> Verdict {
        self.read_unless(headers, now, |_| false)
    }

    /// The cookies that give a visitor of `host` this session.
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    /// # use std::sync::Arc;
    /// # use guestpass::cookie::{Config, Jar, Key};
    /// # use guestpass::session::{MadeUp, Provider};
    /// # use guestpass::{random::SystemRandom, secret::SecretBytes};
    /// #
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// # let jar = Jar::new(Config::default(), key, "made-up".to_owned(), Arc::new(SystemRandom));
    /// # let provider = MadeUp::default();
    /// # let session = futures_util::FutureExt::now_or_never(provider.mint(Default::default())).ok_or("it waits")??;
    ///
    /// let now = SystemClock::new().now();
    /// let cookies = jar.write(&session, "shop.example", now)?;
    /// let cookie = cookies.session.to_str()?.split(';').next().unwrap_or_default();
    /// // When it comes back:
    /// let request = http::Request::get("/").header("cookie", cookie).body(())?;
    /// assert_eq!(jar.read(request.headers(), now).into_session().ok_or("none")?.id, session.id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When browsers would drop the cookie, or the session ends too soon for one; never is a cookie cut.
    pub fn write(&self, session: &Session, host: &str, now: Timestamp) -> Result<SetCookies, Unwritable> {
        set_cookie::write(&self.config, &self.names, &self.ring.load(), &*self.random, session, host, now)
    }

    /// What takes those cookies from a visitor of `host` again.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::cookie::{Config, Jar, Key};
    /// # use guestpass::{random::SystemRandom, secret::SecretBytes};
    /// #
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// # let jar = Jar::new(Config::default(), key, "organization".to_owned(), Arc::new(SystemRandom));
    /// let cookies = jar.expire("shop.example");
    /// assert!(cookies.session.to_str()?.contains("Max-Age=0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expire(&self, host: &str) -> SetCookies {
        set_cookie::expire(&self.config, &self.names, host)
    }
}

/// What the gate and the commands do with it.
#[doc(hidden)]
impl Jar {
    /// Where its nonces come from, for whoever else needs chance beside it.
    pub(crate) fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// What the cookie is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// How the cookies are protected that it writes.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.config.protection
    }

    /// As [`Jar::read`]; a session that is good in all else and was taken back, which `is_revoked` knows, is none.
    #[must_use]
    pub fn read_unless(&self, headers: &HeaderMap, now: Timestamp, is_revoked: impl Fn(&Session) -> bool) -> Verdict {
        self.judge_each(headers, now)
            .map(|(verdict, _)| match verdict {
                Verdict { session: Some(session), key_id, .. } if is_revoked(&session) => {
                    Verdict::without_session(Reading::Revoked, key_id)
                }
                verdict => verdict,
            })
            .fold(Verdict::without_session(Reading::Absent, None), Verdict::and)
    }

    /// Judges each cookie of our name by itself, in the order of the headers.
    pub fn judge_each<'a>(
        &'a self,
        headers: &'a HeaderMap,
        now: Timestamp,
    ) -> impl Iterator<Item = (Verdict, Option<Flaw>)> + 'a {
        // One ring for all of them: a twin must not be judged by another one than its sibling.
        let ring = self.ring.load();
        header::values(headers, &self.config.name).map(move |value| self.judge_by(&ring, value, now))
    }

    /// Judges one value by itself, and says why it is not good where it is not.
    #[must_use]
    pub fn judge(&self, value: &[u8], now: Timestamp) -> (Verdict, Option<Flaw>) {
        self.judge_by(&self.ring.load(), value, now)
    }

    /// What takes the session cookie's name away from every place from which it can have been sent with a request for
    /// `path` at `host`, but for the one that [`Self::write`] writes to, and the hop's with it. Bounded in number.
    #[must_use]
    pub fn clear(&self, host: &str, path: &str) -> Vec<HeaderValue> {
        clear::clear(&self.config, &self.names, host, path)
    }

    /// What tells the next requests, for a few seconds, that this one was answered with a reload.
    #[must_use]
    pub fn remember(&self, hop: Hop, host: &str, now: Timestamp) -> HeaderValue {
        set_cookie::hop(&self.config, &self.names, hop, host, now)
    }

    /// What takes back what [`Self::remember`] has said.
    #[must_use]
    pub fn forget(&self, host: &str) -> HeaderValue {
        set_cookie::forget(&self.config, &self.names, host)
    }

    /// Whether browsers send the session cookie along with every request, whoever made it.
    #[must_use]
    pub fn comes_from_anywhere(&self) -> bool {
        self.config.same_site == SameSite::None
    }

    /// Whether a request brings the marker of a Strict session cookie, which itself may have been held back.
    #[must_use]
    pub fn is_marked(&self, headers: &HeaderMap) -> bool {
        self.config.same_site == SameSite::Strict
            && header::values(headers, &self.names.marker).any(|value| value == MARKED.as_bytes())
    }

    /// What the answers before this request have tried.
    #[must_use]
    pub fn hop(&self, headers: &HeaderMap) -> Hop {
        header::values(headers, &self.names.hop).map(Hop::parse).fold(Hop::None, Hop::later)
    }

    /// Takes our cookies out of the `Cookie` headers and leaves the visitor's others byte for byte. Nothing is
    /// allocated where ours are not.
    pub fn strip(&self, headers: &mut HeaderMap) {
        header::strip(headers, &self.names.all());
    }

    /// Which of our cookies a `Set-Cookie` header, such as an upstream's, would set.
    #[must_use]
    pub fn set_by(&self, set_cookie: &HeaderValue) -> Option<&str> {
        self.names.all().into_iter().find(|name| header::sets(set_cookie, name))
    }
}

impl Jar {
    fn judge_by(&self, ring: &KeyRing, value: &[u8], now: Timestamp) -> (Verdict, Option<Flaw>) {
        let mut scratch = Scratch::new();
        let mut key_id = None;
        match self.verify(ring, value, now, &mut scratch, &mut key_id) {
            Ok(claims) => (Verdict { reading: Reading::Valid, session: Some(claims.into_session()), key_id }, None),
            Err(flaw) => (Verdict::without_session(flaw.reading(), key_id), Some(flaw)),
        }
    }

    /// The order of these checks is the cookie's own: form, key, tag, and only then what stands inside.
    fn verify<'s>(
        &self,
        ring: &KeyRing,
        value: &[u8],
        now: Timestamp,
        scratch: &'s mut Scratch,
        key_id: &mut Option<KeyId>,
    ) -> Result<Claims<'s>, Flaw> {
        let envelope = Envelope::open(value, scratch)?;
        let named = envelope.key_id();
        let key = ring.find(named).ok_or(Flaw::UnknownKey(named))?;
        *key_id = Some(key.id());
        let claims = envelope.verify(key, &self.config.name)?;
        if claims.organization_id() != self.organization_id {
            return Err(Flaw::Organization);
        }
        if now >= claims.expires_at() {
            return Err(Flaw::Expired(claims.expires_at()));
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests;
