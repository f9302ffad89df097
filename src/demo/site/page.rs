//! The page that shows a request to whoever sent it.
//!
//! It is whole in itself: nothing on it comes from anywhere else, and it reads well without its script.

use std::borrow::Cow;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

const SESSION_ID: &str = "x-genesys-session-id";
const SESSION_EXPIRES: &str = "x-genesys-session-expires";
const SESSION_TOKEN: &str = "x-genesys-session-token";

/// The page for one request.
pub(super) fn showing(head: &Parts, peer: SocketAddr) -> String {
    let place = Place::of(head.uri.path());
    let session = field(&head.headers, SESSION_ID);
    fill(TEMPLATE, |name| match name {
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "title" => escape(place.title()).into_owned(),
        "greeting" => greeting(place, session.as_deref()),
        "pass" => pass(place, &head.headers, session.as_deref()),
        "client" => escape(&client(&head.headers, peer)).into_owned(),
        "request_id" => {
            field(&head.headers, "x-request-id").map_or_else(|| "none".to_owned(), |id| escape(&id).into_owned())
        }
        "asked" => escape(&format!("{} {}", head.method, head.uri.path())).into_owned(),
        "open_here" => place.current(Place::Public).to_owned(),
        "normal_here" => place.current(Place::Front).to_owned(),
        "protected_here" => place.current(Place::Account).to_owned(),
        "count" => head.headers.len().to_string(),
        "legend" => legend(&head.headers).to_owned(),
        "rows" => rows(&head.headers),
        _ => String::new(),
    })
}

/// What the page may do. The hashes admit exactly the style and the script that stand on it: CSP level 3, section
/// 2.3.1.
pub(super) fn content_security_policy() -> HeaderValue {
    let [script, style] = [SCRIPT, STYLE].map(|text| STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src 'self'; connect-src \
         'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("it is ASCII, as base64 is")
}

/// A field's value for eyes: whatever is no UTF-8 becomes U+FFFD.
pub(super) fn readable(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// Which of the three kinds of place a path is, as the demo's routes have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Front,
    Public,
    Account,
}

impl Place {
    fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("account") => Self::Account,
            Some("public") => Self::Public,
            _ => Self::Front,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Front => "Sample site",
            Self::Public => "Public · Sample site",
            Self::Account => "Account · Sample site",
        }
    }

    fn current(self, link: Self) -> &'static str {
        if self == link { "aria-current=\"page\"" } else { "" }
    }
}

fn greeting(place: Place, session: Option<&str>) -> String {
    let (heading, line) = match (place, session) {
        (Place::Account, Some(id)) => {
            // The beginning is name enough for a greeting; the whole id stands on the pass below.
            let name: String = id.chars().take(8).collect();
            return format!(
                "<h1>Good to see you, guest <span class=\"name\">{}</span></h1>\n\
                 <p>Only visitors with a valid session get as far as this page.</p>",
                escape(&name)
            );
        }
        (Place::Account, None) => (
            "Nobody checked you at the door",
            "This path is meant to be protected, and yet a request without a session has reached it: \
             is the proxy in front, and does its route say <code>require</code>?",
        ),
        (Place::Public, _) => {
            ("Come in, whoever you are", "This path is open: no session is made here, checked, or told to the site.")
        }
        (Place::Front, Some(_)) => ("Welcome, guest", "You have a session, and the site was told which one it is."),
        (Place::Front, None) => (
            "Welcome, stranger",
            "The site works, only nobody told it who you are. Either this was no visit, \
             or no session could be made just now, or nothing stands in front of the site.",
        ),
    };
    format!("<h1>{heading}</h1>\n<p>{line}</p>")
}

fn pass(place: Place, headers: &HeaderMap, session: Option<&str>) -> String {
    let Some(id) = session else {
        let line = match place {
            Place::Public => "and none is needed here",
            Place::Front | Place::Account => "with this request",
        };
        return format!(
            "<div class=\"pass none\"><div class=\"main\"><span class=\"label\">Guest pass</span>\
             <strong class=\"id\">No session <small>{line}</small></strong></div></div>"
        );
    };
    let expires = field(headers, SESSION_EXPIRES).unwrap_or_default();
    let stub = moment(&expires).map_or_else(
        || format!("<strong class=\"left\">{}</strong>", escape(&expires)),
        |end| {
            let text = end.to_string();
            let (date, time) = (&text[..10], &text[11..19]);
            format!(
                "<strong class=\"left\"><time data-ends=\"{}\" datetime=\"{text}\">{time}</time></strong>\
                 <small>{date} {time} UTC</small>",
                end.millis()
            )
        },
    );
    format!(
        "<div class=\"pass\"><div class=\"main\"><span class=\"label\">Guest pass</span><strong class=\"id\">{}</strong>\
         </div><div class=\"stub\"><span class=\"label\" id=\"until\">Good until</span>{stub}</div></div>",
        escape(id)
    )
}

