//! How much a client may send that asks for nothing, and how many requests it may drop: it begins with some, earns more
//! with each answer that we send it, and a little by time.
//!
//! What a frame costs us is about a microsecond, so none of the numbers has to be near what a browser does: they are
//! far above it, and far below what would be felt.

use std::fmt;

use tokio::time::Instant;

use super::walk::{CONTINUATION, DATA, GOAWAY, HEADERS, Head, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE};

/// Frames before the first answer: a browser that opens 128 streams at once sends a PRIORITY_UPDATE and a WINDOW_UPDATE
/// for each, and may reset all of them when its user goes on to another page.
const FRAMES: u32 = 1_000;

/// Frames a second: gRPC's clients ping an idle connection every ten seconds, and nobody more often than once a second.
const FRAMES_A_SECOND: u32 = 10;

/// What can be earned and kept: two WINDOW_UPDATE for each DATA frame of 128 MiB that are on their way to a client which
/// acknowledges each when it reads it, and may do so when the last has been sent.
const FRAMES_AT_MOST: u32 = 16_384;

/// Frames for each head of a response, since priorities and windows come with requests, and reset with what nobody
/// waits for any more.
const FRAMES_AN_ANSWER: u32 = 8;

/// Frames for each DATA frame of ours: a WINDOW_UPDATE for its stream and one for the connection, and a PING, by which
/// gRPC's clients measure.
const FRAMES_A_DATA: u32 = 3;

/// A client may open its windows in smaller steps than we fill them, with each read of a KiB or more.
const BYTES_A_FRAME: u32 = 1024;

/// Requests dropped before their response: two pages with as many requests as may be open at once, left before the first
/// answer. Each may have cost the site as much as one that is answered.
const DROPPED: u32 = 256;

/// The same by time: somebody who types, and whose page asks with each letter and drops what it asked before.
const DROPPED_A_SECOND: u32 = 4;

/// What a client did too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Flood {
    /// Frames that ask for nothing. The type is that of the one that was too many.
    Frames(u8),
    /// Requests that were dropped before their response, by a reset (CVE-2023-44487) or by a mistake for which we had to
    /// reset them (CVE-2025-8671).
    Dropped,
    /// Something that h2 counts: resets of what it has not handed over, mistakes, CONTINUATION, small or empty DATA.
    Protocol,
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Frames(kind) => match kind {
                DATA => "empty DATA",
                PRIORITY => "PRIORITY",
                RST_STREAM => "RST_STREAM",
                SETTINGS => "SETTINGS",
                PING => "PING",
                GOAWAY => "GOAWAY",
                WINDOW_UPDATE => "WINDOW_UPDATE",
                CONTINUATION => "CONTINUATION",
                other => return write!(f, "frames of type {other:#x}"),
            },
            Self::Dropped => "requests dropped before their response",
            Self::Protocol => "mistakes, resets, or frames with next to nothing in them",
        })
    }
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Allowances {
    frames: Allowance,
    dropped: Allowance,
}

impl Allowances {
    pub(super) fn new() -> Self {
        let begun = Instant::now();
        Self {
            frames: Allowance::new(FRAMES, FRAMES_A_SECOND, FRAMES_AT_MOST, begun),
            dropped: Allowance::new(DROPPED, DROPPED_A_SECOND, DROPPED, begun),
        }
    }

    /// A frame has come. Those that carry something have limits of their own: streams, sizes, windows.
    pub(super) fn received(&mut self, head: Head) -> Result<(), Flood> {
        let is_free = match head.kind {
            HEADERS => true,
            // The end of a body of unknown length, once for each stream.
            DATA => head.length > 0 || head.ends_a_stream(),
            _ => false,
        };
        if is_free || self.frames.spend(1) { Ok(()) } else { Err(Flood::Frames(head.kind)) }
    }

    /// A frame goes out.
    pub(super) fn sent(&mut self, head: Head) {
        match head.kind {
            HEADERS => {
                self.frames.earn(FRAMES_AN_ANSWER);
                self.dropped.earn(1);
            }
            DATA => self.frames.earn(FRAMES_A_DATA + head.length / BYTES_A_FRAME),
            _ => {}
        }
    }

    /// So many requests were dropped before their response.
    pub(super) fn requests_dropped(&mut self, count: u32) -> Result<(), Flood> {
        if self.dropped.spend(count) { Ok(()) } else { Err(Flood::Dropped) }
    }
}

