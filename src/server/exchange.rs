//! One request and its response: hands the service what it needs to know, and holds the connection open until both
//! bodies are through.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::guard::{STAND_IN, Word};
use super::handler::Handler;
use super::pulse::{Open, Pulse};
use super::streams::{self, Turn};
use crate::body::{Bounded, Bounds};
use crate::context::{Connection, Malformed, Rule};

/// The service as one connection calls it.
#[derive(Clone, Debug)]
pub(super) struct Exchanges<S> {
    pub(super) service: S,
    pub(super) connection: Connection,
    pub(super) pulse: Arc<Pulse>,
    pub(super) bounds: Bounds,
    pub(super) max_headers: usize,
    /// Of HTTP/1 alone.
    pub(super) guard: Option<Arc<Word>>,
}

impl<S: Handler> Exchanges<S> {
    /// What came in the place of a request. HTTP/2 has no guard, and h2 no limit to the number of fields, nor to a
    /// method.
    fn malformed(&self, request: &Request<Incoming>) -> Option<Malformed> {
        let guard = self.guard.as_ref().filter(|_| request.uri().path() == STAND_IN);
        guard.and_then(|guard| guard.malformed().cloned()).or_else(|| {
            let has_method = request.method().as_str().len() <= Malformed::LONGEST_METHOD;
            let rule = match has_method {
                false => Rule::MethodSize,
                true if count(request.headers()) > self.max_headers => Rule::FieldCount,
                true => return None,
            };
            Some(Malformed {
                rule,
                method: Some(request.method().clone()).filter(|_| has_method),
                target: Some(request.uri().clone()),
                version: request.version(),
            })
        })
    }
}

impl<S: Handler> Service<Request<Incoming>> for Exchanges<S> {
    type Response = Response<Outgoing<<S as Handler>::Body>>;
    type Error = Infallible;
    type Future = Exchange<S::Future, <S as Handler>::Body>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = Some(Open::unanswered(&self.pulse));
        let pulse = Arc::clone(&self.pulse);
        if let Some(malformed) = self.malformed(&request) {
            let response = Some(self.service.reject(&malformed, self.connection));
            return Exchange { answer: Answer::Rejected { response }, open, upgrade: None, pulse, is_new: false };
        }
        let upgrade = self.guard.as_ref().filter(|_| request.headers().contains_key(UPGRADE)).map(Arc::clone);
        let mut request = request.map(|body| Bounded::new(body, self.bounds));
        request.extensions_mut().insert(self.connection);
        if !request.body().is_end_stream() {
            // An answer may be through before the request's body is: the connection is not idle then.
            request.body_mut().hold(Open::new(&self.pulse));
        }
        let is_new = request.version() == Version::HTTP_2;
        Exchange { answer: Answer::Awaited { future: self.service.call(request) }, open, upgrade, pulse, is_new }
    }
}

/// HTTP/2 clients send each cookie in a field of its own to compress it better (RFC 9113, section 8.2.3): together
/// they are one.
fn count(headers: &HeaderMap) -> usize {
    headers.len() - headers.get_all(COOKIE).iter().count().saturating_sub(1)
}

pin_project! {
    /// The service at work.
    #[derive(Debug)]
    pub(super) struct Exchange<F, B> {
        #[pin]
        answer: Answer<F, B>,
        open: Option<Open>,
        // Whoever waits to hear whether the protocol changes.
        upgrade: Option<Arc<Word>>,
        pulse: Arc<Pulse>,
        // Whether hyper is still to be asked if anybody wants the answer.
        is_new: bool,
    }
}

pin_project! {
    #[project = AnswerProjection]
    #[derive(Debug)]
    enum Answer<F, B> {
        Awaited {
            #[pin]
            future: F,
        },
        Rejected {
            response: Option<Response<B>>,
        },
    }
}

impl<F, B> Future for Exchange<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Outgoing<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Whoever floods a connection with requests resets them in the same breath, or has us reset them. hyper sees that
        // only after a poll without an answer, and by then each of them would have gone to the site.
        if std::mem::take(this.is_new) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut response = match this.answer.project() {
            AnswerProjection::Awaited { future } => ready!(future.poll(cx))?,
            AnswerProjection::Rejected { response } => response.take().expect("polled once, since it is ready"),
        };
        if let Some(guard) = this.upgrade.take() {
            guard.decide(response.status() == StatusCode::SWITCHING_PROTOCOLS);
        }
        // A 101 says `Connection: upgrade`, and there is no other request behind it anyway.
        if this.pulse.says_close() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
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
        body: B,
        open: Option<Open>,
        turn: Option<Arc<Turn>>,
    }
}

impl<B: Body<Data = Bytes>> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(turn) = this.turn {
            turn.ours();
        }
        let frame = ready!(this.body.poll_frame(cx));
        match (&frame, this.turn) {
            (Some(Ok(_)), Some(turn)) => turn.theirs(),
            (Some(Ok(_)), None) => {}
            (None | Some(Err(_)), _) => *this.open = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
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
