//! The accepted socket, as everything above it sees it: it tells the connection's pulse what moves, and ends properly.
//!
//! It stands below TLS, so that what counts as progress is what the client's side of the wire gives and takes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::admission::Permit;
use super::pulse::{Order, Phase, Pulse};

/// What a client may still send after our end, to be thrown away: a moment's worth of an upload at 1 Gbit/s is less.
const LINGER: usize = 1024 * 1024;

/// A TCP connection with all that lives as long as it does, tunnels included.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    pulse: Arc<Pulse>,
    /// Read already, to find out which protocol it is.
    replay: Bytes,
    end: End,
    permit: Permit,
    _tracked: TaskTrackerToken,
}

/// How far the connection's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    /// The client has closed its side.
    Theirs,
    /// We have closed ours, and have thrown away so many bytes since.
    Ours(usize),
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, pulse: Arc<Pulse>, permit: Permit, tracked: TaskTrackerToken) -> Self {
        Self { tcp, pulse, replay: Bytes::new(), end: End::No, permit, _tracked: tracked }
    }

    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// The place that it takes among all connections.
    pub(super) fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// Has `bytes` read again, before anything else that was rewound and is not read yet.
    pub(super) fn rewind(&mut self, bytes: Bytes) {
        self.replay = if self.replay.is_empty() { bytes } else { [bytes, self.replay.split_off(0)].concat().into() };
    }

    /// Whether something that was rewound is still to be read.
    pub(super) fn has_rewound(&self) -> bool {
        self.replay.has_remaining()
    }

    /// A connection that was upgraded has no task of ours any more, so its own hears here that it is to end.
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let ends = self.pulse.phase() == Phase::Upgraded && self.pulse.attend(cx) == Order::Close;
        if ends { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Notes whether the client took something.
    fn taken<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(_)) => self.pulse.wrote(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pulse.blocked(),
        }
        written
    }

    /// A socket that is closed while bytes lie unread in it, or still come, sends a reset, which may overtake our last
    /// response; so what comes is read and dropped until the client closes too (RFC 9112, section 9.6). The sweeper
    /// bounds how long.
    fn poll_linger(&mut self, cx: &mut Context<'_>, mut dropped: usize) -> Poll<io::Result<()>> {
        let mut waste = [0; 8192];
        while dropped < LINGER {
            let mut waste = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut waste)) {
                Ok(()) if !waste.filled().is_empty() => dropped += waste.filled().len(),
                // Whether it ended well or not, it ended.
                Ok(()) | Err(_) => break,
            }
            self.end = End::Ours(dropped);
        }
        self.end = End::Ours(LINGER);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        if this.replay.has_remaining() {
            let bytes = this.replay.split_to(this.replay.len().min(buf.remaining()));
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.pulse.heard();
        } else if this.end == End::No && buf.remaining() > 0 {
            this.end = End::Theirs;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let written = Pin::new(&mut this.tcp).poll_write(cx, bytes);
        this.taken(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, slices);
        this.taken(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let End::Ours(dropped) = this.end {
            return this.poll_linger(cx, dropped);
        }
        ready!(Pin::new(&mut this.tcp).poll_shutdown(cx))?;
        // A client that has ended says nothing more, and a tunnel's goes on talking after our end.
        if this.end == End::Theirs || this.pulse.phase() == Phase::Upgraded {
            return Poll::Ready(Ok(()));
        }
        this.end = End::Ours(0);
        this.pulse.enter(Phase::Closing);
        this.poll_linger(cx, 0)
    }
}