#[derive(Debug)]
struct Allowance {
    left: u32,
    by_time: u32,
    a_second: u32,
    most: u32,
    counted: Instant,
}

impl Allowance {
    /// Begins with what can be had by time.
    fn new(by_time: u32, a_second: u32, most: u32, now: Instant) -> Self {
        Self { left: by_time, by_time, a_second, most, counted: now }
    }

    /// Says whether there was enough. The clock is only looked at when there is not.
    fn spend(&mut self, count: u32) -> bool {
        if self.left < count {
            self.wait(Instant::now());
        }
        let left = self.left.checked_sub(count);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }

    fn wait(&mut self, now: Instant) {
        let waited = now.duration_since(self.counted).as_millis();
        let gained = u32::try_from(waited * u128::from(self.a_second) / 1000).unwrap_or(u32::MAX);
        if gained > 0 {
            self.counted = now;
            self.left = self.left.max(self.left.saturating_add(gained).min(self.by_time));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn head(kind: u8, length: u32) -> Head {
        Head { length, kind, flags: 0, stream: 1 }
    }

    /// How many frames of a type pass before one is too many.
    fn passing(allowances: &mut Allowances, head: Head) -> u32 {
        (0..1_000_000).find(|_| allowances.received(head).is_err()).expect("an end")
    }

    #[tokio::test(start_paused = true)]
    async fn each_type_that_asks_for_nothing_has_an_end_and_what_carries_something_has_none_here() {
        for kind in [DATA, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, 0x10, 0xff] {
            let length = if kind == DATA { 0 } else { 8 };
            let mut allowances = Allowances::new();
            assert_eq!(passing(&mut allowances, head(kind, length)), FRAMES, "{kind}");
            assert_eq!(allowances.received(head(kind, length)), Err(Flood::Frames(kind)));
        }
        let mut allowances = Allowances::new();
        let end = Head { flags: 1, ..head(DATA, 0) };
        for head in [head(HEADERS, 20), head(DATA, 1), end] {
            assert!((0..100_000).all(|_| allowances.received(head).is_ok()), "{head:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_gives_a_little_and_no_more_than_there_was_at_first() {
        let mut allowances = Allowances::new();
        passing(&mut allowances, head(PING, 8));
        advance(Duration::from_secs(3)).await;
        assert_eq!(passing(&mut allowances, head(PING, 8)), 3 * FRAMES_A_SECOND);
        advance(Duration::from_secs(1_000_000)).await;
        assert_eq!(passing(&mut allowances, head(PING, 8)), FRAMES);
    }

    /// Python's httpx opens both windows with each DATA frame that it takes, gRPC's clients ping once a round trip.
    #[tokio::test(start_paused = true)]
    async fn who_takes_what_we_send_never_meets_it() {
        for length in [3, 100, 16_384] {
            let mut allowances = Allowances::new();
            for _ in 0..100_000 {
                allowances.sent(head(DATA, length));
                for kind in [WINDOW_UPDATE, WINDOW_UPDATE, PING] {
                    assert_eq!(allowances.received(head(kind, 4)), Ok(()));
                }
            }
        }
        // All at the end of a download of which 128 MiB were on their way.
        let mut allowances = Allowances::new();
        (0..8_192).for_each(|_| allowances.sent(head(DATA, 16_384)));
        assert!((0..2 * 8_192).all(|_| allowances.received(head(WINDOW_UPDATE, 4)).is_ok()));
        // A browser, and one page after the other.
        let mut allowances = Allowances::new();
        for _ in 0..10_000 {
            for kind in [HEADERS, 0x10, WINDOW_UPDATE, WINDOW_UPDATE, PRIORITY, RST_STREAM] {
                assert_eq!(allowances.received(head(kind, 4)), Ok(()));
            }
            allowances.sent(head(HEADERS, 100));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answered_requests_make_up_for_dropped_ones() {
        let mut allowances = Allowances::new();
        for _ in 0..10_000 {
            assert_eq!(allowances.requests_dropped(1), Ok(()));
            allowances.sent(head(HEADERS, 100));
        }
        assert_eq!(allowances.requests_dropped(DROPPED), Ok(()));
        assert_eq!(allowances.requests_dropped(1), Err(Flood::Dropped));
        advance(Duration::from_secs(1)).await;
        assert_eq!(allowances.requests_dropped(DROPPED_A_SECOND), Ok(()));
        assert_eq!(allowances.requests_dropped(1), Err(Flood::Dropped));
    }
}
