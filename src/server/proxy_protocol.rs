//! The PROXY protocol, versions 1 and 2: before the first byte of its client's, a load balancer in front says whose
//! connection it brings.
//!
//! Only the proxies of `trust.proxies` are heeded, which [`super::admission`] sees to: anybody can write such a header.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;

use super::admission::Refused;
use super::socket::Socket;
use crate::context::Connection;

/// What a header of version 1 begins with (the protocol's section 2.1).
const VERSION_1: &[u8] = b"PROXY ";

/// The longest header of version 1, with its end of line (section 2.1).
const LONGEST_1: usize = 107;

/// What a header of version 2 begins with (section 2.2).
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and the command that it has for a connection of the proxy's own, such as a health check.
const LOCAL: u8 = 0x20;

/// The longest header of version 2 that is read. The addresses take 216 bytes at most; what may stand behind them is
/// skipped, of which a client's certificate (`PP2_SUBTYPE_SSL_CLIENT_CERT`) is the largest. The protocol lets it have 64
/// KiB, which nobody sends.
const LONGEST_2: usize = 4096;

/// Whether a listener heeds the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A header is a mistake, as any other bytes that are neither TLS nor HTTP.
    #[default]
    Off,
    /// A trusted proxy may send one.
    Accept,
    /// A trusted proxy has to send one, and nobody else is served.
    Require,
}

/// What the first bytes of a connection announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// They may be a header's, of which more is to come.
    More,
    /// They are no header's.
    No,
    /// The proxy speaks for itself, or cannot say for whom (`LOCAL`, `UNKNOWN`, a Unix socket): the connection is its
    /// own.
    Itself {
        /// Bytes of the header.
        length: usize,
    },
    /// The proxy brings a client.
    Client {
        /// Who it is.
        peer: SocketAddr,
        /// Where the client had connected to.
        local: SocketAddr,
        /// Bytes of the header.
        length: usize,
    },
}

/// Bytes that begin as a header does, and are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnnouncement {
    /// It does not keep to the protocol.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// It is longer than any that is sent.
    #[error("the PROXY header is too long")]
    TooLong,
}

impl Announcement {
    /// Reads the first bytes of a connection.
    ///
    /// # Errors
    ///
    /// When they begin as a header does, and cannot become one.
    pub fn read(bytes: &[u8]) -> Result<Self, BadAnnouncement> {
        match (begins(bytes, VERSION_1), begins(bytes, VERSION_2)) {
            (None, _) | (_, None) => Ok(Self::More),
            (Some(true), _) => Self::read_version_1(bytes),
            (_, Some(true)) => Self::read_version_2(bytes),
            _ => Ok(Self::No),
        }
    }

    fn read_version_1(bytes: &[u8]) -> Result<Self, BadAnnouncement> {
        match parse(bytes) {
            Ok((_, length)) if length > LONGEST_1 => Err(BadAnnouncement::TooLong),
            Err(proxy_header::Error::BufferTooShort) if bytes.len() < LONGEST_1 => Ok(Self::More),
            parsed => parsed.map_or(Err(BadAnnouncement::Malformed), Self::of),
        }
    }

    /// A header of version 2 says how long it is, so that it can be refused, or is whole, before anybody looks into it.
    fn read_version_2(bytes: &[u8]) -> Result<Self, BadAnnouncement> {
        let Some(fixed) = bytes.get(..16) else { return Ok(Self::More) };
        let length = 16 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if length > LONGEST_2 {
            return Err(BadAnnouncement::TooLong);
        }
        let Some(whole) = bytes.get(..length) else { return Ok(Self::More) };
        if fixed[12] == LOCAL {
            // Section 2.2: whatever else it says is to be ignored, the family included.
            return Ok(Self::Itself { length });
        }
        parse(whole).map_or(Err(BadAnnouncement::Malformed), Self::of)
    }

