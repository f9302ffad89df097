//! Genesys Cloud over REST: an OAuth token, and with it guest sessions.
//!
//! This file says what there is to set and what of it is legal; [`Rest`] is the provider itself. When a visit gets a
//! session, and what becomes of it, is not decided here but in [`crate::gate`].

mod rest;
mod retry;
mod call;
mod token;
mod nonce;
mod budget;
mod breaker;
mod answer;
mod figures;
mod wire;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::secret::SecretText;

pub use figures::{BreakerState, Figures};
pub use rest::Rest;

/// How long Genesys lets a session last, in seconds.
pub const EXPIRATION_SECONDS: RangeInclusive<u32> = 300..=86_400;

/// Bytes of UTF-8 that the metadata's JSON may have.
pub const METADATA_LIMIT: usize = 2_048;

/// Without this scope an OAuth client cannot make sessions.
pub const REQUIRED_SCOPE: &str = "webmessaging:session:create";

/// How to reach Genesys, as whom, and what to ask for.
///
/// ```
/// use guestpass::genesys::{ClientAuth, Config};
/// # use guestpass::secret::SecretText;
/// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
/// # let client_secret = SecretText::new("secret".to_owned());
///
/// // Tokens from the login host, which wants HTTP Basic.
/// let mut config = Config::new(api, client_id, client_secret, organization_id);
/// config.token_url = "https://login.mypurecloud.ie/oauth/token".to_owned();
/// config.client_auth = ClientAuth::Basic;
/// config.region = "eu-west-1".to_owned();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Base of the API, without a trailing slash: `https://api.mypurecloud.com`.
    pub base_url: String,
    /// Where tokens come from, whole: `{base_url}/oauth/token` unless set.
    pub token_url: String,
    /// How the client's id and secret travel.
    pub client_auth: ClientAuth,
    /// The OAuth client.
    pub client_id: String,
    /// The OAuth client's secret.
    pub client_secret: SecretText,
    /// The organization that sessions are made for.
    pub organization_id: String,
    /// The region, as the token endpoint wants it.
    pub region: String,
    /// What the client is known to be allowed; empty when nobody said.
    pub scopes: Vec<String>,
    /// What each session is asked for with.
    pub payload: Payload,
    /// Sessions a second that this process may make.
    pub rate_limit: u32,
    /// Bounds one HTTP call.
    pub attempt_timeout: Duration,
    /// Calls for one session, the first included.
    pub max_attempts: u32,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// How often one call is let through while the breaker is open.
    pub breaker_retry: Duration,
}

/// How the client's id and secret travel to the token endpoint.
///
/// ```
/// use guestpass::genesys::{ClientAuth, Config};
///
/// fn by_header(config: Config) -> Config {
///     Config { client_auth: ClientAuth::Basic, ..config }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// As form fields.
    #[default]
    Body,
    /// As HTTP Basic (RFC 7617), which `https://login.<domain>/oauth/token` wants.
    Basic,
}

/// What a session is asked for with: an hour in a browser, unless said.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use guestpass::genesys::Payload;
///
/// let metadata = BTreeMap::from([("shop".to_owned(), "Vienna".to_owned())]);
/// let payload = Payload { expiration_seconds: 1_800, metadata, ..Payload::default() };
/// # assert!(payload.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Where the visitor is.
    pub channel: Channel,
    /// How long the session is to last, in seconds: 300 to 86400.
    pub expiration_seconds: u32,
    /// Free text to free text; its JSON is at most 2,048 bytes.
    pub metadata: BTreeMap<String, String>,
}

impl Default for Payload {
    /// An hour is what Genesys grants by default.
    fn default() -> Self {
        Self { channel: Channel::Web, expiration_seconds: 3_600, metadata: BTreeMap::new() }
    }
}

