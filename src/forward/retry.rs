//! Whether a request that failed may go out again: where nothing of it can have been acted on, and nowhere else.
//!
//! That is so where no connection was to be had, or it ended before anything was sent; those need no asking. It is also
//! so where a connection that had served others died before a byte of an answer, since it may have been closing as the
//! request went out (RFC 9112, section 9.3.1), but then for requests alone that may be repeated.

use std::error::Error as _;

use http::{Method, Request};

use super::pool::Link;
use super::upload::Upload;

/// The request once more, if it may go out twice after it was lost on this connection.
pub(super) fn spare(request: &Request<Upload>, connection_was_reused: bool) -> Option<Request<Upload>> {
    if !connection_was_reused || !may_be_repeated(request.method(), request.body().is_empty()) {
        return None;
    }
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Whether sending it twice does no more than sending it once (RFC 9110, section 9.2.2), and it can be sent twice.
fn may_be_repeated(method: &Method, has_no_body: bool) -> bool {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    has_no_body && idempotent.contains(method)
}

/// Whether it was the kept-alive connection that failed, before a single byte of an answer. A stream that is reset by
/// itself is an answer of a kind, but for one that was never begun (RFC 9113, section 8.7).
pub(super) fn died_unheard(link: &Link, error: &hyper::Error) -> bool {
    match link {
        Link::Http1(http1) => !http1.heard.anything(),
        Link::Http2(_) => http2_error(error).is_none_or(|error| {
            error.is_io() || error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM)
        }),
    }
}

/// What HTTP/2 had to say of it.
pub(super) fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    #[test]
    fn only_what_is_idempotent_and_bodiless_and_met_a_used_connection_goes_out_twice() {
        for (method, idempotent) in [
            ("GET", true),
            ("HEAD", true),
            ("OPTIONS", true),
            ("TRACE", true),
            ("PUT", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
            ("PROPFIND", false),
            ("get", false),
        ] {
            for (body, reused) in [("", true), ("", false), ("x", true), ("x", false)] {
                let request =
                    Request::builder().method(method).body(Upload::new(Full::new(Bytes::from(body)))).unwrap();
                let expected = idempotent && body.is_empty() && reused;
                assert_eq!(spare(&request, reused).is_some(), expected, "{method} {body:?} {reused}");
            }
        }
    }
}
