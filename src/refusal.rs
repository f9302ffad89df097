//! The one way of saying no: a [`Refusal`], and the one place that makes a response of it.
//!
//! `application/problem+json` (RFC 9457) unless the client prefers HTML, then a small page. Never 200, never a stack
//! trace, never why a signature failed.

mod wire;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use self::wire::Problem;
use crate::context::{Misaddressed, Rule};

/// Why a request goes no further. The name of a code is part of the interface: it never changes its meaning.
///
/// ```
/// use guestpass::gate::{Action, Outcome};
/// use guestpass::refusal::Code;
///
/// fn is_worth_an_alarm(outcome: &Outcome) -> bool {
///     matches!(outcome.action, Action::Refuse(Code::SessionUnavailable | Code::Internal))
/// }
/// # assert!(!is_worth_an_alarm(&Outcome::default()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A protected path, and no session.
    SessionRequired,
    /// A protected path, and a cookie that is not what it says.
    SessionInvalid,
    /// A session was needed and could not be made.
    SessionUnavailable,
    /// This address has asked for too many sessions.
    TooManySessions,
    /// A path that could be read in two ways, or in none.
    BadPath,
    /// A request that breaks HTTP's rules.
    BadRequest,
    /// A request whose head is larger than the operator allows.
    HeadTooLarge,
    /// A host that is not served here.
    UnknownHost,
    /// The site cannot be reached.
    UpstreamUnreachable,
    /// The site did not answer in time.
    UpstreamTimeout,
    /// The site's answer is no HTTP.
    UpstreamInvalid,
    /// The body is larger than the operator allows.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// A protocol that we do not change to.
    UpgradeRefused,
    /// None of the proxy's own paths.
    NotFound,
    /// One of them, and not what can be asked of it.
    MethodNotAllowed,
    /// A page of another origin asks for what only ours may.
    CrossOrigin,
    /// An operator's call that changes something, and no token that could allow it.
    AdminTokenMissing,
    /// An operator's call without the token.
    AdminTokenRequired,
    /// An operator's call whose body is not said to be JSON.
    UnsupportedMediaType,
    /// The key ring is not to be rotated now, or not from here.
    KeysNotRotated,
    /// It cannot be written down, and so not be promised.
    StoreUnavailable,
    /// The proxy runs, and cannot do its work as it stands.
    NotReady,
    /// Something broke on our side.
    Internal,
}

const _: () = assert!(Code::ALL.len() == Code::Internal as usize + 1, "Code::ALL lacks one");

impl Code {
    /// All of them, each at its own place as a number.
    pub const ALL: [Self; 24] = [
        Self::SessionRequired,
        Self::SessionInvalid,
        Self::SessionUnavailable,
        Self::TooManySessions,
        Self::BadPath,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::UnknownHost,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamInvalid,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::UpgradeRefused,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::CrossOrigin,
        Self::AdminTokenMissing,
        Self::AdminTokenRequired,
        Self::UnsupportedMediaType,
        Self::KeysNotRotated,
        Self::StoreUnavailable,
        Self::NotReady,
        Self::Internal,
    ];