/// Where the visitor is.
///
/// ```
/// use guestpass::genesys::{Channel, Payload};
///
/// // Pages within an app.
/// let payload = Payload { channel: Channel::Mobile, ..Payload::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// A browser.
    #[default]
    Web,
    /// A phone's app.
    Mobile,
    /// A computer's program.
    Desktop,
}

/// Why there can be no provider.
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::clock::SystemClock;
/// use guestpass::genesys::{Config, Error, Rest};
/// use guestpass::random::SystemRandom;
/// # use guestpass::secret::SecretText;
/// # let [api, client_id, organization_id] = ["api.mypurecloud.ie", "id", "organization"].map(str::to_owned);
/// # let client_secret = SecretText::new("secret".to_owned());
///
/// let config = Config::new(api, client_id, client_secret, organization_id); // without https://
/// let error = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom)).unwrap_err();
/// assert!(matches!(error, Error::Address { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that cannot be called.
    #[error("{key} is no address that can be called: {reason}")]
    Address {
        /// The setting.
        key: &'static str,
        /// What is wrong with it. Never the address itself, since people write passwords into them.
        reason: String,
    },
    /// The HTTP client could not be made, usually since the machine has no root certificates.
    #[error("there can be no HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Which of Genesys' rules a session request would break.
///
/// ```
/// use guestpass::genesys::Payload;
///
/// let error = Payload { expiration_seconds: 60, ..Payload::default() }.check().unwrap_err();
/// assert_eq!(error.to_string(), "a session cannot last 60 s: Genesys takes 300 to 86400 s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The organization's id is empty, or a dot segment (RFC 3986, section 3.3), which no encoding keeps in a path.
    #[error("{0:?} is no organization id")]
    Organization(String),
    /// A lifetime that Genesys does not offer.
    #[error("a session cannot last {seconds} s: Genesys takes {} to {} s", EXPIRATION_SECONDS.start(), EXPIRATION_SECONDS.end())]
    Expiration {
        /// What was to be asked for.
        seconds: u32,
    },
    /// Too much metadata.
    #[error("the metadata has {0} bytes as JSON: Genesys takes at most {METADATA_LIMIT}")]
    Metadata(usize),
}

impl Payload {
    /// Whether Genesys would take it.
    ///
    /// ```
    /// use guestpass::genesys::{Payload, PayloadError};
    ///
    /// let payload = Payload { expiration_seconds: 60, ..Payload::default() };
    /// assert_eq!(payload.check(), Err(PayloadError::Expiration { seconds: 60 }));
    /// ```
    ///
    /// # Errors
    ///
    /// The first of Genesys' rules that it breaks.
    pub fn check(&self) -> Result<(), PayloadError> {
        if !EXPIRATION_SECONDS.contains(&self.expiration_seconds) {
            return Err(PayloadError::Expiration { seconds: self.expiration_seconds });
        }
        match metadata_size(&self.metadata) {
            size if size > METADATA_LIMIT => Err(PayloadError::Metadata(size)),
            _ => Ok(()),
        }
    }
}

/// How many bytes of UTF-8 the metadata has as JSON, which is what [`METADATA_LIMIT`] limits.
#[doc(hidden)]
#[must_use]
pub fn metadata_size(metadata: &BTreeMap<String, String>) -> usize {
    serde_json::to_string(metadata).expect("a map of text to text always makes JSON").len()
}

/// Whether an organization's id can stand in the path of a session request.
///
/// # Errors
///
/// It is empty, or a dot segment.
#[doc(hidden)]
pub fn check_organization_id(id: &str) -> Result<(), PayloadError> {
    match id {
        "" | "." | ".." => Err(PayloadError::Organization(id.to_owned())),
        _ => Ok(()),
    }
}

#[doc(hidden)]
impl Channel {
    /// The word for it on the wire and in `proxy.toml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Mobile => "mobile",
            Self::Desktop => "desktop",
        }
    }

    /// Reads that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Web, Self::Mobile, Self::Desktop].into_iter().find(|channel| channel.as_str() == word)
    }
}

