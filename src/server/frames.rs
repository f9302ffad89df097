//! What stands between hyper's HTTP/2 and the socket: it gathers what is written, and counts what a client sends that
//! asks for nothing.
//!
//! hyper flushes each DATA frame by itself, which makes a system call and a TLS record of each; here a flush is only a
//! note, and everything written in one turn of the connection's task leaves together at its end. h2 bounds some floods
//! of frames and not others (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, types that nobody knows, and resets of requests
//! that are under way already), so each frame's head is read on its way past, in place (`walk`), and paid for
//! (`allowance`). It changes nothing of what passes, and judges no frame by what it says: that is h2's.

mod allowance;
mod walk;

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::allowance::Allowances;
pub(super) use self::allowance::Flood;
use self::walk::{GOAWAY, Head, Walk};
use super::pulse::{Phase, Pulse};

/// How much may be gathered before hyper is asked to wait: as much as rustls encrypts at once. The frame with which it
/// is reached is still taken whole, so that no frame is cut.
const FULL: usize = 64 * 1024;

/// What there is room for at first: a turn's worth of small answers.
const ROOM: usize = 8 * 1024;

/// The code that tells a client to behave (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A connection of hyper's with what stands under it. It is a future as hyper's connection is one.
pub(super) struct Framed<C, I> {
    connection: Pin<Box<C>>,
    wire: Shared<I>,
    /// Set when the client is told to go, from when on hyper is out of it.
    flood: Option<Flood>,
}

/// Why a connection did not end as HTTP/2 ends one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("HTTP/2 failed")]
    Http(#[source] hyper::Error),
    #[error("what is written cannot be sent")]
    Write(#[source] io::Error),
    #[error("the client sent a flood: {0}")]
    Flood(Flood),
}

/// Connections of one core that ended for a flood, until somebody asks.
#[derive(Debug, Default)]
pub(super) struct Floods(Mutex<Flooded>);

/// How many, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flooded {
    pub(super) count: u64,
    pub(super) last: Option<(IpAddr, Flood)>,
}

impl Floods {
    pub(super) fn note(&self, peer: IpAddr, flood: Flood) {
        let mut flooded = lock(&self.0);
        flooded.count += 1;
        flooded.last = Some((peer, flood));
    }

    pub(super) fn take(&self) -> Flooded {
        std::mem::take(&mut lock(&self.0))
    }
}

/// What hyper reads and writes.
#[derive(Debug)]
pub(super) struct Half<I>(Shared<I>);

/// hyper takes its IO and gives no way back to it, so it is shared. Both sides are in one task: nobody ever waits.
type Shared<I> = Arc<Mutex<Wire<I>>>;

impl<C, I> Framed<C, I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    /// `serve` makes a connection of what it is to read and write.
    pub(super) fn new(io: I, pulse: &Arc<Pulse>, serve: impl FnOnce(Half<I>) -> C) -> Self {
        let wire = Arc::new(Mutex::new(Wire::new(io, Arc::clone(pulse))));
        Self { connection: Box::pin(serve(Half(Arc::clone(&wire)))), wire, flood: None }
    }

    /// Hands `leave` the connection, unless it is going anyway.
    pub(super) fn leave(mut self: Pin<&mut Self>, leave: fn(Pin<&mut C>)) {
        if self.flood.is_none() {
            leave(self.connection.as_mut());
        }
    }
}

impl<C, I> Future for Framed<C, I>
where
    C: Future<Output = Result<(), hyper::Error>>,
    I: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let flood = match this.flood {
            Some(flood) => flood,
            None => {
                let ended = this.connection.as_mut().poll(cx);
                let mut wire = lock(&this.wire);
                match (ended, wire.flood) {
                    (Poll::Pending, _) => return wire.end_turn(cx).map_err(Error::Write),
                    (Poll::Ready(ended), None) => return Poll::Ready(ended.map_err(of_hyper)),
                    (Poll::Ready(_), Some(flood)) => {
                        wire.dismiss();
                        *this.flood.insert(flood)
                    }
                }
            }
        };
        // Whether the client hears it or not, it has been told.
        let _ = ready!(lock(&this.wire).poll_shutdown(cx));
        Poll::Ready(Err(Error::Flood(flood)))
    }
}

