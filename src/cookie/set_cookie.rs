//! `Set-Cookie`: the attributes around the value. What the value says is [`super::signed`]'s business.

use std::time::Duration;

use cookie::Cookie;
use http::HeaderValue;
use time::OffsetDateTime;

use crate::clock::Timestamp;
use crate::session::{MintError, Session};

use super::ring::KeyRing;
use super::{Config, SameSite, signed};

/// The whole header's value must be shorter than this: browsers promise to keep 4,096 bytes of name, value and
/// attributes together (RFC 6265, section 6.1), and cut nothing but drop the cookie.
const LIMIT: usize = 4096;

/// The last second that an HTTP date can name: 9999-12-31T23:59:59Z.
const LAST_DATE: u64 = 253_402_300_799;

/// Why a session is not written into a cookie.
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

pub(super) fn write(
    config: &Config,
    ring: &KeyRing,
    session: &Session,
    host: &str,
    now: Timestamp,
) -> Result<HeaderValue, Unwritable> {
    // What the cookie says, which is whole seconds, and not what the session would have said.
    let left = Timestamp::from_seconds(session.expires_at.seconds()).since(now);
    let life = left.saturating_sub(config.expiry_margin);
    // A life that Max-Age would round to 0 would be an order to delete (RFC 6265bis, section 5.6.2).
    if life.as_secs() == 0 {
        return Err(Unwritable::TooShort { left, margin: config.expiry_margin });
    }
    let value = signed::seal(session, &config.name, ring.signing(now));
    let text = with_attributes(config, &value, host, life.as_secs(), now.plus(life));
    if text.len() >= LIMIT {
        return Err(Unwritable::TooLarge { size: text.len(), limit: LIMIT });
    }
    Ok(header(text))
}

pub(super) fn expire(config: &Config, host: &str) -> HeaderValue {
    header(with_attributes(config, "", host, 0, Timestamp::from_seconds(0)))
}

fn with_attributes(config: &Config, value: &str, host: &str, max_age: u64, expires: Timestamp) -> String {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let date = OffsetDateTime::from_unix_timestamp(seconds(expires.seconds().min(LAST_DATE)))
        .expect("the calendar reaches to the year 9999");
    let mut cookie = Cookie::build((config.name.as_str(), value))
        .secure(true)
        .http_only(true)
        .same_site(config.same_site.into())
        .path(config.path.as_str())
        .max_age(time::Duration::seconds(seconds(max_age)))
        .expires(date);
    if let Some(domain) = config.domain.as_deref().filter(|domain| lies_under(host, domain)) {
        cookie = cookie.domain(domain);
    }
    cookie.to_string()
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