/// RFC 3986, section 2.3: everything that is not unreserved is encoded, so that the id stays one segment of the path.
const OUTSIDE_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Config {
    /// What is right for most: the client's credentials in the form, and the default for everything else. `base_url` is
    /// the region's API: `https://api.mypurecloud.com` or `https://api.mypurecloud.ie`.
    ///
    /// ```
    /// use guestpass::genesys::Config;
    /// # use guestpass::secret::SecretText;
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let client_secret = SecretText::new("secret".to_owned());
    ///
    /// let config = Config::new(api, client_id, client_secret, organization_id);
    /// assert_eq!(config.token_url, "https://api.mypurecloud.ie/oauth/token");
    /// ```
    #[must_use]
    pub fn new(base_url: String, client_id: String, client_secret: SecretText, organization_id: String) -> Self {
        Self {
            token_url: format!("{base_url}/oauth/token"),
            base_url,
            client_auth: ClientAuth::Body,
            client_id,
            client_secret,
            organization_id,
            // Where Genesys itself runs most organizations.
            region: "us-east-1".to_owned(),
            scopes: Vec::new(),
            payload: Payload::default(),
            // What Genesys grants an organization.
            rate_limit: 100,
            // Three attempts and their pauses fit into the three seconds that a visit waits.
            attempt_timeout: Duration::from_secs(1),
            // One for a lost packet, one for a server that was just restarting.
            max_attempts: 3,
            // Bad luck takes one or two in a row; five are an outage.
            breaker_failures: 5,
            // An outage's end is noticed soon, and one call in so long a time burdens nobody.
            breaker_retry: Duration::from_secs(10),
        }
    }

    fn sessions_url(&self) -> String {
        let organization = utf8_percent_encode(&self.organization_id, OUTSIDE_SEGMENT);
        let base = self.base_url.trim_end_matches('/');
        format!("{base}/api/v2/webmessaging/organizations/{organization}/sessions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(expiration_seconds: u32, metadata: &[(&str, &str)]) -> Payload {
        let metadata = metadata.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        Payload { channel: Channel::Web, expiration_seconds, metadata }
    }

    #[test]
    fn a_lifetime_has_both_of_its_ends() {
        for (seconds, legal) in [(299, false), (300, true), (86_400, true), (86_401, false)] {
            assert_eq!(payload(seconds, &[]).check().is_ok(), legal, "{seconds}");
        }
    }

    #[test]
    fn metadata_is_measured_in_bytes_of_json() {
        // {"k":"…"} has eight bytes around the text.
        assert_eq!(payload(300, &[("k", &"a".repeat(2_040))]).check(), Ok(()));
        assert_eq!(payload(300, &[("k", &"a".repeat(2_041))]).check(), Err(PayloadError::Metadata(2_049)));
        assert_eq!(payload(300, &[("k", &"ü".repeat(1_021))]).check(), Err(PayloadError::Metadata(2_050)));
        assert_eq!(payload(300, &[("k", &"\"".repeat(1_021))]).check(), Err(PayloadError::Metadata(2_050)));
    }

    #[test]
    fn a_channel_is_read_as_it_is_written() {
        for channel in [Channel::Web, Channel::Mobile, Channel::Desktop] {
            assert_eq!(Channel::parse(channel.as_str()), Some(channel));
        }
        assert_eq!(Channel::parse("Web"), None);
    }

    #[test]
    fn an_organization_stays_one_segment_whatever_it_is_called() {
        for id in ["", ".", ".."] {
            assert_eq!(check_organization_id(id), Err(PayloadError::Organization(id.to_owned())));
        }
        assert_eq!(check_organization_id("..."), Ok(()));
        assert_eq!(utf8_percent_encode("a/../b?c#d%2fü", OUTSIDE_SEGMENT).to_string(), "a%2F..%2Fb%3Fc%23d%252f%C3%BC");
    }
}
