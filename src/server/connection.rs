//! One connection: the handshake, which HTTP it speaks, and HTTP until its end.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::Limits;
use super::admission::{Admission, Permit};
use super::exchange::Exchanges;
use super::frames::{self, Floods, Framed, Half};
use super::guard::Guard;
use super::handler::Handler;
use super::proxy_protocol::{self, ProxyProtocol};
use super::pulse::{Order, Phase, Pulse};
use super::socket::Socket;
use super::streams::Streams;
use crate::body::Bounds;
use crate::context::Connection;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// hyper's buffers on HTTP/1, each way: four TLS records, past which reading more at once gains nothing. hyper's own
/// 400 KiB would let 10,000 slow readers hold 4 GiB.
const HTTP1_BUFFER: usize = 64 * 1024;

/// What hyper takes without asking where it keeps the fields: on the stack, while any number that is set costs an
/// allocation for each request.
const HTTP1_HEADERS: usize = 100;

/// What a client may send on one stream before the upstream has taken any: 5 MiB/s at a round trip of 50 ms.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for a whole connection: four uploads at full speed. More than this is never buffered of one connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What a stream may have waiting for its client: as much as HTTP/1 has. hyper's own is 400 KiB, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that we reset for a client's mistakes before the connection ends: a well-behaved client makes none, and
/// hyper's own 1,024 are many for one that does it on purpose (CVE-2025-8671).
const LOCAL_RESETS: usize = 64;

/// Streams that a client has reset before we have looked at them (CVE-2023-44487): h2's own number, said here so
/// that it stays.
const PENDING_RESETS: usize = 20;

/// What all connections of a listener are served by.
#[derive(Debug)]
pub(super) struct Protocols {
    tls: Option<Arc<ServerConfig>>,
    http1: http1::Builder,
    limits: Limits,
    /// Who was sent away for a flood.
    pub(super) floods: Floods,
    admission: Arc<Admission>,
}

impl Protocols {
    pub(super) fn new(tls: Option<Arc<ServerConfig>>, limits: &Limits, admission: Arc<Admission>) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .half_close(false)
            .max_header_size(limits.header_size)
            // A head that is allowed must fit in.
            .max_buf_size(limits.header_size.max(HTTP1_BUFFER));
        if limits.headers != HTTP1_HEADERS {
            http1.max_headers(limits.headers);
        }
        Self { tls, http1, limits: limits.clone(), floods: Floods::default(), admission }
    }

    /// What a connection begins with. A PROXY header counts as a part of the handshake.
    pub(super) fn first_phase(&self, permit: &Permit) -> Phase {
        let has_handshake = self.tls.is_some() || permit.heeds() != ProxyProtocol::Off;
        if has_handshake { Phase::Handshake } else { Phase::Fresh }
    }

    fn speak<I, S: Handler>(&self, version: Version, io: I, mut exchanges: Exchanges<S>) -> Spoken<I, S>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match version {
            Version::One => {
                let guard = Guard::new(io, &self.limits);
                exchanges.guard = Some(guard.word());
                let io = TokioIo::new(guard);
                Spoken::One(Box::pin(self.http1.serve_connection(io, exchanges).with_upgrades()))
            }
            Version::Two => {
                let pulse = Arc::clone(&exchanges.pulse);
                let http2 = self.http2(&pulse);
                let serve = |half| http2.serve_connection(TokioIo::new(half), exchanges);
                Spoken::Two(Box::pin(Framed::new(io, &pulse, serve)))
            }
        }
    }

    fn http2(&self, pulse: &Arc<Pulse>) -> http2::Builder<Streams> {
        pulse.speaks_http2();
        let streams = Streams { pulse: Arc::clone(pulse), patience: self.limits.body_timeout };
        let mut http2 = http2::Builder::new(streams);
        http2
            .max_header_list_size(u32::try_from(self.limits.header_size).unwrap_or(u32::MAX))
            .max_concurrent_streams(self.limits.h2_streams)
            .max_send_buf_size(SEND_BUFFER)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_local_error_reset_streams(LOCAL_RESETS)
            .max_pending_accept_reset_streams(PENDING_RESETS);
        http2
    }
}

/// Which HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// HTTP being spoken. In boxes, since in the connection's task each would take its room twice, and that of the other.
enum Spoken<I, S: Handler> {
    One(Pin<Box<Http1<I, S>>>),
    Two(Pin<Box<Http2<I, S>>>),
}

type Http1<I, S> = http1::UpgradeableConnection<TokioIo<Guard<I>>, Exchanges<S>>;
type Http2<I, S> = Framed<http2::Connection<TokioIo<Half<I>>, Exchanges<S>, Streams>, I>;

/// Serves a connection until it ends, is upgraded, or is told to end.
pub(super) async fn serve<S: Handler>(socket: Socket, connection: Connection, protocols: Arc<Protocols>, service: S) {
    let pulse = Arc::clone(socket.pulse());
    match introduce(socket, connection, &pulse, &protocols, service).await {
        // If the socket still stands, it is a tunnel now.
        Ok(()) => pulse.enter(Phase::Upgraded),
        Err(Error::Frames(frames::Error::Flood(flood))) => protocols.floods.note(connection.peer.ip(), flood),
        // Every scanner and every client that goes away makes one of these.
        Err(error) => {
            tracing::debug!(peer = %connection.peer, error = &error as &dyn std::error::Error, "a connection ended badly")
        }
    }
}

