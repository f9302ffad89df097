//! The page that shows how the proxy fares.
//!
//! It is whole in itself and the same for everybody: what it shows, its script asks `/status` for. Nothing on it comes
//! from anywhere else, and of what it is given nothing becomes markup.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};
use http::{HeaderMap, Response};
use http_body_util::Full;
use sha2::{Digest, Sha256};

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 4] = [
    include_str!("page/words.js"),
    include_str!("page/chart.js"),
    include_str!("page/page.js"),
    include_str!("page/changes.js"),
];

/// The page as it is sent.
#[derive(Debug)]
pub(super) struct Page {
    html: Bytes,
    headers: HeaderMap,
}

impl Page {
    pub(super) fn new() -> Self {
        let script = SCRIPTS.concat();
        let html = TEMPLATE.replace("{{style}}", STYLE).replace("{{script}}", &script);
        let headers = [
            (CONTENT_SECURITY_POLICY, policy(&script)),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        ];
        Self { html: html.into(), headers: headers.into_iter().collect() }
    }

    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        let mut response = super::answer("text/html; charset=utf-8", self.html.clone());
        response.headers_mut().extend(self.headers.clone());
        response
    }
}

/// What the page may do. The hashes admit exactly the style and the script that stand on it (CSP level 3, section
/// 2.3.1), `data:` its icon, and Trusted Types no way of making markup or script of text.
fn policy(script: &str) -> HeaderValue {
    let [script, style] = [script, STYLE].map(|text| STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; connect-src \
         'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    );
    HeaderValue::try_from(policy).expect("it is ASCII, as base64 is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_in_itself() {
        let page = Page::new();
        let html = std::str::from_utf8(&page.html).unwrap();
        assert!(!html.contains("{{") && html.ends_with("</html>\n"));
        // The namespace of SVG is a name, and nothing is fetched from it.
        let rest = html.replace("http://www.w3.org/2000/svg", "");
        for outside in
            ["http://", "https://", "src=", "@import", "url(", "innerHTML", " style=", " onclick", "localStorage"]
        {
            assert!(!rest.contains(outside), "{outside}");
        }
    }
}
