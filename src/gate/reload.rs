//! The page that leads to itself again.
//!
//! A browser that comes from another site holds a Strict cookie back, and goes on holding it back through a redirect,
//! which keeps the start that it had. A page that refreshes itself is a new start, from this site. A visitor sees nothing
//! of it, or, where refreshing is switched off, a link to follow.
//!
//! An address with a fragment leads to a place on the same page and loads nothing (HTML, section 7.4.2.2, "navigate"),
//! so a script first gives the page another address, from which the one with the fragment is another page.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFRESH};
use http_body_util::Full;

use super::response;

/// What gets past a fragment. Any other address would do that a script of this origin may give.
const SCRIPT: &str =
    "if(location.hash){const page=location.href;history.replaceState(null,'','?reloading');location.replace(page)}";

/// This script and nothing else: CSP level 3, section 2.3.1, by its SHA-256.
const POLICY: &str = "default-src 'none'; script-src 'sha256-Typ/8xkBIh4aBn2viW3DUlDFXpdFyGmPyipos6seEpg='";

/// The answer, with these cookies. No cache may keep it: it stands for another page.
pub(super) fn page(request_id: &str, cookies: Vec<HeaderValue>) -> Response<Full<Bytes>> {
    // A request id is letters, digits, `.`, `_` and `-`: nothing that HTML would take for its own.
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0\">\
         <title>One moment</title><script>{SCRIPT}</script><a href=\"\">Continue</a> <small>{request_id}</small></html>\n"
    );
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(REFRESH, HeaderValue::from_static("0"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response::set_cookies(headers, cookies);
    response
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_admits_the_script() {
        let hash = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
        assert_eq!(POLICY, format!("default-src 'none'; script-src 'sha256-{hash}'"));
    }
}
