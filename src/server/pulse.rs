//! What one connection is doing and since when, in atomics: the connection writes, the sweeper reads and judges.
//!
//! Time is counted in the sweeper's own ticks, so a request costs no look at a clock, and time in which the core did
//! not get to run is held against nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// A count of the sweeper's rounds. The first is 1, so that 0 can say never.
pub(super) type Tick = u32;

/// What a connection is doing while no request is open on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The TLS handshake.
    Handshake,
    /// Connected, and nothing said yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// Some of a request's head has come, on HTTP/1.
    Head,
    /// All is said; the client is to close its side too.
    Closing,
    /// No longer HTTP. None of our rules hold for it.
    Upgraded,
}

/// What a connection is told. A later one of these never falls back to an earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// Go on.
    Go,
    /// End after what is open. On HTTP/1 a connection may make one more request, which it may have sent by now, and is
    /// told with the answer that it was the last.
    Drain,
    /// End after what is open.
    Leave,
    /// End now.
    Close,
}

/// How many ticks each phase may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) handshake: Tick,
    pub(super) head: Tick,
    pub(super) idle: Tick,
    pub(super) stall: Tick,
    pub(super) closing: Tick,
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Pulse {
    now: Arc<AtomicU32>,
    /// The phase in the lowest byte and the tick of its beginning above, in one word so that they are read together.
    phase: AtomicU64,
    /// Requests whose body has not come whole, or whose response has not gone.
    open: AtomicU32,
    /// Since when the socket takes nothing; 0 while it does.
    stalled: AtomicU32,
    /// When the socket last took nothing.
    blocked: AtomicU32,
    /// Requests dropped before their response, and not yet held against anybody.
    dropped: AtomicU32,
    order: AtomicU8,
    multiplexed: AtomicBool,
    task: AtomicWaker,
}

