//! Where each HTTP/1 request of a connection begins and ends: the same however the bytes come, and nothing is passed on
//! that was not understood.
//!
//! The input is what a client sends; its first byte says where it is cut in two. A line end is sent behind it: a line that
//! cannot become legal any more is refused at once or when it ends, as its bytes happen to come.

#![no_main]

use guestpass::server::{Bounds, Reader, Stop};
use libfuzzer_sys::fuzz_target;

const BOUNDS: Bounds = Bounds { head: 8 * 1024, fields: 100 };

fuzz_target!(|input: &[u8]| {
    let Some((cut, sent)) = input.split_first() else { return };
    let sent = &[sent, b"\n"].concat();
    let cut = sent.len() * usize::from(*cut) / 256;
    let whole = read(&[sent]);
    let (passed, stop) = &whole;
    assert!(*passed <= sent.len());
    assert!(*stop != Stop::More || sent.len() - passed <= BOUNDS.head, "a head that is too long is not waited for");
    assert_eq!(read(&[&sent[..cut], &sent[cut..]]), whole, "cut after {cut} bytes");
    // A byte at a time is the longest way round.
    if sent.len() <= 512 {
        let bytes: Vec<_> = sent.chunks(1).collect();
        assert_eq!(read(&bytes), whole, "byte by byte");
    }
});

/// How much of what comes in these pieces is passed on, and why no more is.
fn read(pieces: &[&[u8]]) -> (usize, Stop) {
    let mut reader = Reader::new(BOUNDS);
    let (mut held, mut passed) = (Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let (length, stop) = reader.read(&held);
        held.drain(..length);
        passed += length;
        if stop != Stop::More {
            return (passed, stop);
        }
    }
    (passed, Stop::More)
}
