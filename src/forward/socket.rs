//! A stream to an upstream that goes on listening when it can no longer speak.
//!
//! An upstream may answer before it has read the whole request and then close. Our next write then fails while the
//! answer lies in our receive buffer, unread, and hyper gives the exchange up at the first failed write. So a failed
//! write is no error here: writing comes to a halt, and reading tells the rest, be it the answer or the end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Socket<T> {
    io: T,
    heard: Heard,
    speechless: bool,
}

/// Whether the upstream has said anything since it was last asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    pub(super) fn anything(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn nothing_yet(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl<T> Socket<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, heard: Heard::default(), speechless: false }
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// No waker is kept for a write that came to a halt: a connection that cannot be written to is broken or closed, and
    /// whoever waits for it learns so by reading.
    fn halted<R>(&mut self, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match written {
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "the upstream takes no more");
                self.speechless = true;
                Poll::Pending
            }
            written => written,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.speechless {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.halted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.speechless {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.halted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.speechless {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.halted(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.speechless {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
