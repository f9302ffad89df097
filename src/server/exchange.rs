//! One request and its response: hands the service what it needs to know, and holds the connection open until both
//! bodies are through.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::pulse::{Open, Pulse};
use super::streams::{self, Turn};
use crate::body::{Bounded, Bounds};
use crate::context::Connection;

/// The service as one connection calls it.
#[derive(Clone, Debug)]
pub(super) struct Exchanges<S> {
    pub(super) service: S,
    pub(super) connection: Connection,
    pub(super) pulse: Arc<Pulse>,
    pub(super) bounds: Bounds,
    pub(super) max_headers: usize,
}

impl<S, B> Service<Request<Incoming>> for Exchanges<S>
where
    S: Service<Request<Bounded<Incoming>>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<Outgoing<B>>;
    type Error = Infallible;
    type Future = Exchange<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = Some(Open::unanswered(&self.pulse));
        if count(request.headers()) > self.max_headers {
            return Exchange { answer: None, open };
        }
        let mut request = request.map(|body| Bounded::new(body, self.bounds));
        request.extensions_mut().insert(self.connection);
        if !request.body().is_end_stream() {
            // An answer may be through before the request's body is: the connection is not idle then.
            request.body_mut().hold(Open::new(&self.pulse));
        }
        Exchange { answer: Some(self.service.call(request)), open }
    }
}

/// HTTP/2 clients send each cookie in a field of its own to compress it better (RFC 9113, section 8.2.3): together
/// they are one.
fn count(headers: &HeaderMap) -> usize {
    headers.len() - headers.get_all(COOKIE).iter().count().saturating_sub(1)
}

pin_project! {
    /// The service at work; without one, the request had too many header fields. HTTP/1 refuses those while it reads
    /// them, and hyper's HTTP/2 has no such limit.
    #[derive(Debug)]
    pub(super) struct Exchange<F> {
        #[pin]
        answer: Option<F>,
        open: Option<Open>,
    }
}

impl<F, B> Future for Exchange<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Outgoing<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.answer.as_pin_mut() {
            Some(answer) => ready!(answer.poll(cx))?.map(Some),
            None => Response::new(None),
        };
        if response.body().is_none() {
            *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        }
        let (open, turn) = (this.open.take().map(Open::answered), streams::turn());
        Poll::Ready(Ok(response.map(|body| Outgoing { body, open, turn })))
    }
}

pin_project! {
    /// A response's body on its way out.
    #[derive(Debug)]
    pub(super) struct Outgoing<B> {
        #[pin]
        body: Option<B>,
        open: Option<Open>,
        turn: Option<Arc<Turn>>,
    }
}

impl<B: Body<Data = Bytes>> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        if let Some(turn) = this.turn {
            turn.ours();
        }
        let frame = ready!(body.poll_frame(cx));
        match (&frame, this.turn) {
            (Some(Ok(_)), Some(turn)) => turn.theirs(),
            (Some(Ok(_)), None) => {}
            (None | Some(Err(_)), _) => *this.open = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_in_crumbs_count_as_one_field() {
        let mut headers = HeaderMap::new();
        headers.append("accept", HeaderValue::from_static("*/*"));
        assert_eq!(count(&headers), 1);
        for _ in 0..3 {
            headers.append(COOKIE, HeaderValue::from_static("a=b"));
        }
        assert_eq!(count(&headers), 2);
    }
}
