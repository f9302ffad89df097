//! What kind of request this is. Sessions cost quota, so only a person's visit mints one.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::Body;

use crate::cookie::{Jar, Reading};
use crate::hygiene::Upgrade;
use crate::refusal::prefers_html;
use crate::routes::override_methods;

use super::decision::{Facts, Initiator};
use super::{Config, IssueOn, OwnPath};

/// Sees what `request` is. Reads the head alone.
#[must_use]
pub fn facts<B: Body>(request: &Request<B>, config: &Config) -> Facts {
    if let Some(own) = request.extensions().get::<OwnPath>() {
        // Whatever would change something there has been seen to come from our own pages.
        return Facts { visit: own.mints, initiator: Initiator::Own, ..Facts::default() };
    }
    let headers = request.headers();
    let upgrade = is_upgrade(request);
    let navigation = *request.method() == Method::GET && !upgrade && is_navigation(headers);
    let wanted = match config.issue_on {
        IssueOn::Visit => navigation && !is_speculative(headers),
        // An upgrade's answer carries no cookie, so a session made for it would be lost.
        IssueOn::Any => !upgrade,
    };
    Facts {
        visit: wanted && !never_mints(request.uri().path(), config),
        navigation,
        preflight: is_preflight(request),
        initiator: initiator(headers),
        ..Facts::default()
    }
}

/// The same of a request whose cookie is good, which nearly all are: of all that there is to see, the decision goes by
/// this alone then.
pub(super) fn facts_with_a_session<B: Body>(request: &Request<B>) -> Facts {
    let preflight = is_preflight(request) && request.extensions().get::<OwnPath>().is_none();
    Facts { preflight, ..Facts::default() }
}

/// Adds what the companions of the session cookie say, where a decision depends on it: few requests come without a
/// session, and fewer with two.
pub(super) fn with_companions(facts: Facts, reading: Reading, headers: &HeaderMap, jar: &Jar) -> Facts {
    if !matches!(reading, Reading::Absent | Reading::Conflict) {
        return facts;
    }
    // A page that nobody has asked for yet would be reloaded for nobody, and a program has no use for one.
    let reloads =
        facts.navigation && !is_speculative(headers) && (has_fetch_metadata(headers) || prefers_html(headers));
    let withheld = match facts.initiator {
        // RFC 6265bis, section 5.6.7.1: such a request brings no Lax cookie either, so that the marker's absence says
        // nothing.
        Initiator::Foreign if !facts.navigation => !jar.comes_from_anywhere(),
        _ => jar.is_marked(headers),
    };
    Facts { withheld, reloads, hop: jar.hop(headers), ..facts }
}

/// <https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>. A word that is not known, or one beside another, says
/// nothing.
fn initiator(headers: &HeaderMap) -> Initiator {
    let mut said = headers.get_all("sec-fetch-site").iter();
    match (said.next().map(HeaderValue::as_bytes), said.next()) {
        (Some(b"cross-site"), None) => Initiator::Foreign,
        (Some(b"same-origin" | b"same-site" | b"none"), None) => Initiator::Own,
        _ => Initiator::Unknown,
    }
}

/// `Upgrade` is hop-by-hop: behind the proxy's hygiene it stands in the extensions.
fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE) || request.extensions().get::<Upgrade>().is_some()
}

/// Whether the client sends Fetch Metadata at all, as every current browser does.
pub(super) fn has_fetch_metadata(headers: &HeaderMap) -> bool {
    ["sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "sec-fetch-user"]
        .iter()
        .any(|name| headers.contains_key(*name))
}

/// <https://www.w3.org/TR/fetch-metadata/>: a top-level navigation says `navigate` and `document`; one that a service
/// worker passes through says `empty`. Where nothing of it is said (curl, an old browser), any GET may be one.
fn is_navigation(headers: &HeaderMap) -> bool {
    if !has_fetch_metadata(headers) {
        return true;
    }
    let is = |name, value: &str| headers.get(name).is_some_and(|found| found == value);
    is("sec-fetch-mode", "navigate") && (is("sec-fetch-dest", "document") || is("sec-fetch-dest", "empty"))
}

/// A page fetched before anybody asked for it, and perhaps never shown. Chromium says `Sec-Purpose`, with parameters
/// behind a `;`; Safari said `Purpose` and Firefox `X-Moz`.
fn is_speculative(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz"].iter().any(|name| {
        headers.get_all(*name).iter().any(|value| {
            let value = value.as_bytes();
            contains(value, b"prefetch") || contains(value, b"prerender")
        })
    })
}

fn contains(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// <https://fetch.spec.whatwg.org/#cors-preflight-request>. One with a body is none, and is judged like the rest; so is
/// one that asks the site to take another method, which no browser's does.
fn is_preflight<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    *request.method() == Method::OPTIONS
        && request.body().is_end_stream()
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && override_methods(headers).is_empty()
}