    /// The stable word for it.
    ///
    /// ```
    /// use guestpass::refusal::Code;
    ///
    /// assert_eq!(Code::SessionRequired.as_str(), "session_required");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// The status it is answered with.
    ///
    /// ```
    /// use guestpass::refusal::Code;
    ///
    /// assert_eq!(Code::SessionRequired.status(), 401);
    /// ```
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.facts().1
    }

    /// One line for a person.
    ///
    /// ```
    /// use guestpass::refusal::Code;
    ///
    /// assert_eq!(Code::SessionRequired.title(), "This page needs a session");
    /// ```
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::SessionRequired => ("session_required", StatusCode::UNAUTHORIZED, "This page needs a session"),
            Self::SessionInvalid => ("session_invalid", StatusCode::FORBIDDEN, "The session is not valid"),
            Self::SessionUnavailable => {
                ("session_unavailable", StatusCode::SERVICE_UNAVAILABLE, "No session can be made right now")
            }
            Self::TooManySessions => {
                ("too_many_sessions", StatusCode::TOO_MANY_REQUESTS, "Too many sessions were asked for from here")
            }
            Self::BadPath => ("bad_path", StatusCode::BAD_REQUEST, "The path is not acceptable"),
            Self::BadRequest => ("bad_request", StatusCode::BAD_REQUEST, "The request is not acceptable"),
            Self::HeadTooLarge => {
                ("head_too_large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too large")
            }
            Self::UnknownHost => ("unknown_host", StatusCode::MISDIRECTED_REQUEST, "This host is not served here"),
            Self::UpstreamUnreachable => {
                ("upstream_unreachable", StatusCode::BAD_GATEWAY, "The site cannot be reached right now")
            }
            Self::UpstreamTimeout => {
                ("upstream_timeout", StatusCode::GATEWAY_TIMEOUT, "The site did not answer in time")
            }
            Self::UpstreamInvalid => {
                ("upstream_invalid", StatusCode::BAD_GATEWAY, "The site's answer could not be understood")
            }
            Self::BodyTooLarge => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large"),
            Self::BodyTimeout => {
                ("body_timeout", StatusCode::REQUEST_TIMEOUT, "The request's body did not arrive in time")
            }
            Self::UpgradeRefused => ("upgrade_refused", StatusCode::NOT_IMPLEMENTED, "That protocol is not offered"),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed => {
                ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "That cannot be done here")
            }
            Self::CrossOrigin => ("cross_origin", StatusCode::FORBIDDEN, "Only pages of this site may ask for that"),
            Self::AdminTokenMissing => (
                "admin_token_missing",
                StatusCode::FORBIDDEN,
                "Calls that change something are off: no admin token is configured",
            ),
            Self::AdminTokenRequired => {
                ("admin_token_required", StatusCode::UNAUTHORIZED, "This needs the admin token")
            }
            Self::UnsupportedMediaType => {
                ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is to be JSON")
            }
            Self::KeysNotRotated => ("keys_not_rotated", StatusCode::CONFLICT, "The keys were not rotated"),
            Self::StoreUnavailable => {
                ("store_unavailable", StatusCode::SERVICE_UNAVAILABLE, "That cannot be written down right now")
            }
            Self::NotReady => ("not_ready", StatusCode::SERVICE_UNAVAILABLE, "The proxy is not ready"),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here"),
        }
    }
}

/// One refusal.
///
/// ```
/// use guestpass::refusal::Refusal;
///
/// // The gate's own answers carry it, for a log of one's own.
/// fn why<B>(response: &http::Response<B>) -> Option<String> {
///     let refusal = response.extensions().get::<Refusal>()?;
///     Some(format!("{}: {}", refusal.code.as_str(), refusal.reason))
/// }
/// # assert_eq!(why(&http::Response::new(())), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub code: Code,
    /// The rule it fell under: for the access log alone, the client never sees it.
    pub reason: Cow<'static, str>,
    /// What would be right, where the client may know: an operator may, a visitor may not.
    pub detail: Option<String>,
    /// When to come again, in whole seconds on the wire.
    pub retry_after: Option<Duration>,
    /// Whether what the client still sends cannot be told from a next request, so that the connection must end.
    pub closes: bool,
}

/// Saying no is the proxy's and the gate's business.
#[doc(hidden)]
impl Refusal {
    /// A refusal under a rule.
    #[must_use]
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), detail: None, retry_after: None, closes: false }
    }

    /// The same, and the client is told this of it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same, with a time to come again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same, and the connection ends behind it.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }
}

impl From<Misaddressed> for Refusal {
    fn from(error: Misaddressed) -> Self {
        Self::new(Code::BadRequest, error.to_string()).closing()
    }
}

/// What is no request leaves nobody sure where the next one would begin.
impl From<Rule> for Refusal {
    fn from(rule: Rule) -> Self {
        let code = match rule {
            Rule::HeadSize | Rule::FieldCount => Code::HeadTooLarge,
            _ => Code::BadRequest,
        };
        Self::new(code, rule.to_string()).closing()
    }
}

/// Whom a refusal is told: kept from the request's head, since the request itself may be gone by then.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Addressee<'a> {
    /// Whether a page will be looked at by a person.
    pub prefers_html: bool,
    /// The realm of `WWW-Authenticate`.
    pub host: Cow<'a, str>,
    /// What to quote when asking the operator.
    pub request_id: Cow<'a, str>,
}

impl<'a> Addressee<'a> {
    /// Reads from `Accept` whether a page is wanted.
    #[must_use]
    pub fn new(headers: &HeaderMap, host: &'a str, request_id: &'a str) -> Self {
        Self { prefers_html: prefers_html(headers), host: host.into(), request_id: request_id.into() }
    }
}

/// Makes responses of refusals.
///
/// ```
/// use guestpass::refusal::Renderer;
/// # use guestpass::{cookie::Key, gate::GateLayer, secret::SecretBytes, session::MadeUp};
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let page = "<!doctype html><title>{title}</title><p>Please quote {code}.</p>";
/// let gate = GateLayer::builder(key, MadeUp::default()).renderer(Renderer::new(Some(page.to_owned()))).build();
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Renderer {
    page: Option<Arc<str>>,
}

