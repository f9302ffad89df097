//! Finds the heads of HTTP/2 frames in bytes that pass, wherever these are cut. It keeps none of them.

use bytes::{BufMut, BytesMut};

/// What each frame begins with (RFC 9113, section 4.1).
const HEAD: usize = 9;

/// The types of frames (RFC 9113, section 6), as far as they mean something here.
pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;

/// The flag of DATA and HEADERS with which a stream's side ends.
const END_STREAM: u8 = 0x1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn opens_a_stream(self) -> bool {
        self.kind == HEADERS
    }

    pub(super) fn ends_a_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub(super) fn put(self, buffer: &mut BytesMut) {
        buffer.put_uint(u64::from(self.length), 3);
        buffer.put_u8(self.kind);
        buffer.put_u8(self.flags);
        buffer.put_u32(self.stream);
    }

    fn read(bytes: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, streams @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            // The first bit is reserved, and means nothing.
            stream: u32::from_be_bytes(streams) & (u32::MAX >> 1),
        }
    }
}

/// Where in the frames we are.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// What is left of the payload.
    payload: usize,
    /// As much of the next head as has passed.
    head: [u8; HEAD],
    known: usize,
}

impl Walk {
    /// A client says its preface before its first frame.
    pub(super) fn behind_preface() -> Self {
        Self { payload: crate::server::connection::PREFACE.len(), ..Self::default() }
    }

    /// Shows `each` the frames whose heads end in `bytes`.
    pub(super) fn through(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) {
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let more = bytes.len().min(HEAD - self.known);
            self.head[self.known..self.known + more].copy_from_slice(&bytes[..more]);
            self.known += more;
            bytes = &bytes[more..];
            if self.known == HEAD {
                let head = Head::read(self.head);
                self.known = 0;
                self.payload = head.length as usize;
                each(head);
            }
        }
    }

    pub(super) fn is_between_frames(&self) -> bool {
        self.payload == 0 && self.known == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_frame_is_seen_once_however_the_bytes_are_cut(
            frames in prop::collection::vec((0_u32..300, any::<u8>(), any::<u8>(), 0_u32..1 << 31), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..20),
        ) {
            let heads: Vec<Head> =
                frames.into_iter().map(|(length, kind, flags, stream)| Head { length, kind, flags, stream }).collect();
            let mut bytes = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
            for head in &heads {
                head.put(&mut bytes);
                bytes.put_bytes(0xff, head.length as usize);
            }
            let (mut walk, mut seen, mut rest) = (Walk::behind_preface(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                walk.through(now, |head| seen.push(head));
                rest = later;
                if rest.is_empty() {
                    break;
                }
                prop_assert!(seen.len() < heads.len() || !walk.is_between_frames());
            }
            prop_assert_eq!(seen, heads);
            prop_assert!(walk.is_between_frames());
        }
    }

    #[test]
    fn a_reserved_bit_is_no_part_of_a_streams_number() {
        let mut seen = Vec::new();
        Walk::default().through(&[0, 0, 0, HEADERS, END_STREAM, 0x80, 0, 0, 7], |head| seen.push(head));
        assert_eq!(seen, [Head { length: 0, kind: HEADERS, flags: END_STREAM, stream: 7 }]);
        assert!(seen[0].opens_a_stream() && seen[0].ends_a_stream());
    }
}
