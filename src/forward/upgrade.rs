//! A WebSocket's way through: once both sides have changed protocols, bytes are copied and nothing is read into them
//! (RFC 6455). Until the upstream has said 101 there is no tunnel, only a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::farewell::Farewell;
use crate::session::Ending;

/// After the word to drain, what the two ends still have to say to each other: our close frame, the client's answer and
/// the site's to that take a round trip each.
const FAREWELL: Duration = Duration::from_secs(1);

/// Per direction. WebSocket messages are mostly small, and a tunnel idles for most of its life.
const BUFFER: usize = 8 * 1024;

/// The one protocol that is tunnelled.
pub(super) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Whether a 101 changes to what was asked for.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Copies both ways until either side breaks, both have closed, neither has said anything for `idle`, the session has
/// come to its `ending`, or some moments after `drain`, with which the client is told that we go away.
pub(super) async fn tunnel(
    client: OnUpgrade,
    upstream: OnUpgrade,
    idle: Duration,
    drain: CancellationToken,
    ending: Option<Ending>,
) {
    // Both come at once: hyper has the upstream's already, and the client's as soon as its 101 is written.
    let Ok((client, upstream)) = futures_util::future::try_join(client, upstream).await else { return };
    let heard = Arc::new(Heard { start: Instant::now(), last: AtomicU64::new(0) });
    let mut client = Ear { io: TokioIo::new(client), heard: Arc::clone(&heard) };
    let upstream = Ear { io: TokioIo::new(upstream), heard: Arc::clone(&heard) };
    let mut upstream = Farewell::new(upstream, drain.clone());
    {
        let mut copying = std::pin::pin!(copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER));
        tokio::select! {
            _ = &mut copying => return,
            () = heard.nothing_for(idle) => {}
            () = the_end(ending) => {}
            () = drain.cancelled() => if timeout(FAREWELL, copying).await.is_ok() { return },
        }
    }
    // TLS wants its goodbye, or the end looks like an attack; whoever takes none of it is not waited for.
    let _ = timeout(FAREWELL, async { tokio::join!(client.shutdown(), upstream.shutdown()) }).await;
}

/// Never, where no session was required.
async fn the_end(ending: Option<Ending>) {
    match ending {
        Some(ending) => ending.come().await,
        None => std::future::pending().await,
    }
}

/// When anything was last said, by either side, in milliseconds since `start`.
struct Heard {
    start: Instant,
    last: AtomicU64,
}

impl Heard {
    fn something(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    async fn nothing_for(&self, limit: Duration) {
        loop {
            let over = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            let left = over.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

/// One side of the tunnel, and the note that it said something.
struct Ear<T> {
    io: T,
    heard: Arc<Heard>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Ear<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.heard.something();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Ear<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
