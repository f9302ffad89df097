//! A request's body on its way up: watched, so that an upstream which is slow to answer can be told from a client which
//! is slow to send, and kept where it can be taken back once the upstream wants no more of it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;

use super::BoxError;
use crate::body;
use crate::context::Rule;
use crate::hygiene;

/// What the client still sends of a request that has its answer is read and thrown away for this long, so that a client
/// which reads nothing before it has written everything gets the answer too: closing on it at once would reset the
/// connection, and with it the answer (RFC 9112, section 9.6). As long as nginx lingers.
const LINGER: Duration = Duration::from_secs(30);

/// A handle on a request's body. One goes to the upstream connection, which drains it, another stays with the exchange.
/// A request without a body has nothing to share and allocates nothing.
#[derive(Clone)]
pub(super) struct Upload(Option<Arc<Mutex<Transfer>>>);

struct Transfer {
    /// `None` once it has ended, broken or been taken back.
    source: Option<UnsyncBoxBody<Bytes, BoxError>>,
    ended: bool,
    broken: Option<Broken>,
    /// When the upstream last took something.
    moved: Instant,
    /// Whether the upstream has asked for more than the client has sent yet.
    waits_for_client: bool,
}

/// Why a request's body did not arrive whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is larger than it may be.
    TooLarge,
    /// It stalled.
    TimedOut,
    /// The client broke its own framing.
    Malformed(Rule),
    /// The client went away.
    Cut,
}

/// The upstream has answered and will get no more of the request.
#[derive(Debug, thiserror::Error)]
#[error("the request's body was taken back, since its answer is complete")]
struct TakenBack;

impl Upload {
    pub(super) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self(None);
        }
        Self(Some(Arc::new(Mutex::new(Transfer {
            source: Some(body.map_err(Into::into).boxed_unsync()),
            ended: false,
            broken: None,
            moved: Instant::now(),
            waits_for_client: false,
        }))))
    }

    /// Whether the request had no body to begin with.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the upstream connection has taken all of it.
    pub(super) fn has_ended(&self) -> bool {
        self.transfer().is_none_or(|transfer| transfer.ended)
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.transfer().and_then(|transfer| transfer.broken)
    }

    /// Until when an answer may take, given that the head went out at `sent`: `patience` from the last byte that the
    /// upstream took. While it is the client that is waited for, the upstream cannot be late.
    pub(super) fn answer_due(&self, sent: Instant, patience: Duration) -> Instant {
        match self.transfer() {
            None => sent + patience,
            Some(transfer) if transfer.waits_for_client => Instant::now() + patience,
            Some(transfer) => transfer.moved.max(sent) + patience,
        }
    }

    /// Ends the exchange for an upload that the upstream has not taken whole. With `linger`, what the client still sends
    /// is thrown away for a while; without, as HTTP/2 has it, the client is told to stop as the body drops.
    pub(super) fn let_go(&self, linger: bool) {
        let Some(mut source) = self.transfer().and_then(|mut transfer| transfer.source.take()) else { return };
        if linger {
            tokio::spawn(async move {
                let rest = async {
                    while let Some(Ok(_)) = source.frame().await {
                        // A client on a fast line would otherwise keep the core to itself.
                        tokio::task::coop::consume_budget().await;
                    }
                };
                // Either way there is nothing left to do but to drop it.
                let _ = tokio::time::timeout(LINGER, rest).await;
            });
        }
    }

    /// The lock is the exchange's own and never held across an await, so nobody waits for it.
    fn transfer(&self) -> Option<MutexGuard<'_, Transfer>> {
        self.0.as_ref().map(|transfer| transfer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut transfer) = self.transfer() else { return Poll::Ready(None) };
        transfer.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match self.transfer() {
            None => SizeHint::with_exact(0),
            Some(transfer) => transfer.source.as_ref().map(Body::size_hint).unwrap_or_default(),
        }
    }
}

impl Transfer {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(source) = self.source.as_mut() else {
            // A body that was taken back must never look complete.
            return Poll::Ready((!self.ended).then(|| Err(TakenBack.into())));
        };
        let polled = Pin::new(&mut *source).poll_frame(cx);
        self.waits_for_client = polled.is_pending();
        match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(ref frame))) => self.ended = frame.is_trailers() || source.is_end_stream(),
            Poll::Ready(Some(Err(ref error))) => self.broken = Some(Broken::of(error)),
            Poll::Ready(None) => self.ended = true,
        }
        self.moved = Instant::now();
        if self.ended || self.broken.is_some() {
            self.source = None;
        }
        polled.map(|item| item.map(|result| result.map(cleansed)))
    }
}

fn cleansed(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        hygiene::cleanse_request_trailers(trailers);
    }
    frame
}

impl Broken {
    /// Whoever watches over the body in the server may have wrapped its reason.
    fn of(error: &BoxError) -> Self {
        let mut error: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
        while let Some(link) = error {
            match link.downcast_ref::<body::Error>() {
                Some(body::Error::TooLarge) => return Self::TooLarge,
                Some(body::Error::TimedOut) => return Self::TimedOut,
                Some(_) | None => {}
            }
            // What an `io::Error` is made of is not its source.
            let made_of = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(rule) = made_of.and_then(|error| error.downcast_ref::<Rule>()) {
                return Self::Malformed(*rule);
            }
            error = link.source();
        }
        Self::Cut
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("empty", &self.is_empty()).finish_non_exhaustive()
    }
}