/// h2 has found some floods by itself, and has said goodbye.
fn of_hyper(error: hyper::Error) -> Error {
    let h2 = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
    if h2.is_some_and(|h2| h2.is_library() && h2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)) {
        Error::Flood(Flood::Protocol)
    } else {
        Error::Http(error)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics in the midst of a change.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Wire<I> {
    io: I,
    pulse: Arc<Pulse>,
    incoming: Walk,
    outgoing: Walk,
    allowances: Allowances,
    /// The last stream that the client has opened, which GOAWAY names.
    last_stream: u32,
    flood: Option<Flood>,
    gathered: BytesMut,
    /// Whether `io` may hold something back.
    unflushed: bool,
    /// Whether hyper waits for room.
    awaited: bool,
}

impl<I> Wire<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    fn new(io: I, pulse: Arc<Pulse>) -> Self {
        Self {
            io,
            pulse,
            incoming: Walk::behind_preface(),
            outgoing: Walk::default(),
            allowances: Allowances::new(),
            last_stream: 0,
            flood: None,
            gathered: BytesMut::new(),
            unflushed: false,
            awaited: false,
        }
    }

    /// What the task's turn has gathered leaves. It is Pending unless that fails.
    fn end_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_drain(cx) {
            Poll::Ready(Ok(())) if std::mem::take(&mut self.awaited) => {
                // hyper goes on in a turn of its own, so that one big download does not keep others from theirs.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gathered.has_remaining() {
            let taken = ready!(Pin::new(&mut self.io).poll_write(cx, &self.gathered))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(taken);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        if !self.pulse.has_open() {
            // An idle connection keeps nothing that it does not need.
            self.gathered = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the client to go, if that can be told: in the midst of a frame it would be read as its rest. The frame is
    /// only left cut when the client has not taken what came before, so that it would not hear us in time anyway.
    fn dismiss(&mut self) {
        // The sweeper gives it from now on what it gives to everybody who is to close.
        self.pulse.enter(Phase::Closing);
        if self.outgoing.is_between_frames() {
            Head { length: 8, kind: GOAWAY, flags: 0, stream: 0 }.put(&mut self.gathered);
            self.gathered.put_u32(self.last_stream);
            self.gathered.put_u32(ENHANCE_YOUR_CALM);
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        let mut heard = self.allowances.requests_dropped(self.pulse.take_dropped());
        self.incoming.through(bytes, |head| {
            if head.opens_a_stream() {
                self.last_stream = self.last_stream.max(head.stream);
            }
            heard = heard.and_then(|()| self.allowances.received(head));
        });
        heard
    }

    /// Takes whole slices, if any.
    fn poll_gather(&mut self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= FULL {
            // Whoever polled hyper drains next, and that wakes the task.
            self.awaited = true;
            return Poll::Pending;
        }
        if self.gathered.capacity() == 0 {
            // Some answers with their heads; growing up to there step by step would copy each of them again.
            self.gathered.reserve(ROOM);
        }
        for slice in slices {
            self.outgoing.through(slice, |head| self.allowances.sent(head));
            self.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<I> AsyncRead for Half<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *lock(&self.0);
        let before = buf.filled().len();
        ready!(Pin::new(&mut wire.io).poll_read(cx, buf))?;
        if let Err(flood) = wire.hear(&buf.filled()[before..]) {
            // For hyper the connection has failed, and so have its streams.
            wire.flood = Some(flood);
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<I> AsyncWrite for Half<I>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_gather(&[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_gather(slices)
    }

    /// A DATA frame then comes with its head in one piece.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
