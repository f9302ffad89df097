//! The page that leads to itself again.
//!
//! A browser that comes from another site holds a Strict cookie back, and goes on holding it back through a redirect,
//! which keeps the start that it had. A page that refreshes itself is a new start, from this site. A visitor sees nothing
//! of it, or, where refreshing is switched off, a link to follow.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFRESH};
use http_body_util::Full;

use super::response;

/// The answer, with these cookies. No cache may keep it: it stands for another page.
pub(super) fn page(request_id: &str, cookies: Vec<HeaderValue>) -> Response<Full<Bytes>> {
    // A request id is letters, digits, `.`, `_` and `-`: nothing that HTML would take for its own.
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0\">\
         <title>One moment</title><a href=\"\">Continue</a> <small>{request_id}</small></html>\n"
    );
    let mut response = Response::new(Full::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(REFRESH, HeaderValue::from_static("0"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response::set_cookies(headers, cookies);
    response
}