impl Pulse {
    pub(super) fn new(now: Arc<AtomicU32>, phase: Phase) -> Self {
        let this = Self {
            now,
            phase: AtomicU64::new(0),
            open: AtomicU32::new(0),
            stalled: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
            order: AtomicU8::new(Order::Go as u8),
            multiplexed: AtomicBool::new(false),
            task: AtomicWaker::new(),
        };
        this.enter(phase);
        this
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(u64::from(self.now()) << 8 | phase as u64, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase_since().0
    }

    /// On HTTP/2 bytes alone begin nothing: they may be a PING.
    pub(super) fn speaks_http2(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
    }

    /// Bytes came.
    pub(super) fn heard(&self) {
        if matches!(self.phase(), Phase::Fresh | Phase::Idle) && !self.has_open() && !self.is_http2() {
            self.enter(Phase::Head);
        }
    }

    /// The socket took bytes.
    pub(super) fn wrote(&self) {
        if self.stalled.load(Ordering::Relaxed) != 0 {
            self.stalled.store(0, Ordering::Relaxed);
            // The end of a response may still be on its way after its last byte was handed to hyper.
            if self.phase() == Phase::Idle {
                self.enter(Phase::Idle);
            }
        }
    }

    /// The socket took no bytes.
    pub(super) fn blocked(&self) {
        let now = self.now();
        self.blocked.store(now, Ordering::Relaxed);
        if self.stalled.load(Ordering::Relaxed) == 0 {
            self.stalled.store(now, Ordering::Relaxed);
        }
    }

    /// When the socket last took nothing; 0 is never.
    pub(super) fn last_blocked(&self) -> Tick {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn has_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// How many requests were dropped before their response since this was last asked.
    pub(super) fn take_dropped(&self) -> u32 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Has its task polled again when the order changes, and says what it is now.
    pub(super) fn attend(&self, cx: &Context<'_>) -> Order {
        self.task.register(cx.waker());
        self.order()
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Go,
            1 => Order::Drain,
            2 => Order::Leave,
            _ => Order::Close,
        }
    }

    /// Whether to say goodbye now. HTTP/2 says GOAWAY, and names the last request that it answers. HTTP/1 can only say so
    /// in an answer's head ([`Self::says_close`]): closed while it idles, it would lose the request that is on its way.
    pub(super) fn should_leave(&self) -> bool {
        match self.order() {
            Order::Go => false,
            Order::Drain => self.is_http2() && (self.has_open() || self.phase() == Phase::Idle),
            Order::Leave | Order::Close => true,
        }
    }

    /// Whether an answer is to say `Connection: close` (RFC 9112, section 9.6).
    pub(super) fn says_close(&self) -> bool {
        self.order() >= Order::Drain && !self.is_http2()
    }

    fn is_http2(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    pub(super) fn command(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.task.wake();
        }
    }

    /// What is overdue is told so.
    pub(super) fn judge(&self, patience: &Patience) {
        let (phase, since) = self.phase_since();
        let lasted = self.now().saturating_sub(since);
        let stalled = self.stalled.load(Ordering::Relaxed);
        let order = self.order();
        if phase == Phase::Upgraded {
            return;
        }
        if stalled != 0 && self.now().saturating_sub(stalled) > patience.stall {
            return self.command(Order::Close);
        }
        match phase {
            Phase::Handshake if lasted > patience.handshake => self.command(Order::Close),
            Phase::Closing if lasted > patience.closing => self.command(Order::Close),
            Phase::Handshake | Phase::Closing | Phase::Upgraded => {}
            _ if self.has_open() => {}
            Phase::Head if lasted > patience.head => self.command(Order::Close),
            Phase::Head => {}
            Phase::Fresh | Phase::Idle => match order {
                Order::Go if lasted > patience.idle => self.dismiss(phase),
                Order::Drain if lasted > patience.closing => self.dismiss(phase),
                Order::Leave if lasted > patience.closing => self.command(Order::Close),
                Order::Go | Order::Drain | Order::Leave | Order::Close => {}
            },
        }
    }

    fn dismiss(&self, phase: Phase) {
        // From now on it has the time to say goodbye.
        self.enter(phase);
        self.command(Order::Leave);
    }

    fn now(&self) -> Tick {
        self.now.load(Ordering::Relaxed)
    }

    fn phase_since(&self) -> (Phase, Tick) {
        let word = self.phase.load(Ordering::Relaxed);
        let phase = match word & 0xff {
            0 => Phase::Handshake,
            1 => Phase::Fresh,
            2 => Phase::Idle,
            3 => Phase::Head,
            4 => Phase::Closing,
            _ => Phase::Upgraded,
        };
        (phase, Tick::try_from(word >> 8).unwrap_or(Tick::MAX))
    }
}

/// One request that is not over yet. When the last of a connection goes, the connection is idle.
#[derive(Debug)]
pub(super) struct Open {
    pulse: Arc<Pulse>,
    unanswered: bool,
}

impl Open {
    /// Its body, or its response.
    pub(super) fn new(pulse: &Arc<Pulse>) -> Self {
        pulse.open.fetch_add(1, Ordering::Relaxed);
        Self { pulse: Arc::clone(pulse), unanswered: false }
    }

    /// The request itself, which is to be answered.
    pub(super) fn unanswered(pulse: &Arc<Pulse>) -> Self {
        let mut open = Self::new(pulse);
        open.unanswered = true;
        open
    }

