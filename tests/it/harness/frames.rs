//! An HTTP/2 client that writes its frames by hand, since no library would send what it sends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::raw;

/// Types of frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Codes of errors (section 7).
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// Nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A GET's head, compressed by nothing but HPACK's static table (RFC 7541, appendix A), with more fields behind it.
pub(crate) fn get(stream: u32, path: &str, more: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(0x82, path, more))
}

/// A POST's, whose body is to come.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(0x83, path, &[]))
}

pub(crate) fn fields(method: u8, path: &str, more: &[u8]) -> Vec<u8> {
    let mut block = vec![method, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    block.extend(more);
    block
}

/// A field as it stands, never indexed (section 6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for part in [name, value] {
        // Longer lengths take more than a byte.
        assert!(part.len() < 127);
        block.push(u8::try_from(part.len()).unwrap());
        block.extend(part.as_bytes());
    }
    block
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of an error in RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The two sides of a connection, which a flood uses at the same time.
#[derive(Debug)]
pub(crate) struct Reader(ReadHalf<TlsStream<TcpStream>>);
#[derive(Debug)]
pub(crate) struct Writer(WriteHalf<TlsStream<TcpStream>>);

/// A connection on which the preface has been said, and SETTINGS with what is given.
pub(crate) async fn connect(address: SocketAddr, settings: &[u8]) -> (Reader, Writer) {
    let (reader, writer) = tokio::io::split(raw::connect(address, &["h2"]).await);
    let mut writer = Writer(writer);
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, settings)].concat();
    assert!(writer.send(&preface).await);
    (Reader(reader), writer)
}

impl Writer {
    /// Whether it could be sent. It never waits for ever for a server that takes nothing more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = async { self.0.write_all(bytes).await.is_ok() && self.0.flush().await.is_ok() };
        timeout(PATIENCE, sent).await.unwrap_or(false)
    }
}

impl Reader {
    /// The next frame, unless this is the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.read()).await.expect("something comes")
    }

    /// The first frame that is wanted.
    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection goes on");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// What GOAWAY said, if it came before the end.
    pub(crate) async fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }
}