/// Why a connection did not end as HTTP ends one.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the proxy in front does not say properly whom it brings")]
    Announcement(#[source] proxy_protocol::Error),
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the first bytes cannot be read")]
    Preface(#[source] io::Error),
    #[error("HTTP failed")]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Frames(#[from] frames::Error),
    #[error("it took too long, or we are stopping")]
    Overdue,
}

/// Finds out whose connection it is, and goes on with what is spoken on it.
async fn introduce<S: Handler>(
    mut socket: Socket,
    connection: Connection,
    pulse: &Arc<Pulse>,
    protocols: &Protocols,
    service: S,
) -> Result<(), Error> {
    let connection = match socket.permit().heeds() {
        ProxyProtocol::Off => connection,
        heeded => {
            let introduced = Box::pin(proxy_protocol::introduce(&mut socket, connection, heeded));
            let introduced = unless(pulse, Order::Close, introduced).await?.map_err(Error::Announcement)?;
            if protocols.tls.is_none() {
                pulse.enter(Phase::Fresh);
                if socket.has_rewound() {
                    pulse.heard();
                }
            }
            introduced
        }
    };
    let Limits { body_size, body_timeout, headers, .. } = protocols.limits;
    let exchanges = Exchanges {
        service,
        connection,
        pulse: Arc::clone(pulse),
        bounds: Bounds { size: body_size, idle: body_timeout },
        max_headers: headers,
        guard: None,
    };
    match &protocols.tls {
        Some(tls) => secure(socket, tls, pulse, protocols, exchanges).await,
        None => plain(socket, pulse, protocols, exchanges).await,
    }
}

async fn secure<S: Handler>(
    socket: Socket,
    tls: &Arc<ServerConfig>,
    pulse: &Pulse,
    protocols: &Protocols,
    exchanges: Exchanges<S>,
) -> Result<(), Error> {
    let handshake = Box::pin(TlsAcceptor::from(Arc::clone(tls)).accept(socket));
    let shaken = unless(pulse, Order::Close, handshake).await;
    protocols.admission.handshakes.count(shaken.as_ref().ok().and_then(|shaken| shaken.as_ref().ok()));
    let spoken = shaken?.map(|io| {
        pulse.enter(Phase::Fresh);
        let version = if io.get_ref().1.alpn_protocol() == Some(b"h2") { Version::Two } else { Version::One };
        protocols.speak(version, io, exchanges)
    });
    spoken.map_err(Error::Handshake)?.drive(pulse).await
}

async fn plain<S: Handler>(
    socket: Socket,
    pulse: &Pulse,
    protocols: &Protocols,
    exchanges: Exchanges<S>,
) -> Result<(), Error> {
    let spoken = unless(pulse, Order::Leave, preface(socket)).await?;
    let spoken = spoken.map(|(version, socket)| protocols.speak(version, socket, exchanges));
    spoken.map_err(Error::Preface)?.drive(pulse).await
}

/// Reads as far as the first byte that is not the preface's, and puts it all back.
async fn preface(mut socket: Socket) -> io::Result<(Version, Socket)> {
    let mut bytes = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < bytes.len() && bytes[..filled] == PREFACE[..filled] {
        match socket.read(&mut bytes[filled..]).await? {
            0 => break,
            read => filled += read,
        }
    }
    socket.rewind(BytesMut::from(&bytes[..filled]));
    let version = if bytes == *PREFACE { Version::Two } else { Version::One };
    Ok((version, socket))
}

impl<I, S: Handler> Spoken<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    async fn drive(self, pulse: &Pulse) -> Result<(), Error> {
        match self {
            Self::One(connection) => drive(pulse, connection, http1::UpgradeableConnection::graceful_shutdown).await,
            Self::Two(framed) => drive(pulse, framed, |it| it.leave(http2::Connection::graceful_shutdown)).await,
        }
    }
}

/// Polls a connection to its end, says goodbye when it is time, and stops where it stands when it is told to close.
async fn drive<C, E>(pulse: &Pulse, mut connection: Pin<Box<C>>, leave: fn(Pin<&mut C>)) -> Result<(), Error>
where
    C: Future<Output = Result<(), E>>,
    Error: From<E>,
{
    let mut left = false;
    let connection = std::future::poll_fn(move |cx: &mut Context<'_>| {
        loop {
            if !left && pulse.should_leave() {
                left = true;
                leave(connection.as_mut());
            }
            let ended = connection.as_mut().poll(cx);
            // A connection that drains may only now have read the request after which it is to leave.
            if ended.is_ready() || left || !pulse.should_leave() {
                return ended;
            }
        }
    });
    Ok(unless(pulse, Order::Close, connection).await??)
}

/// Waits for `future`, unless the connection is told `order` or more.
async fn unless<F: Future>(pulse: &Pulse, order: Order, future: F) -> Result<F::Output, Error> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if pulse.attend(cx) >= order {
            return Poll::Ready(Err(Error::Overdue));
        }
        Poll::Ready(Ok(ready!(future.as_mut().poll(cx))))
    })
    .await
}
