//! Clients: one that writes what it likes, and one that speaks HTTP/2 properly.

use std::net::Ipv4Addr;

use http_body_util::combinators::BoxBody;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;

/// Nothing in these tests takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection on which everything can be said.
pub(super) struct Raw {
    pub(super) address: SocketAddr,
    io: Box<dyn Io>,
    read: Vec<u8>,
}

impl Raw {
    /// With TLS if the house has it.
    pub(super) async fn connect(house: &House, protocols: &[&[u8]]) -> Self {
        let tcp = TcpStream::connect(house.address).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let io = if house.server.listener.tls {
            Box::new(secure(house, tcp, protocols).await)
        } else {
            Box::new(tcp) as Box<dyn Io>
        };
        Self { address, io, read: Vec::new() }
    }

    pub(super) async fn tcp(house: &House) -> Self {
        let tcp = TcpStream::connect(house.address).await.unwrap();
        Self { address: tcp.local_addr().unwrap(), io: Box::new(tcp), read: Vec::new() }
    }

    /// Goes on over TLS if the house has it.
    pub(super) async fn over_tls(&mut self, house: &House) {
        if house.server.listener.tls {
            let plain = std::mem::replace(&mut self.io, Box::new(tokio::io::empty()));
            self.io = Box::new(secure(house, plain, &[b"http/1.1"]).await);
        }
    }

    pub(super) async fn connect_from(house: &House, address: [u8; 4]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), 0)).unwrap();
        let tcp = socket.connect(house.address).await.unwrap();
        Self { address: tcp.local_addr().unwrap(), io: Box::new(tcp), read: Vec::new() }
    }

    pub(super) async fn refused(house: &House) -> bool {
        TcpStream::connect(house.address).await.is_err()
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub(super) async fn try_send(&mut self, text: &str) -> bool {
        self.io.write_all(text.as_bytes()).await.is_ok() && self.io.flush().await.is_ok()
    }

    /// Sends, and reads a response with a `Content-Length`.
    pub(super) async fn exchange(&mut self, request: &str) -> String {
        self.send(request).await;
        let head = self.until("\r\n\r\n").await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        while self.read.len() < length {
            assert!(self.more().await.unwrap(), "the body broke off");
        }
        let body: Vec<u8> = self.read.drain(..length).collect();
        head + std::str::from_utf8(&body).unwrap()
    }

    /// All up to and with `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end.as_bytes()) {
                return String::from_utf8(self.read.drain(..at + end.len()).collect()).unwrap();
            }
            assert!(self.more().await.unwrap(), "ended before {end:?}: {:?}", self.read);
        }
    }

    /// All until the other side ends properly.
    pub(super) async fn rest(&mut self) -> String {
        while self.more().await.unwrap() {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// All until the other side ends in whatever way.
    pub(super) async fn end_or_reset(&mut self) {
        while self.more().await.is_ok_and(|more| more) {}
    }

    async fn more(&mut self) -> io::Result<bool> {
        let read = tokio::time::timeout(PATIENCE, self.io.read_buf(&mut self.read)).await;
        Ok(read.expect("something comes")? > 0)
    }
}

async fn secure<T: Io>(house: &House, tcp: T, protocols: &[&[u8]]) -> impl Io + use<T> {
    let mut roots = RootCertStore::empty();
    roots.add(house.certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
}

type Body = BoxBody<Bytes, Infallible>;

/// HTTP/2, with windows of the smallest size that RFC 9113 begins with.
#[derive(Clone)]
pub(super) struct Http2(SendRequest<Body>);

pub(super) async fn http2(house: &House) -> (Http2, JoinHandle<Result<(), hyper::Error>>) {
    let io = Raw::connect(house, &[b"h2"]).await.io;
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .handshake(TokioIo::new(io))
        .await
        .unwrap();
    (Http2(sender), tokio::spawn(connection))
}

impl Http2 {
    pub(super) async fn get(&mut self, path: &str) -> Result<(StatusCode, String), hyper::Error> {
        self.send(Request::get(path).body(Empty::new().boxed()).unwrap()).await
    }

    pub(super) async fn head(&mut self, path: &str) -> Result<Response<Incoming>, hyper::Error> {
        self.0.ready().await?;
        self.0.send_request(Request::get(path).body(Empty::new().boxed()).unwrap()).await
    }

    /// The same without waiting for it.
    pub(super) fn start(&self, path: &str) -> impl Future<Output = Result<(StatusCode, String), hyper::Error>> + use<> {
        let (mut this, path) = (self.clone(), path.to_owned());
        let started = tokio::spawn(async move { this.get(&path).await });
        async move { started.await.unwrap() }
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<(StatusCode, String), hyper::Error> {
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        assert_eq!(response.version(), Version::HTTP_2);
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }
}

/// A body that has what is sent to it, and no end before the sender's.
pub(super) fn frames() -> (UnboundedSender<Bytes>, impl http_body::Body<Data = Bytes, Error = Infallible>) {
    let (sender, mut receiver) = unbounded_channel();
    let frames =
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|bytes| bytes.map(Frame::data).map(Ok)));
    (sender, StreamBody::new(frames))
}
