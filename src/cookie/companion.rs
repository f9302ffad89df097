//! The two small cookies beside the session cookie: the marker, which says that there is one, and the hop, which says
//! that a page was just reloaded by our own doing. Neither is a secret or believed for more than that: whoever makes one
//! up only changes how he himself is received.

use std::time::Duration;

/// How long the hop is remembered: a reload comes within a second even on a slow connection, and what comes much later
/// is another visit.
pub(super) const HOP_LIFE: Duration = Duration::from_secs(10);

/// How many arrivals from other sites one after another are reloaded. A reload of ours is no such arrival to a browser
/// that says where requests come from, so each is another link, and nobody opens more of them within ten seconds; a
/// browser that should say otherwise is not kept in a loop.
const ARRIVALS: u8 = 5;

/// What the marker says.
pub(super) const MARKED: &str = "1";

/// The names of our three cookies.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) session: String,
    pub(super) marker: String,
    pub(super) hop: String,
}

impl Names {
    /// A prefix such as `__Host-` stays in front, where browsers look for it (RFC 6265bis, section 4.1.3): the
    /// companions have the attributes that it asks for, since they have the session cookie's domain and path.
    pub(super) fn of(session: &str) -> Self {
        Self { session: session.to_owned(), marker: format!("{session}_seen"), hop: format!("{session}_hop") }
    }

    pub(super) fn all(&self) -> [&str; 3] {
        [&self.session, &self.marker, &self.hop]
    }
}

/// What the answers before this request have tried, as the hop cookie says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hop {
    /// Nothing.
    #[default]
    None,
    /// So many arrivals were reloaded, so that a Strict cookie would come along.
    Arrived(u8),
    /// Planted twins were cleared away, and the page reloaded.
    Cleared,
}

impl Hop {
    /// What is said to somebody who arrives from another site: one more, or `None` when it was tried often enough.
    #[must_use]
    pub const fn next_arrival(self) -> Option<Self> {
        match self {
            Self::None => Some(Self::Arrived(1)),
            Self::Arrived(times) if times < ARRIVALS => Some(Self::Arrived(times + 1)),
            Self::Arrived(_) | Self::Cleared => None,
        }
    }

    /// What is not ours counts as all there is, so that nobody is reloaded for it.
    pub(super) fn parse(value: &[u8]) -> Self {
        match value {
            [digit @ b'1'..=b'9'] => Self::Arrived(digit - b'0'),
            _ => Self::Cleared,
        }
    }

    /// As the cookie says it.
    pub(super) fn value(self) -> String {
        match self {
            Self::None => "0".to_owned(),
            Self::Arrived(times) => times.to_string(),
            Self::Cleared => "c".to_owned(),
        }
    }

    /// Which of two counts, where several were sent: the one that has tried more.
    pub(super) const fn later(self, other: Self) -> Self {
        match (self, other) {
            (Self::Cleared, _) | (_, Self::Cleared) => Self::Cleared,
            (Self::None, other) => other,
            (one, Self::None) => one,
            (Self::Arrived(one), Self::Arrived(other)) => Self::Arrived(if one > other { one } else { other }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_end_after_a_few() {
        let mut hop = Hop::None;
        let mut reloads = 0;
        while let Some(next) = hop.next_arrival() {
            assert_eq!(Hop::parse(next.value().as_bytes()), next, "it is read as it was written");
            hop = next;
            reloads += 1;
        }
        assert_eq!(reloads, ARRIVALS);
        assert_eq!(Hop::Arrived(1).value(), "1");
        assert_eq!(Hop::Cleared.next_arrival(), None);
    }

    #[test]
    fn a_hop_that_is_not_ours_allows_no_reload() {
        for value in ["", "0", "10", "x", "1 ", "c"] {
            assert_eq!(Hop::parse(value.as_bytes()), Hop::Cleared, "{value:?}");
        }
        for (one, other, later) in [
            (Hop::None, Hop::None, Hop::None),
            (Hop::None, Hop::Arrived(1), Hop::Arrived(1)),
            (Hop::Arrived(1), Hop::Arrived(3), Hop::Arrived(3)),
            (Hop::Arrived(5), Hop::Cleared, Hop::Cleared),
        ] {
            assert_eq!((one.later(other), other.later(one)), (later, later));
        }
    }
}