/// A moment as RFC 3339 or as seconds since the epoch.
fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::from_rfc3339(text).or_else(|| text.parse().ok().map(Timestamp::from_seconds))
}

/// The visitor's address as the proxy tells it, else the address of whoever connected.
fn client(headers: &HeaderMap, peer: SocketAddr) -> String {
    let forwarded = field(headers, "x-forwarded-for");
    let first = forwarded.as_deref().and_then(|list| list.split(',').next()).map(str::trim);
    first.map_or_else(|| peer.ip().to_string(), str::to_owned)
}

fn legend(headers: &HeaderMap) -> &'static str {
    if headers.keys().any(is_the_proxys) {
        "<p class=\"legend\"><i></i> the proxy's own word; a client that sends these is not believed</p>"
    } else {
        "<p class=\"legend\">No proxy has said anything: this request came straight to the site.</p>"
    }
}

fn rows(headers: &HeaderMap) -> String {
    let row = |(name, value): (&HeaderName, &HeaderValue)| {
        let class = if is_the_proxys(name) { " class=\"ours\"" } else { "" };
        let value = match name.as_str() {
            SESSION_TOKEN => format!("{} characters, kept off this page", value.len()),
            _ => readable(value).into_owned(),
        };
        format!("<tr{class}><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name.as_str()), escape(&value))
    };
    // The session comes first and what the proxy adds comes next: it is what a newcomer is looking for.
    let mut fields: Vec<_> = headers.iter().collect();
    fields.sort_by_key(|(name, _)| (!is_the_sessions(name), !is_the_proxys(name)));
    fields.into_iter().map(row).collect()
}

fn is_the_proxys(name: &HeaderName) -> bool {
    is_the_sessions(name)
        || name.as_str().starts_with("x-forwarded-")
        || ["forwarded", "via", "x-real-ip", "x-request-id"].contains(&name.as_str())
}

fn is_the_sessions(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-genesys-")
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    headers.get(name).map(readable)
}

/// Puts values in the place of `{{name}}`, in one pass: what a visitor sends is never looked at for further names.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut pieces = template.split("{{");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or(("", piece));
        filled.push_str(&value(name));
        filled.push_str(rest);
    }
    filled
}

/// Makes text safe to stand in HTML, between tags and within quoted attributes.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().fold(String::with_capacity(text.len() + 16), |mut escaped, letter| {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
        escaped
    });
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn shown(path: &str, headers: &[(&'static str, &str)]) -> String {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        showing(&request.body(()).unwrap().into_parts().0, "192.0.2.7:4000".parse().unwrap())
    }

    #[test]
    fn nothing_that_a_visitor_says_becomes_markup() {
        let hostile = "\"><script>alert('x')</script>&{{script}}";
        let names = [SESSION_ID, SESSION_EXPIRES, "x-forwarded-for", "x-request-id", "user-agent"];
        let headers: Vec<_> = names.iter().map(|name| (*name, hostile)).collect();
        for path in ["/", "/account/", "/public/", "/%3Cscript%3E"] {
            let page = shown(path, &headers);
            assert_eq!(page.matches("<script>").count(), 1, "only the page's own, on {path}");
            assert!(page.contains("&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;{{script}}"));
        }
    }

    #[test]
    fn the_session_is_shown_and_its_token_is_not() {
        let headers =
            [(SESSION_ID, "session-1"), (SESSION_EXPIRES, "2026-11-22T15:20:00Z"), (SESSION_TOKEN, "swordfish")];
        let page = shown("/account/orders", &headers);
        assert!(page.contains("Good to see you, guest <span class=\"name\">session-</span>"));
        assert!(page.contains("datetime=\"2026-11-22T15:20:00.000Z\""));
        assert!(page.contains("9 characters, kept off this page") && !page.contains("swordfish"));
        assert!(shown("/", &[]).contains("No session"));
    }

    #[test]
    fn the_end_may_be_told_in_seconds_too() {
        assert_eq!(moment("1795360800"), Timestamp::from_rfc3339("2026-11-22T15:20:00Z"));
        assert_eq!(moment("soon"), None);
    }

    #[test]
    fn the_address_is_the_visitors_where_a_proxy_tells_it() {
        let told = HeaderMap::from_iter([(
            HeaderName::from_static("x-forwarded-for"),
            HeaderValue::from_static("198.51.100.4, 10.0.0.1"),
        )]);
        let peer = "192.0.2.7:4000".parse().unwrap();
        assert_eq!(client(&told, peer), "198.51.100.4");
        assert_eq!(client(&HeaderMap::new(), peer), "192.0.2.7");
    }

    #[test]
    fn every_blank_of_the_template_is_filled() {
        let page = shown("/", &[("x-request-id", "r")]);
        assert!(!page.contains("{{") && !page.contains("}}"), "{page}");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = shown("/", &[]);
        // The namespace of SVG is a name, and nothing is fetched from it.
        let addresses = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!addresses.contains("http://") && !addresses.contains("https://"));
        assert!(content_security_policy().to_str().unwrap().starts_with("default-src 'none'"));
    }
}
