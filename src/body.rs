//! Bodies on their way through: never collected, only watched.
//!
//! [`Bounded`] stands around a request's body. It knows nothing of HTTP versions or sockets: what a connection wants
//! to know of a body's end, it learns by what it gives the body to [hold](Bounded::hold).

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// What a body may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes in all; `None` is no limit.
    pub size: Option<u64>,
    /// How long whoever reads may wait for the next byte.
    pub idle: Duration,
}

/// Why a request's body did not arrive whole. Whoever forwards one finds this as the error, or in its chain of sources.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is larger than [`Bounds::size`].
    #[error("the body is larger than the limit")]
    TooLarge,
    /// Nothing came for [`Bounds::idle`], though somebody was waiting for it.
    #[error("the body did not arrive in time")]
    TimedOut,
    /// It ended before its end, or broke its framing.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A body that keeps to its [`Bounds`]. After an error it is over.
///
/// What it says of its length is what the body in it says, so a `Content-Length` stays one when the body is forwarded.
pub struct Bounded<B> {
    body: B,
    bounds: Bounds,
    /// Only where there is something to read: most requests have no body, and then this costs nothing.
    read: Option<Arc<AtomicU64>>,
    /// Made when a reader first has to wait, so that a body that is there costs no timer.
    patience: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    over: bool,
    held: Option<Box<dyn Any + Send + Sync>>,
}

impl<B: Body> Bounded<B> {
    /// Watches over `body`.
    #[must_use]
    pub fn new(body: B, bounds: Bounds) -> Self {
        let over = body.is_end_stream();
        Self { body, bounds, read: (!over).then(Arc::default), patience: None, waiting: false, over, held: None }
    }

    /// Drops `guard` when the body has ended or is dropped itself; at once, when there is no body.
    pub fn hold(&mut self, guard: impl Any + Send + Sync) {
        if !self.over {
            self.held = Some(Box::new(guard));
        }
    }

    /// Tells how much was read, also when the body is long gone.
    #[must_use]
    pub fn count(&self) -> Count {
        Count(self.read.clone())
    }

    fn end(&mut self) {
        self.over = true;
        self.waiting = false;
        self.held = None;
    }

    /// Ready once nothing has come for as long as [`Bounds::idle`].
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(self.bounds.idle)));
        if !self.waiting {
            self.waiting = true;
            patience.as_mut().reset(Instant::now() + self.bounds.idle);
        }
        patience.as_mut().poll(cx)
    }

    fn took(&mut self, bytes: usize) -> Result<(), Error> {
        self.waiting = false;
        let before = self.read.as_ref().map_or(0, |read| read.fetch_add(bytes as u64, Ordering::Relaxed));
        let read = before.saturating_add(bytes as u64);
        match self.bounds.size {
            Some(limit) if read > limit => Err(Error::TooLarge),
            _ => Ok(()),
        }
    }
}

impl<B> Body for Bounded<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let next = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => this.took(frame.data_ref().map_or(0, Bytes::len)).map(|()| Some(frame)),
            Poll::Ready(Some(Err(error))) => Err(Error::Broken(error.into())),
            Poll::Ready(None) => Ok(None),
            Poll::Pending => {
                ready!(this.poll_patience(cx));
                Err(Error::TimedOut)
            }
        };
        if !matches!(next, Ok(Some(_))) || this.body.is_end_stream() {
            this.end();
        }
        Poll::Ready(next.transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        if self.over { SizeHint::with_exact(0) } else { self.body.size_hint() }
    }
}

impl<B: fmt::Debug> fmt::Debug for Bounded<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("body", &self.body).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// How many bytes of a body were read, by whoever reads it now.
#[derive(Clone, Debug, Default)]
pub struct Count(Option<Arc<AtomicU64>>);

impl Count {
    /// Until now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |read| read.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http::HeaderMap;
    use http_body_util::{BodyExt, Empty, Full, StreamBody};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    type Frames = UnboundedSender<Result<Frame<Bytes>, Infallible>>;

    const BOUNDS: Bounds = Bounds { size: Some(8), idle: Duration::from_secs(60) };

    fn channel() -> (Frames, Bounded<impl Body<Data = Bytes, Error = Infallible> + Unpin>) {
        let (frames, mut received) = unbounded_channel();
        (frames, Bounded::new(StreamBody::new(stream::poll_fn(move |cx| received.poll_recv(cx))), BOUNDS))
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, Infallible> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn what_fits_passes_with_its_trailers_and_is_counted() {
        let (frames, mut body) = channel();
        let count = body.count();
        frames.send(data("1234")).unwrap();
        frames.send(data("5678")).unwrap();
        frames.send(Ok(Frame::trailers(HeaderMap::new()))).unwrap();
        drop(frames);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "1234");
        assert_eq!(count.bytes(), 4);
        let rest = body.collect().await.unwrap();
        assert!(rest.trailers().is_some());
        assert_eq!(rest.to_bytes(), "5678");
        assert_eq!(count.bytes(), 8);
    }

    #[tokio::test]
    async fn one_byte_too_many_is_an_error_and_the_end() {
        let (frames, mut body) = channel();
        frames.send(data("1234")).unwrap();
        frames.send(data("56789")).unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        assert!(matches!(body.frame().await, Some(Err(Error::TooLarge))));
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_runs_only_while_somebody_waits() {
        let (frames, mut body) = channel();
        frames.send(data("1")).unwrap();
        tokio::time::advance(BOUNDS.idle * 3).await;
        assert!(body.frame().await.unwrap().is_ok());

        // The wait begins anew with every byte.
        for _ in 0..3 {
            let begun = Instant::now();
            let next = tokio::time::timeout(BOUNDS.idle * 2 / 3, body.frame()).await;
            assert!(next.is_err() && begun.elapsed() < BOUNDS.idle);
            frames.send(data("2")).unwrap();
            assert!(body.frame().await.unwrap().is_ok());
        }

        let begun = Instant::now();
        assert!(matches!(body.frame().await, Some(Err(Error::TimedOut))));
        // The timer's own grain is a millisecond.
        assert!(begun.elapsed() >= BOUNDS.idle && begun.elapsed() < BOUNDS.idle + Duration::from_millis(5));
    }

    #[tokio::test]
    async fn what_it_holds_goes_with_the_last_byte() {
        let (frames, mut body) = channel();
        let guard = Arc::new(());
        body.hold(Arc::clone(&guard));
        frames.send(data("1")).unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(Arc::strong_count(&guard), 2);
        drop(frames);
        assert!(body.frame().await.is_none());
        assert_eq!(Arc::strong_count(&guard), 1, "the body itself still stands");

        let mut none = Bounded::new(Empty::<Bytes>::new(), BOUNDS);
        none.hold(Arc::clone(&guard));
        assert_eq!(Arc::strong_count(&guard), 1);

        let mut known = Bounded::new(Full::from("1234"), BOUNDS);
        known.hold(Arc::clone(&guard));
        assert!(known.frame().await.unwrap().is_ok());
        assert_eq!(Arc::strong_count(&guard), 1, "a body of known length ends with its last frame");
    }

    #[test]
    fn its_length_stays_known() {
        let body = Bounded::new(Full::from("12345"), BOUNDS);
        assert_eq!(body.size_hint().exact(), Some(5));
        assert!(!body.is_end_stream());
        assert!(Bounded::new(Empty::<Bytes>::new(), BOUNDS).is_end_stream());
    }
}
