//! `Set-Cookie`: the attributes around the value. What the value says is [`super::envelope`]'s business.

use std::time::Duration;

use cookie::{Cookie, CookieBuilder};
use http::HeaderValue;
use time::OffsetDateTime;

use crate::clock::Timestamp;
use crate::random::Random;
use crate::session::{MintError, Session};

use super::companion::{HOP_LIFE, Hop, MARKED, Names};
use super::ring::KeyRing;
use super::{Config, SameSite, SetCookies, envelope};

/// The whole header's value must be shorter than this: browsers promise to keep 4,096 bytes of name, value and
/// attributes together (RFC 6265, section 6.1), and cut nothing but drop the cookie.
const LIMIT: usize = 4096;

/// The last second that an HTTP date can name: 9999-12-31T23:59:59Z.
const LAST_DATE: u64 = 253_402_300_799;

/// Why a session is not written into a cookie.
///
/// ```
/// use guestpass::cookie::{Jar, Unwritable};
/// # use guestpass::{clock::Timestamp, session::Session};
///
/// fn cookie(jar: &Jar, session: &Session, now: Timestamp) -> Option<http::HeaderValue> {
///     match jar.write(session, "shop.example", now) {
///         Ok(cookies) => Some(cookies.session),
///         // Nothing is wrong: it was in stock for too long.
///         Err(Unwritable::TooShort { .. }) => None,
///         Err(error @ Unwritable::TooLarge { .. }) => {
///             tracing::error!(%error, "the token has grown");
///             None
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// Browsers would drop it.
    #[error("the session does not fit into a cookie: {size} bytes, and it must be under {limit}")]
    TooLarge {
        /// How large the `Set-Cookie` would be.
        size: usize,
        /// What it must stay under.
        limit: usize,
    },
    /// The session ends before the cookie would be of use.
    #[error("the session ends in {} s, and cookies end {} s before their session", left.as_secs(), margin.as_secs())]
    TooShort {
        /// What is left of the session.
        left: Duration,
        /// How much earlier than the session a cookie ends.
        margin: Duration,
    },
}

impl From<Unwritable> for MintError {
    fn from(error: Unwritable) -> Self {
        match error {
            Unwritable::TooLarge { size, limit } => Self::TooLarge { size, limit },
            Unwritable::TooShort { .. } => Self::BadAnswer(error.to_string()),
        }
    }
}

/// The session's cookie, and beside a Strict one the marker, which ends with it.
pub(super) fn write(
    config: &Config,
    names: &Names,
    ring: &KeyRing,
    random: &dyn Random,
    session: &Session,
    host: &str,
    now: Timestamp,
) -> Result<SetCookies, Unwritable> {
    // What the cookie says, which is whole seconds, and not what the session would have said.
    let left = Timestamp::from_seconds(session.expires_at.seconds()).since(now);
    let life = left.saturating_sub(config.expiry_margin);
    // A life that Max-Age would round to 0 would be an order to delete (RFC 6265bis, section 5.6.2).
    if life.as_secs() == 0 {
        return Err(Unwritable::TooShort { left, margin: config.expiry_margin });
    }
    let key = ring.signing(now);
    let value = envelope::write(config.protection, session, &names.session, key, random);
    let text = within(life, now, cookie(config, &names.session, &value, config.same_site, host));
    if text.len() >= LIMIT {
        return Err(Unwritable::TooLarge { size: text.len(), limit: LIMIT });
    }
    let marker = marker(config, names, MARKED, host).map(|marker| header(within(life, now, marker)));
    Ok(SetCookies { session: header(text), marker, key_id: Some(key.id()) })
}

/// Takes away what [`write()`] has set.
pub(super) fn expire(config: &Config, names: &Names, host: &str) -> SetCookies {
    let epoch = |cookie| header(within(Duration::ZERO, Timestamp::from_seconds(0), cookie));
    let marker = marker(config, names, "", host).map(epoch);
    SetCookies { session: epoch(cookie(config, &names.session, "", config.same_site, host)), marker, key_id: None }
}

/// The cookie that tells the next request what was tried.
pub(super) fn hop(config: &Config, names: &Names, hop: Hop, host: &str, now: Timestamp) -> HeaderValue {
    let value = hop.value();
    header(within(HOP_LIFE, now, cookie(config, &names.hop, &value, SameSite::Lax, host)))
}

/// Takes that away again.
pub(super) fn forget(config: &Config, names: &Names, host: &str) -> HeaderValue {
    header(within(Duration::ZERO, Timestamp::from_seconds(0), cookie(config, &names.hop, "", SameSite::Lax, host)))
}

/// Takes a name away from one place. Without `Expires`, which only browsers from before RFC 6265 need: there are many of
/// these in an answer.
pub(super) fn clear(config: &Config, name: &str, domain: Option<&str>, path: &str) -> HeaderValue {
    // RFC 6265bis, section 5.7: what has neither name nor value is passed over, so the nameless one needs some value,
    // and Chromium takes none with a `=`.
    let value = if name.is_empty() { "x" } else { "" };
    let mut cookie = bare(name, value, config.same_site).path(path).max_age(time::Duration::ZERO);
    if let Some(domain) = domain {
        cookie = cookie.domain(domain);
    }
    header(cookie.to_string())
}

/// The domain of our own cookies for a visitor of `host`, where one is written at all.
pub(super) fn domain<'c>(config: &'c Config, host: &str) -> Option<&'c str> {
    config.domain.as_deref().filter(|domain| lies_under(host, domain))
}

/// Lax, so that it comes along where a link on another site leads here and the Strict cookie stays behind.
fn marker<'c>(config: &'c Config, names: &'c Names, value: &'c str, host: &str) -> Option<CookieBuilder<'c>> {
    (config.same_site == SameSite::Strict).then(|| cookie(config, &names.marker, value, SameSite::Lax, host))
}

fn cookie<'c>(config: &'c Config, name: &'c str, value: &'c str, same_site: SameSite, host: &str) -> CookieBuilder<'c> {
    let cookie = bare(name, value, same_site).path(config.path.as_str());
    match domain(config, host) {
        Some(domain) => cookie.domain(domain),
        None => cookie,
    }
}

fn bare<'c>(name: &'c str, value: &'c str, same_site: SameSite) -> CookieBuilder<'c> {
    Cookie::build((name, value)).secure(true).http_only(true).same_site(same_site.into())
}

/// For `life` from `now` on. Without one it is an order to delete, and the date a moment long past.
fn within(life: Duration, now: Timestamp, cookie: CookieBuilder<'_>) -> String {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let date = OffsetDateTime::from_unix_timestamp(seconds(now.plus(life).seconds().min(LAST_DATE)))
        .expect("the calendar reaches to the year 9999");
    cookie.max_age(time::Duration::seconds(seconds(life.as_secs()))).expires(date).to_string()
}

/// RFC 6265bis, section 5.1.3: browsers refuse a cookie for a domain that its host does not lie under.
fn lies_under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn header(text: String) -> HeaderValue {
    let mut header = HeaderValue::try_from(text).expect("Jar::new has seen that the settings can stand in a header");
    // The token is in it: HTTP/2 keeps such a field out of its compression's tables (RFC 7541, section 7.1.3).
    header.set_sensitive(true);
    header
}

impl From<SameSite> for cookie::SameSite {
    fn from(same_site: SameSite) -> Self {
        match same_site {
            SameSite::Strict => Self::Strict,
            SameSite::Lax => Self::Lax,
            SameSite::None => Self::None,
        }
    }
}
