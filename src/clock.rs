//! What time it is, handed in: no module below `app` asks the system.
//!
//! Two questions are kept apart. [`Clock::now`] is the calendar, which cookies and logs speak of and which an
//! administrator may set back. [`Clock::uptime`] only ever goes forward, and is what waits and budgets count in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment of the calendar, in milliseconds since the Unix epoch.
///
/// ```
/// use std::time::Duration;
///
/// use guestpass::clock::Timestamp;
///
/// let moment = Timestamp::from_rfc3339("2026-11-22T14:20:00Z").unwrap();
/// assert_eq!(moment.plus(Duration::from_secs(60)).to_string(), "2026-11-22T14:21:00.000Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_millis(1_500).to_string(), "1970-01-01T00:00:01.500Z");
    /// ```
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the Unix epoch; past the representable range it stays at its end.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    ///
    /// // As in the `exp` of somebody's JSON.
    /// let expires_at = Timestamp::from_seconds(1_795_357_200);
    /// assert_eq!(expires_at.to_string(), "2026-11-22T14:20:00.000Z");
    /// ```
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_seconds(2).millis(), 2_000);
    /// ```
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_millis(1_999).seconds(), 1);
    /// ```
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This moment and `duration` more.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::clock::{Clock, SystemClock};
    ///
    /// let now = SystemClock::new().now();
    /// let expires_at = now.plus(Duration::from_secs(3_600));
    /// # assert!(expires_at > now);
    /// ```
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::clock::Timestamp;
    ///
    /// let (earlier, later) = (Timestamp::from_seconds(100), Timestamp::from_seconds(160));
    /// assert_eq!(later.since(earlier), Duration::from_secs(60));
    /// assert_eq!(earlier.since(later), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads an RFC 3339 date and time; `None` when it is none, or lies before the epoch.
    ///
    /// ```
    /// use guestpass::clock::Timestamp;
    ///
    /// let moment = Timestamp::from_rfc3339("2026-11-22T15:20:00+01:00");
    /// assert_eq!(moment, Some(Timestamp::from_seconds(1_795_357_200)));
    /// assert_eq!(Timestamp::from_rfc3339("tomorrow"), None);
    /// ```
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// The same moment for the standard library's interfaces, such as an HTTP date's.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use guestpass::clock::Timestamp;
    ///
    /// let moment = Timestamp::from_seconds(60).to_system_time();
    /// assert_eq!(moment, SystemTime::UNIX_EPOCH + Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

impl Timestamp {
    /// RFC 3339 in UTC with milliseconds, as [`fmt::Display`] writes it: `2026-11-22T14:20:00.123Z`.
    #[must_use]
    pub(crate) fn to_rfc3339(self) -> [u8; 24] {
        let seconds = i64::try_from(self.seconds()).unwrap_or(i64::MAX);
        // Year 9999 is the last that RFC 3339 can write.
        let Ok(moment) = OffsetDateTime::from_unix_timestamp(seconds) else {
            return *b"9999-12-31T23:59:59.999Z";
        };
        // Digit by digit: each request has two of these, and `write!` took 3,000 instructions for one.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        write_digits(&mut text[0..4], u64::from(moment.year().unsigned_abs()));
        write_digits(&mut text[5..7], u64::from(u8::from(moment.month())));
        write_digits(&mut text[8..10], u64::from(moment.day()));
        write_digits(&mut text[11..13], u64::from(moment.hour()));
        write_digits(&mut text[14..16], u64::from(moment.minute()));
        write_digits(&mut text[17..19], u64::from(moment.second()));
        write_digits(&mut text[20..23], self.0 % 1000);
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_rfc3339()).expect("digits and what stands between them are ASCII"))
    }
}

/// Writes the last digits of `number`, as many as there is room for.
fn write_digits(room: &mut [u8], mut number: u64) {
    for place in room.iter_mut().rev() {
        *place = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

/// Whoever needs the time holds one of these.
///
/// ```
/// use std::time::Duration;
///
/// use guestpass::clock::{Clock, SystemClock, Timestamp};
///
/// /// A machine whose clock is known to be a minute slow.
/// #[derive(Debug)]
/// struct Late(SystemClock);
///
/// impl Clock for Late {
///     fn now(&self) -> Timestamp {
///         self.0.now().plus(Duration::from_secs(60))
///     }
///
///     fn uptime(&self) -> Duration {
///         self.0.uptime()
///     }
/// }
/// # assert!(Late(SystemClock::new()).now() > SystemClock::new().now());
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// The calendar's time.
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    /// use guestpass::session::Session;
    ///
    /// fn is_over(session: &Session, clock: &dyn Clock) -> bool {
    ///     session.expires_at <= clock.now()
    /// }
    /// ```
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process. Never goes back.
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    ///
    /// let clock = SystemClock::new();
    /// let began = clock.uptime();
    /// // …
    /// let took = clock.uptime() - began;
    /// ```
    fn uptime(&self) -> Duration;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn uptime(&self) -> Duration {
        (**self).uptime()
    }
}

/// The operating system's clocks.
///
/// ```
/// use guestpass::clock::{Clock, SystemClock};
///
/// println!("It is {}.", SystemClock::new().now());
/// ```
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::uptime`] begins now.
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    ///
    /// let clock = SystemClock::new();
    /// assert!(clock.uptime() < std::time::Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is handed")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is told to move: for tests, and for showing what a cookie will be later.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use guestpass::clock::{ManualClock, Timestamp};
/// # use guestpass::{cookie::Key, gate::GateLayer, secret::SecretBytes, session::MadeUp};
///
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_357_200)));
/// let hour = Duration::from_secs(3_600);
/// let provider = MadeUp::new("organization".to_owned(), hour, Arc::clone(&clock));
/// let gate = GateLayer::builder(key, provider).clock(Arc::clone(&clock)).build();
/// clock.advance(hour); // and the cookies of before have expired
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    moved_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `start`.
    ///
    /// ```
    /// use guestpass::clock::{Clock, ManualClock, Timestamp};
    ///
    /// let clock = ManualClock::at(Timestamp::from_seconds(1_795_357_200));
    /// assert_eq!(clock.now(), clock.now());
    /// ```
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self { start, moved_ms: AtomicU64::new(0) }
    }

    /// Moves both readings forward by `step`, to the millisecond.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::clock::{Clock, ManualClock, Timestamp};
    ///
    /// let clock = ManualClock::at(Timestamp::from_seconds(100));
    /// clock.advance(Duration::from_secs(5));
    /// assert_eq!((clock.now(), clock.uptime()), (Timestamp::from_seconds(105), Duration::from_secs(5)));
    /// ```
    pub fn advance(&self, step: Duration) {
        let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.fetch_add(step_ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start.plus(self.uptime())
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_as_rfc_3339_and_read_back() {
        let moment = Timestamp::from_millis(1_795_357_200_123);
        assert_eq!(moment.to_string(), "2026-11-22T14:20:00.123Z");
        assert_eq!(Timestamp::from_rfc3339("2026-11-22T14:20:00.123Z"), Some(moment));
        assert_eq!(Timestamp::from_rfc3339("2026-11-22T15:20:00.123+01:00"), Some(moment));
        assert_eq!(Timestamp::from_rfc3339("yesterday"), None);
        assert_eq!(Timestamp::from_rfc3339("1969-12-31T23:59:59Z"), None);
    }

    #[test]
    fn a_moment_past_the_calendars_end_is_still_written() {
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = ManualClock::at(Timestamp::from_seconds(100));
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now().seconds(), 105);
        assert_eq!(clock.uptime(), Duration::from_secs(5));
    }
}