fn never_mints(path: &str, config: &Config) -> bool {
    let is_sitemap = path
        .strip_prefix("/sitemap")
        .and_then(|rest| rest.strip_suffix(".xml"))
        .is_some_and(|middle| !middle.contains('/'));
    matches!(path, "/robots.txt" | "/favicon.ico" | "/.well-known")
        || path.starts_with("/.well-known/")
        || is_sitemap
        || config.never_issue.iter().any(|pattern| pattern.matches(path))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;
    use crate::routes::PathPattern;

    fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::default()).unwrap()
    }

    #[test]
    fn a_visit_is_a_persons_navigation() {
        const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
        const DOCUMENT: (&str, &str) = ("sec-fetch-dest", "document");
        #[rustfmt::skip]
        let table: &[(&str, &str, &[(&str, &str)], bool)] = &[
            ("GET",  "/",  &[NAVIGATE, DOCUMENT],                                          true),
            ("GET",  "/",  &[NAVIGATE, ("sec-fetch-dest", "empty")],                       true),
            ("GET",  "/",  &[NAVIGATE, ("sec-fetch-dest", "iframe")],                      false),
            ("GET",  "/",  &[NAVIGATE],                                                    false),
            ("GET",  "/",  &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],     false),
            ("GET",  "/",  &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],  false),
            ("GET",  "/",  &[("sec-fetch-site", "cross-site")],                            false),
            ("GET",  "/",  &[NAVIGATE, DOCUMENT, ("sec-purpose", "prefetch")],             false),
            ("GET",  "/",  &[NAVIGATE, DOCUMENT, ("sec-purpose", "prefetch;prerender")],   false),
            ("GET",  "/",  &[("purpose", "prefetch")],                                     false),
            ("GET",  "/",  &[],                                                            true),
            ("GET",  "/",  &[("upgrade", "websocket")],                                    false),
            ("HEAD", "/",  &[],                                                            false),
            ("POST", "/",  &[NAVIGATE, DOCUMENT],                                          false),
            ("GET",  "/robots.txt",                &[],                                    false),
            ("GET",  "/favicon.ico",               &[],                                    false),
            ("GET",  "/sitemap.xml",               &[],                                    false),
            ("GET",  "/sitemap-2.xml",             &[],                                    false),
            ("GET",  "/sitemap/page.xml",          &[],                                    true),
            ("GET",  "/.well-known/security.txt",  &[],                                    false),
            ("GET",  "/feeds/all",                 &[],                                    false),
        ];
        let config = Config { never_issue: vec![PathPattern::parse("/feeds/**").unwrap()], ..Config::default() };
        for (method, path, headers, expected) in table {
            let facts = facts(&request(method, path, headers), &config);
            assert_eq!(facts.visit, *expected, "{method} {path} {headers:?}");
        }
    }

    #[test]
    fn who_led_here_is_what_the_browser_says() {
        for (said, initiator) in [
            (&["cross-site"][..], Initiator::Foreign),
            (&["same-origin"], Initiator::Own),
            (&["same-site"], Initiator::Own),
            (&["none"], Initiator::Own),
            (&[], Initiator::Unknown),
            (&["Cross-Site"], Initiator::Unknown),
            (&["none", "cross-site"], Initiator::Unknown),
        ] {
            let headers: Vec<_> = said.iter().map(|word| ("sec-fetch-site", *word)).collect();
            assert_eq!(facts(&request("GET", "/", &headers), &Config::default()).initiator, initiator, "{said:?}");
        }
    }

    #[test]
    fn issue_on_any_takes_every_request_whose_answer_can_carry_a_cookie() {
        let config = Config { issue_on: IssueOn::Any, ..Config::default() };
        assert!(facts(&request("POST", "/api", &[("sec-fetch-mode", "cors")]), &config).visit);
        assert!(!facts(&request("GET", "/ws", &[("upgrade", "websocket")]), &config).visit);
        assert!(!facts(&request("GET", "/robots.txt", &[]), &config).visit);
    }

    #[test]
    fn a_preflight_is_a_bodiless_options_of_another_origin() {
        const ORIGIN: (&str, &str) = ("origin", "https://a.example");
        const ASKS: (&str, &str) = ("access-control-request-method", "PUT");
        let table: &[(&str, &[(&str, &str)], bool)] = &[
            ("OPTIONS", &[ORIGIN, ASKS], true),
            ("OPTIONS", &[ORIGIN], false),
            ("OPTIONS", &[ASKS], false),
            ("GET", &[ORIGIN, ASKS], false),
            ("OPTIONS", &[ORIGIN, ASKS, ("x-http-method-override", "GET")], false),
            ("OPTIONS", &[ORIGIN, ASKS, ("x_method_override", "get")], false),
        ];
        for (method, headers, expected) in table {
            let facts = facts(&request(method, "/", headers), &Config::default());
            assert_eq!(facts.preflight, *expected, "{method} {headers:?}");
        }
        let with_body = request("OPTIONS", "/", &[ORIGIN, ASKS]).map(|_| Full::<Bytes>::from("x"));
        assert!(!facts(&with_body, &Config::default()).preflight);
    }

    #[test]
    fn an_upgrade_is_no_visit_wherever_it_stands() {
        let mut asked = request("GET", "/ws", &[]);
        asked.extensions_mut().insert(Upgrade(HeaderValue::from_static("websocket")));
        assert_eq!(facts(&asked, &Config::default()), Facts::default());
    }
}
