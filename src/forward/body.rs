//! A response's body on its way down: handed on frame by frame as it arrives, and never made to look whole when it is
//! not. When it ends, its connection goes back to the pool.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::connect::Http1;
use super::pool::Pool;
use super::servers::Busy;
use super::upload::Upload;
use crate::context;
use crate::hygiene;

/// What [`Forward`](super::Forward) answers with: an upstream's body, or a refusal's.
pub struct Body(Kind);

enum Kind {
    Own(Full<Bytes>),
    Upstream(Box<Download>),
}

/// Why a response's body ended before it was whole. Whoever sends it on must break it off too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The upstream's connection or stream broke.
    #[error("the upstream broke its answer off")]
    Cut(#[source] hyper::Error),
    /// The upstream took its stream back with a good word, but had not finished.
    #[error("the upstream ended its answer without an end")]
    Unfinished,
    /// Nothing came for too long.
    #[error("the upstream fell silent in the middle of its answer")]
    Silent,
    /// The session that the route requires has expired or was revoked.
    #[error("the session has ended")]
    SessionEnded,
}

/// What belongs to a response while it is under way.
pub(super) struct Download {
    pub(super) incoming: Incoming,
    /// HTTP/1.1 connections wait here for their return.
    pub(super) link: Option<Http1>,
    pub(super) pool: Arc<Pool>,
    /// Until the body has ended, the server has something to do.
    pub(super) busy: Option<Busy>,
    pub(super) upload: Upload,
    /// Whether the client speaks HTTP/1, which cannot be told to stop sending.
    pub(super) lingers: bool,
    /// Whether the upstream speaks HTTP/2, where a body's end is not the same as its being whole.
    pub(super) over_http2: bool,
    pub(super) idle_timeout: Duration,
    /// Of the session that the stream was opened under, where a route required one.
    pub(super) ending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(super) context: Arc<context::Context>,
    pub(super) silence: Silence,
    pub(super) done: bool,
}

/// How long nothing has come. There is no timer before something is waited for, and one is kept once it is there: it
/// goes off early at worst, and is set anew.
#[derive(Default)]
pub(super) struct Silence {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body {
    pub(super) fn upstream(mut download: Download) -> Self {
        if http_body::Body::is_end_stream(&download.incoming) {
            download.finish();
        }
        Self(Kind::Upstream(Box::new(download)))
    }
}

impl From<Full<Bytes>> for Body {
    fn from(own: Full<Bytes>) -> Self {
        Self(Kind::Own(own))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut self.0 {
            Kind::Own(own) => {
                Pin::new(own).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Kind::Upstream(download) => download.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(own) => own.is_end_stream(),
            Kind::Upstream(download) => download.done,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(own) => own.size_hint(),
            Kind::Upstream(download) => http_body::Body::size_hint(&download.incoming),
        }
    }
}

impl Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(ending) = &mut self.ending
            && ending.as_mut().poll(cx).is_ready()
        {
            self.context.record.note(|entry| entry.reason = Some("the session ended".into()));
            return Poll::Ready(Some(Err(self.cut(BodyError::SessionEnded))));
        }
        let Poll::Ready(item) = http_body::Body::poll_frame(Pin::new(&mut self.incoming), cx) else {
            ready!(self.silence.poll_over(self.idle_timeout, cx));
            return Poll::Ready(Some(Err(self.cut(BodyError::Silent))));
        };
        self.silence.since = None;
        Poll::Ready(match item {
            Some(Ok(mut frame)) => {
                let trailers = frame.trailers_mut().map(hygiene::cleanse_response_trailers).is_some();
                if trailers || http_body::Body::is_end_stream(&self.incoming) {
                    self.finish();
                }
                Some(Ok(frame))
            }
            // hyper calls a stream that was reset with NO_ERROR ended (RFC 9113, section 8.1), but that is only so for
            // the request's half of it.
            None if self.over_http2 && !http_body::Body::is_end_stream(&self.incoming) => {
                Some(Err(self.cut(BodyError::Unfinished)))
            }
            None => {
                self.finish();
                None
            }
            Some(Err(error)) => Some(Err(self.cut(BodyError::Cut(error)))),
        })
    }

    /// The response is whole. If the request is too, the connection may serve another; else the upstream has answered
    /// without reading all of it and gets no more.
    fn finish(&mut self) {
        self.done = true;
        self.busy = None;
        if let Some(http1) = self.link.take() {
            if self.upload.has_ended() {
                self.pool.give_back(http1);
            } else {
                http1.abort();
            }
        }
        self.upload.let_go(self.lingers);
    }

    fn cut(&mut self, error: BodyError) -> BodyError {
        self.done = true;
        self.busy = None;
        self.link = None;
        self.context.record.note(|entry| entry.cut = true);
        error
    }
}

impl Silence {
    /// Ready when nothing has come for `limit` since it was first waited for. Time in which nobody asked does not count:
    /// then it was the client that was slow.
    fn poll_over(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let over = *self.since.get_or_insert_with(Instant::now) + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(over)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= over {
                return Poll::Ready(());
            }
            timer.as_mut().reset(over);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Own(_) => "Body::Own",
            Kind::Upstream(_) => "Body::Upstream",
        })
    }
}