impl Renderer {
    /// `page` replaces the built-in page. `{status}`, `{title}`, `{code}` and `{request_id}` in it are filled in.
    ///
    /// ```
    /// use guestpass::refusal::Renderer;
    ///
    /// let page = "<!doctype html><title>{title}</title><p>{title}. Please quote {request_id}.</p>";
    /// let renderer = Renderer::new(Some(page.to_owned()));
    /// ```
    #[must_use]
    pub fn new(page: Option<String>) -> Self {
        Self { page: page.map(Into::into) }
    }

    /// The response. The refusal itself travels in its extensions, for whoever writes down what happened.
    #[doc(hidden)]
    #[must_use]
    pub fn render(&self, refusal: &Refusal, to: &Addressee<'_>) -> Response<Full<Bytes>> {
        let (content_type, body) = if to.prefers_html {
            ("text/html; charset=utf-8", self.html(refusal, to))
        } else {
            ("application/problem+json", problem(refusal, to))
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = refusal.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if to.prefers_html && self.page.is_none() {
            headers.insert(
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
            );
        }
        if let Some(wait) = refusal.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds_up(wait)));
        }
        if refusal.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, challenge(&to.host));
        }
        if refusal.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(refusal.clone());
        response
    }

    fn html(&self, refusal: &Refusal, to: &Addressee<'_>) -> String {
        self.page
            .as_deref()
            .unwrap_or(include_str!("refusal/page.html"))
            .replace("{status}", refusal.code.status().as_str())
            .replace("{title}", refusal.code.title())
            .replace("{code}", refusal.code.as_str())
            .replace("{request_id}", &to.request_id)
    }
}

fn problem(refusal: &Refusal, to: &Addressee<'_>) -> String {
    let problem = Problem {
        status: refusal.code.status().as_u16(),
        title: refusal.code.title(),
        code: refusal.code.as_str(),
        detail: refusal.detail.as_deref(),
        request_id: &to.request_id,
    };
    // The line break is for whoever reads it at a terminal.
    serde_json::to_string(&problem).expect("plain fields always make JSON") + "\n"
}

/// RFC 9110, section 11.6.1: a challenge with the realm as a quoted string.
fn challenge(host: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("GuestSession realm=\"{host}\""))
        .unwrap_or(HeaderValue::from_static("GuestSession realm=\"\""))
}

/// `Retry-After` has whole seconds: up, since coming a moment too early would be for nothing.
fn whole_seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// RFC 9110, section 12.5.1, as far as this choice needs it: the better quality of the two wins, and JSON wins a tie,
/// since only a browser asks for HTML by name.
#[doc(hidden)]
#[must_use]
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0.0_f32, 0.0_f32);
    for range in headers
        .get_all(http::header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
            .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        match media_type.as_str() {
            "text/html" | "application/xhtml+xml" => html = html.max(quality),
            "application/json" | "application/problem+json" | "application/*" => json = json.max(quality),
            _ => {}
        }
    }
    html > json
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static(value))])
    }

    async fn text(response: Response<Full<Bytes>>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_page_is_for_those_who_ask_for_html_first() {
        for (value, html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/html;q=0.9", false),
            ("text/html, application/json", false),
            ("text/html;q=0", false),
            ("TEXT/HTML", true),
        ] {
            assert_eq!(prefers_html(&accept(value)), html, "{value}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_refusal_is_a_problem_document() {
        let to = Addressee { prefers_html: false, host: "shop.example".into(), request_id: "r1".into() };
        let refusal = Refusal::new(Code::SessionRequired, "the reason stays here");
        let response = Renderer::default().render(&refusal, &to);
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "GuestSession realm=\"shop.example\"");
        let body = text(response).await;
        assert_eq!(
            body,
            r#"{"status":401,"title":"This page needs a session","code":"session_required","request_id":"r1"}"#
                .to_owned()
                + "\n"
        );
    }

    #[tokio::test]
    async fn a_page_of_the_operators_own_is_filled_in() {
        let to = Addressee { prefers_html: true, host: "".into(), request_id: "r1".into() };
        let renderer = Renderer::new(Some("<b>{status} {code} {request_id}</b>".to_owned()));
        let refusal = Refusal::new(Code::TooManySessions, "").retry_after(Duration::from_millis(1200));
        let response = renderer.render(&refusal, &to);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(text(response).await, "<b>429 too_many_sessions r1</b>");
    }

    #[tokio::test]
    async fn the_built_in_page_names_the_request_and_no_reason() {
        let to = Addressee { prefers_html: true, host: "".into(), request_id: "r1".into() };
        let page = text(Renderer::default().render(&Refusal::new(Code::SessionInvalid, "tag"), &to)).await;
        assert!(page.contains("403") && page.contains("r1") && !page.contains("tag"), "{page}");
    }
}