    fn of((header, length): (ProxyHeader<'_>, usize)) -> Result<Self, BadAnnouncement> {
        match header.proxied_address() {
            None => Ok(Self::Itself { length }),
            Some(address) if address.protocol == Protocol::Stream => {
                Ok(Self::Client { peer: address.source, local: address.destination, length })
            }
            // Datagrams do not come over TCP.
            Some(_) => Err(BadAnnouncement::Malformed),
        }
    }
}

/// Why a connection cannot be introduced.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the connection ends before its header")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Bad(#[from] BadAnnouncement),
    #[error("there is no PROXY header, which is required")]
    Missing,
    #[error("the client may not connect")]
    Refused(#[from] Refused),
}

/// Reads what a trusted proxy announces on `socket`, and makes the connection its client's: from here on the proxy is
/// not heard of again, and limits count for the client.
pub(super) async fn introduce(
    socket: &mut Socket,
    connection: Connection,
    heeded: ProxyProtocol,
) -> Result<Connection, Error> {
    // Room for the headers that are sent: the protocol asks every receiver to be ready for 536 bytes.
    let mut bytes = BytesMut::with_capacity(536);
    let announcement = loop {
        match Announcement::read(&bytes)? {
            Announcement::More if socket.read_buf(&mut bytes).await? == 0 => {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            Announcement::More => {}
            other => break other,
        }
    };
    let (introduced, length) = match announcement {
        Announcement::Client { peer, local, length } => {
            let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            socket.permit().count_for(peer.ip())?;
            (Connection { peer: canonical(peer), local: canonical(local), ..connection }, length)
        }
        Announcement::Itself { length } => (connection, length),
        Announcement::No | Announcement::More if heeded == ProxyProtocol::Require => return Err(Error::Missing),
        Announcement::No | Announcement::More => (connection, 0),
    };
    socket.rewind(bytes.split_off(length));
    Ok(introduced)
}

/// Whether `bytes` begin with `signature`; `None` while they may.
fn begins(bytes: &[u8], signature: &[u8]) -> Option<bool> {
    let common = bytes.len().min(signature.len());
    if bytes[..common] == signature[..common] { (common == signature.len()).then_some(true) } else { Some(false) }
}

fn parse(bytes: &[u8]) -> Result<(ProxyHeader<'_>, usize), proxy_header::Error> {
    ProxyHeader::parse(bytes, ParseConfig { include_tlvs: false, ..ParseConfig::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [VERSION_2, &[command, family], &length, payload].concat()
    }

    fn client(peer: &str, local: &str, length: usize) -> Result<Announcement, BadAnnouncement> {
        Ok(Announcement::Client { peer: peer.parse().unwrap(), local: local.parse().unwrap(), length })
    }

    #[test]
    fn every_row_of_version_1() {
        use Announcement::{Itself, No};
        use BadAnnouncement::{Malformed, TooLong};
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        #[rustfmt::skip]
        let table: &[(&str, Result<Announcement, BadAnnouncement>)] = &[
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",  client("192.0.2.1:56324", "198.51.100.1:443", 45)),
            ("PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",         client("[2001:db8::1]:56324", "[::1]:443", 38)),
            ("PROXY UNKNOWN\r\n",                                Ok(Itself { length: 15 })),
            (longest,                                            Ok(Itself { length: longest.len() })),
            (&long,                                              Err(TooLong)),
            ("PROXY TCP4 192.0.2.256 198.51.100.1 56324 443\r\n", Err(Malformed)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",    Ok(Announcement::More)),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 99999\r\n", Err(Malformed)),
            ("PROXY TCP4 2001:db8::1 ::1 56324 443\r\n",         Err(Malformed)),
            ("PROXY TCP5 192.0.2.1 198.51.100.1 56324 443\r\n",  Err(Malformed)),
            ("PROXY  TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Err(Malformed)),
            ("proxy TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",  Ok(No)),
            ("PROXYxUNKNOWN\r\n",                                Ok(No)),
            ("POST / HTTP/1.1\r\n",                              Ok(No)),
            ("PRI * HTTP/2.0\r\n",                               Ok(No)),
        ];
        for (text, expected) in table {
            assert_eq!(Announcement::read(text.as_bytes()), *expected, "{text:?}");
        }
        let endless = format!("PROXY TCP4 {}", "1".repeat(96));
        assert_eq!(Announcement::read(endless.as_bytes()), Err(Malformed));
    }

    #[test]
    fn every_row_of_version_2() {
        use Announcement::{Itself, No};
        use BadAnnouncement::{Malformed, TooLong};
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let six = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
        let six = [&six[..], &[0xdc, 4, 1, 0xbb]].concat();
        let with_tlv = [&four[..], &[5, 0, 2, b'i', b'd']].concat();
        let with_noise = [&four[..], &[5, 255, 255, 0]].concat();
        #[rustfmt::skip]
        let table: &[(Vec<u8>, Result<Announcement, BadAnnouncement>)] = &[
            (version_2(0x21, 0x11, &four),       client("192.0.2.1:56324", "198.51.100.1:443", 28)),
            (version_2(0x21, 0x21, &six),        client("[2001:db8::1]:56324", "[2001:db8::1]:443", 52)),
            (version_2(0x21, 0x11, &with_tlv),   client("192.0.2.1:56324", "198.51.100.1:443", 33)),
            (version_2(0x21, 0x11, &with_noise), client("192.0.2.1:56324", "198.51.100.1:443", 32)),
            (version_2(0x20, 0x00, &[]),         Ok(Itself { length: 16 })),
            (version_2(0x20, 0x11, &four),       Ok(Itself { length: 28 })),
            (version_2(0x20, 0x11, &[]),         Ok(Itself { length: 16 })),
            (version_2(0x21, 0x00, &[1, 2, 3]),  Ok(Itself { length: 19 })),
            (version_2(0x21, 0x31, &[0; 216]),   Ok(Itself { length: 232 })),
            (version_2(0x21, 0x12, &four),       Err(Malformed)),
            (version_2(0x21, 0x11, &four[..11]), Err(Malformed)),
            (version_2(0x21, 0x21, &four),       Err(Malformed)),
            (version_2(0x22, 0x11, &four),       Err(Malformed)),
            (version_2(0x11, 0x11, &four),       Err(Malformed)),
            (version_2(0x21, 0x41, &four),       Err(Malformed)),
            (version_2(0x21, 0x11, &[0; 4080]),  client("0.0.0.0:0", "0.0.0.0:0", 4096)),
            (version_2(0x21, 0x11, &[0; 4081]),  Err(TooLong)),
            (version_2(0x21, 0x11, &[0; 4081])[..16].to_vec(), Err(TooLong)),
            (b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec(), Ok(No)),
            (b"\x16\x03\x01".to_vec(),           Ok(No)),
        ];
        for (bytes, expected) in table {
            assert_eq!(Announcement::read(bytes), *expected, "{bytes:x?}");
        }
    }

    #[test]
    fn as_long_as_it_is_not_whole_there_is_more_to_come() {
        let texts: [Vec<u8>; 3] = [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            version_2(0x21, 0x11, &[0; 30]),
        ];
        for text in texts {
            for end in 0..text.len() {
                assert_eq!(Announcement::read(&text[..end]), Ok(Announcement::More), "{:?}", &text[..end]);
            }
            let followed = [&text[..], b"GET / HTTP/1.1"].concat();
            assert_eq!(Announcement::read(&followed), Announcement::read(&text), "what follows is not its own");
        }
    }

    proptest! {
        /// Neither panics, nor takes more than is there or may be, nor waits for ever.
        #[test]
        fn any_bytes_are_judged(
            start in prop::sample::select(vec![&b""[..], VERSION_1, b"PROXY TCP4 ", b"PROXY TCP6 ::1 ", VERSION_2]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            match Announcement::read(&bytes) {
                Ok(Announcement::Client { length, .. } | Announcement::Itself { length }) => {
                    prop_assert!(length <= bytes.len().min(LONGEST_2));
                }
                Ok(Announcement::More) => {
                    let room = if bytes.starts_with(VERSION_1) { LONGEST_1 } else { LONGEST_2 };
                    prop_assert!(bytes.len() < room);
                }
                Ok(Announcement::No) | Err(_) => {}
            }
        }
    }
}
