//! The accepted socket, as everything above it sees it: it tells the connection's pulse what moves, and ends properly.
//!
//! It stands below TLS, so that what counts as progress is what the client's side of the wire gives and takes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::admission::Permit;
use super::pulse::{Order, Phase, Pulse};

/// What a client may still send after our end, to be thrown away: a moment's worth of an upload at 1 Gbit/s is less.
const LINGER: usize = 1024 * 1024;

/// How much is read at once of a client that sends much: rustls asks for 4 KiB at a time, which would make 256 system calls
/// of an upload of 1 MiB. Four TLS records, past which reading more at once gains nothing.
const AHEAD: usize = 64 * 1024;

/// A TCP connection with all that lives as long as it does, tunnels included.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    pulse: Arc<Pulse>,
    /// Read already: to find out which protocol it is, or ahead of whoever reads. Empty, it keeps no room.
    replay: BytesMut,
    /// Whether the client sends more than is asked for.
    gushes: bool,
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
        Self { tcp, pulse, replay: BytesMut::new(), gushes: false, end: End::No, permit, _tracked: tracked }
    }

    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// The place that it takes among all connections.
    pub(super) fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// Has `bytes` read again, before anything else that was rewound and is not read yet.
    pub(super) fn rewind(&mut self, mut bytes: BytesMut) {
        bytes.unsplit(std::mem::take(&mut self.replay));
        self.replay = bytes;
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

    /// Reads more than there is room for in `buf`, and says how much.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        // While nothing comes, there is no need for room.
        ready!(self.tcp.poll_read_ready(cx))?;
        self.replay.reserve(AHEAD);
        let read = poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.replay);
        self.give(buf);
        read
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.replay.len().min(buf.remaining());
        buf.put_slice(&self.replay[..length]);
        self.replay.advance(length);
        if self.replay.is_empty() {
            self.replay = BytesMut::new();
        }
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
            this.give(buf);
            return Poll::Ready(Ok(()));
        }
        let asked = buf.remaining();
        let read = if this.gushes && asked < AHEAD {
            ready!(this.poll_ahead(cx, buf))?
        } else {
            ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
            asked - buf.remaining()
        };
        this.gushes = read >= asked;
        if read > 0 {
            this.pulse.heard();
        } else if this.end == End::No && asked > 0 {
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::context::Trust;
    use crate::server::admission::Admission;
    use crate::server::{Limits, ProxyProtocol};

    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, peer) = listener.accept().await.unwrap();
        let permit = Admission::new(&Limits::default(), Trust::default()).admit(peer.ip(), ProxyProtocol::Off).unwrap();
        let pulse = Arc::new(Pulse::new(Arc::default(), Phase::Fresh));
        (client, Socket::new(tcp, pulse, permit, TaskTracker::new().token()))
    }

    #[tokio::test]
    async fn what_is_read_ahead_comes_whole_and_once_it_is_read_keeps_no_room() {
        let (mut client, mut socket) = pair().await;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client
        });
        socket.rewind(BytesMut::from(&b"before"[..]));
        let (mut read, mut ahead) = (Vec::new(), 0);
        while read.len() < b"before".len() + expected.len() {
            let mut room = [0; 4096];
            let length = socket.read(&mut room).await.unwrap();
            read.extend_from_slice(&room[..length]);
            ahead = ahead.max(socket.replay.len());
        }
        assert!(read.starts_with(b"before") && read[6..] == expected);
        assert!(ahead > 4096 && ahead < AHEAD, "{ahead}");
        assert_eq!(socket.replay.capacity(), 0);

        // Whoever says little is read no further than was asked, and the end is an end.
        let mut client = writing.await.unwrap();
        for _ in 0..2 {
            client.write_all(b"little").await.unwrap();
            let mut room = [0; 4096];
            assert_eq!(socket.read(&mut room).await.unwrap(), 6);
            assert_eq!((socket.gushes, socket.replay.capacity()), (false, 0));
        }
        drop(client);
        assert_eq!((socket.read(&mut [0; 8]).await.unwrap(), socket.end), (0, End::Theirs));
    }
}
