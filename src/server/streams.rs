//! The streams of an HTTP/2 connection, each a task, and the end of those whose client takes nothing.
//!
//! A client stalls a single stream by not opening its flow-control window (RFC 9113, section 5.2), and the socket
//! shows nothing of it. hyper then simply does not ask the response's body for more; so it counts as stalled when a
//! piece of the body was handed over and the next one is not asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Instant, Sleep, sleep};

use super::pulse::{Pulse, Tick};

tokio::task_local! {
    static TURN: Arc<Turn>;
}

/// The turn of the stream whose task this is; none on HTTP/1.
pub(super) fn turn() -> Option<Arc<Turn>> {
    TURN.try_with(Arc::clone).ok()
}

/// Whose turn it is on a stream: ours to produce something, or the client's to take what we have. Counted up at each
/// change, so that it is odd while it is theirs.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU32);

impl Turn {
    /// The client has room: the body is asked for more.
    pub(super) fn ours(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1) & !1, Ordering::Relaxed);
    }

    /// The client has something to take.
    pub(super) fn theirs(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs the streams of one connection.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) pulse: Arc<Pulse>,
    /// How long a client may take nothing of a stream.
    pub(super) patience: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let turn = Arc::<Turn>::default();
        tokio::spawn(Stream {
            stream: TURN.scope(Arc::clone(&turn), stream),
            turn,
            watched: 0,
            blocked: 0,
            sleep: None,
            streams: self.clone(),
        });
    }
}

pin_project! {
    /// One stream. When it ends before hyper's part of it has, that part is dropped, which resets the stream.
    struct Stream<F> {
        #[pin]
        stream: TaskLocalFuture<Arc<Turn>, F>,
        turn: Arc<Turn>,
        // The turn that the sleep was begun for, and when the socket had last taken nothing at that time.
        watched: u32,
        blocked: Tick,
        // Made when the client first has something to take and does not at once.
        sleep: Option<Pin<Box<Sleep>>>,
        streams: Streams,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let turn = this.turn.count();
        if turn & 1 == 0 {
            return Poll::Pending;
        }
        let Streams { pulse, patience } = this.streams;
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(*patience)));
        loop {
            // While the socket itself takes nothing, this stream may only be waiting for others of a slow client. The
            // sweeper watches the socket.
            if turn != *this.watched || pulse.last_blocked() != *this.blocked {
                (*this.watched, *this.blocked) = (turn, pulse.last_blocked());
                sleep.as_mut().reset(Instant::now() + *patience);
            }
            ready!(sleep.as_mut().poll(cx));
            if pulse.last_blocked() == *this.blocked {
                tracing::debug!("a stream is reset, since its client takes nothing of it");
                return Poll::Ready(());
            }
        }
    }
}
