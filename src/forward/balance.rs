//! Which server a request goes to: pure, given what is known of them. What is known is [`super::health`]'s part.

use std::ops::BitAnd;

use super::upstream::{Balance, Upstream};

/// Places of an upstream's servers, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(u64);

impl Places {
    /// The first `count`.
    pub(super) fn first(count: usize) -> Self {
        (0..count.min(Upstream::MOST_SERVERS)).collect()
    }

    pub(super) fn insert(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..Upstream::MOST_SERVERS).filter(move |place| self.0 & (1 << place) != 0)
    }

    /// The `n`-th of them, counted around.
    fn around(self, n: usize) -> Option<usize> {
        self.iter().nth(n.checked_rem(self.len())?)
    }
}

impl BitAnd for Places {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<usize> for Places {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut all = Self::default();
        places.into_iter().for_each(|place| all.insert(place));
        all
    }
}

/// What a server is to the choice.
pub(super) trait Candidate {
    /// Requests under way.
    fn load(&self) -> usize;

    /// The same wherever and whenever the server bears the same name.
    fn seed(&self) -> u64;
}

/// Chooses one of `among`; `None` if that is nobody. `turn` counts the upstream's requests; `visitor` is the session's
/// [`seed`], where there is one.
pub(super) fn choose<C: Candidate>(
    balance: Balance,
    servers: &[C],
    among: Places,
    turn: usize,
    visitor: Option<u64>,
) -> Option<usize> {
    match (balance, visitor) {
        // An address in the place of the session would put a whole company, or everybody behind a balancer in front that
        // is not trusted, on one server.
        (Balance::RoundRobin, _) | (Balance::Session, None) => among.around(turn),
        (Balance::LeastConnections, _) => least_connections(servers, among, turn),
        (Balance::Session, Some(visitor)) => among.iter().max_by_key(|place| weight(servers[*place].seed(), visitor)),
    }
}

/// The less loaded of two that are drawn (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing"): always
/// taking the least loaded of all would send everybody at once to a server that just came back.
fn least_connections<C: Candidate>(servers: &[C], among: Places, turn: usize) -> Option<usize> {
    let first = among.around(turn)?;
    // The turns go around evenly; the other is drawn by scattering them, which takes no chance from outside.
    let rest = among.without(Places::from_iter([first]));
    let scattered = usize::try_from(mix(turn as u64) >> 32).unwrap_or_default();
    let Some(second) = rest.around(scattered) else { return Some(first) };
    Some(if servers[second].load() < servers[first].load() { second } else { first })
}

/// Rendezvous hashing (Thaler and Ravishankar, 1998): everybody ranks all servers by a hash of both names, and so the
/// visitors of a server that leaves are spread over all others, and nobody else moves. Every replica comes to the same.
const fn weight(server: u64, visitor: u64) -> u64 {
    mix(server ^ mix(visitor))
}

/// A name as a number: FNV-1a. Session ids are Genesys' own, so nobody can aim at a server.
pub(super) fn seed(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of SplitMix64, in which each bit of the number moves half of the result's.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Stub(usize, u64);

    impl Candidate for Stub {
        fn load(&self) -> usize {
            self.0
        }

        fn seed(&self) -> u64 {
            self.1
        }
    }

    fn stubs(loads: &[usize]) -> Vec<Stub> {
        loads.iter().enumerate().map(|(place, load)| Stub(*load, seed(&format!("http://10.0.0.{place}:80")))).collect()
    }

    #[test]
    fn turns_go_around_whoever_is_left() {
        let servers = stubs(&[0; 4]);
        for (left, expected) in [
            (vec![0, 1, 2, 3], vec![Some(0), Some(1), Some(2), Some(3), Some(0)]),
            (vec![1, 3], vec![Some(1), Some(3), Some(1), Some(3), Some(1)]),
            (vec![2], vec![Some(2); 5]),
            (vec![], vec![None; 5]),
        ] {
            for balance in [Balance::RoundRobin, Balance::Session] {
                let among = left.iter().copied().collect();
                let chosen: Vec<_> = (0..5).map(|turn| choose(balance, &servers, among, turn, None)).collect();
                assert_eq!(chosen, expected, "{balance:?} among {left:?}");
            }
        }
    }

    #[test]
    fn the_busier_of_two_is_spared() {
        let chosen = |loads: &[usize]| {
            let mut times = vec![0; loads.len()];
            for turn in 0..1200 {
                let among = Places::first(loads.len());
                times[choose(Balance::LeastConnections, &stubs(loads), among, turn, None).unwrap()] += 1;
            }
            times
        };
        assert_eq!(chosen(&[7, 3]), [0, 1200]);
        assert_eq!(chosen(&[5]), [1200]);
        let [busy, idle, other] = chosen(&[9, 0, 1])[..] else { panic!("three") };
        assert!(busy == 0 && idle > 700 && other > 200, "{idle} {other}");
        let even = chosen(&[2, 2, 2]);
        assert!(even.iter().all(|times| *times == 400), "{even:?}");
        assert_eq!(choose(Balance::LeastConnections, &stubs(&[1]), Places::default(), 0, None), None);
    }

    #[test]
    fn sessions_are_spread_evenly() {
        let servers = stubs(&[0; 5]);
        let mut times = [0; 5];
        for visitor in 0..10_000 {
            let visitor = seed(&format!("0f0db0c5-{visitor:04x}-4593-b84b-993e914d459b"));
            times[choose(Balance::Session, &servers, Places::first(5), 0, Some(visitor)).unwrap()] += 1;
        }
        assert!(times.iter().all(|times| (1_800..2_200).contains(times)), "{times:?}");
    }

    proptest! {
        #[test]
        fn a_server_that_leaves_moves_its_own_visitors_and_nobody_else(
            count in 2_usize..=Upstream::MOST_SERVERS,
            left in 0_usize..64,
            sessions in proptest::collection::vec("[0-9a-f-]{1,36}", 1..100),
            turn: usize,
        ) {
            let servers = stubs(&vec![0; count]);
            let all = Places::first(count);
            let fewer = all.without(Places::from_iter([left % count]));
            for session in sessions {
                let visitor = Some(seed(&session));
                let before = choose(Balance::Session, &servers, all, turn, visitor).unwrap();
                let after = choose(Balance::Session, &servers, fewer, turn.wrapping_add(1), visitor).unwrap();
                if before == left % count {
                    prop_assert_ne!(after, before);
                } else {
                    prop_assert_eq!(after, before);
                }
            }
        }
    }
}