    /// It has its response.
    pub(super) fn answered(mut self) -> Self {
        self.unanswered = false;
        self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.unanswered {
            self.pulse.dropped.fetch_add(1, Ordering::Relaxed);
        }
        let last = self.pulse.open.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && !matches!(self.pulse.phase(), Phase::Closing | Phase::Upgraded) {
            self.pulse.enter(Phase::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { handshake: 10, head: 15, idle: 75, stall: 60, closing: 2 };

    fn pulse(phase: Phase) -> (Arc<AtomicU32>, Arc<Pulse>) {
        let now = Arc::new(AtomicU32::new(1));
        (Arc::clone(&now), Arc::new(Pulse::new(now, phase)))
    }

    /// After how many ticks a pulse is first told something else than before, within 200.
    fn told(now: &AtomicU32, pulse: &Pulse) -> Option<(u32, Order)> {
        let before = pulse.order();
        for ticks in 1..200 {
            now.fetch_add(1, Ordering::Relaxed);
            pulse.judge(&PATIENCE);
            if pulse.order() != before {
                return Some((ticks, pulse.order()));
            }
        }
        None
    }

    #[test]
    fn each_phase_has_its_own_patience() {
        for (phase, expected) in [
            (Phase::Handshake, Some((11, Order::Close))),
            (Phase::Fresh, Some((76, Order::Leave))),
            (Phase::Idle, Some((76, Order::Leave))),
            (Phase::Head, Some((16, Order::Close))),
            (Phase::Closing, Some((3, Order::Close))),
            (Phase::Upgraded, None),
        ] {
            let (now, pulse) = pulse(phase);
            assert_eq!(told(&now, &pulse), expected, "{phase:?}");
        }
    }

    #[test]
    fn an_open_request_has_no_patience_of_its_own_but_a_stalled_socket_has() {
        let (now, pulse) = pulse(Phase::Idle);
        let _open = Open::new(&pulse);
        assert_eq!(told(&now, &pulse), None);
        pulse.blocked();
        now.fetch_add(30, Ordering::Relaxed);
        pulse.blocked();
        pulse.wrote();
        pulse.blocked();
        assert_eq!(told(&now, &pulse), Some((61, Order::Close)));
    }

    #[test]
    fn a_request_that_goes_without_an_answer_is_counted() {
        let (_, pulse) = pulse(Phase::Fresh);
        drop(Open::unanswered(&pulse).answered());
        drop(Open::new(&pulse));
        assert_eq!(pulse.take_dropped(), 0);
        drop((Open::unanswered(&pulse), Open::unanswered(&pulse)));
        assert_eq!((pulse.take_dropped(), pulse.take_dropped()), (2, 0));
    }

    #[test]
    fn idling_begins_with_the_end_of_the_last_request() {
        let (now, pulse) = pulse(Phase::Fresh);
        let (first, second) = (Open::new(&pulse), Open::new(&pulse));
        now.fetch_add(500, Ordering::Relaxed);
        drop(first);
        assert_eq!(told(&now, &pulse), None);
        drop(second);
        assert_eq!(told(&now, &pulse), Some((76, Order::Leave)));
        assert_eq!(told(&now, &pulse), Some((3, Order::Close)), "who does not take its leave is put out");
    }

    #[test]
    fn a_head_is_timed_from_its_first_byte_and_only_on_http_1() {
        let (now, one) = pulse(Phase::Idle);
        now.fetch_add(70, Ordering::Relaxed);
        one.heard();
        now.fetch_add(10, Ordering::Relaxed);
        one.heard();
        assert_eq!(told(&now, &one), Some((6, Order::Close)));

        let (now, two) = pulse(Phase::Fresh);
        two.speaks_http2();
        now.fetch_add(70, Ordering::Relaxed);
        two.heard();
        assert_eq!(told(&now, &two), Some((6, Order::Leave)));
    }

    #[test]
    fn draining_waits_for_what_is_begun() {
        let (now, fresh) = pulse(Phase::Fresh);
        fresh.command(Order::Drain);
        assert!(!fresh.should_leave());
        assert_eq!(told(&now, &fresh), Some((3, Order::Leave)));

        // Its next request may be on its way, and is told that it was the last.
        let (now, idle) = pulse(Phase::Idle);
        assert!(!idle.says_close());
        idle.command(Order::Drain);
        assert!(!idle.should_leave() && idle.says_close());
        assert_eq!(told(&now, &idle), Some((3, Order::Leave)));

        let (_, two) = pulse(Phase::Idle);
        two.speaks_http2();
        two.command(Order::Drain);
        assert!(two.should_leave() && !two.says_close());

        let (_, reading) = pulse(Phase::Head);
        reading.command(Order::Drain);
        assert!(!reading.should_leave());
        let _open = Open::new(&reading);
        assert!(!reading.should_leave() && reading.says_close());
        reading.command(Order::Go);
        assert_eq!(reading.order(), Order::Drain);
    }

    #[test]
    fn a_late_end_of_a_request_does_not_bring_an_upgraded_connection_back() {
        let (_, pulse) = pulse(Phase::Idle);
        let open = Open::new(&pulse);
        pulse.enter(Phase::Upgraded);
        drop(open);
        assert_eq!(pulse.phase(), Phase::Upgraded);
    }
}
