//! Who may connect: how many at once, in all and from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ProtocolVersion;
use tokio_rustls::server::TlsStream;

use super::{Limits, ProxyProtocol};
use crate::context::Trust;

/// Counts the connections of all cores and listeners.
#[derive(Debug)]
pub struct Admission {
    connections: usize,
    connections_per_address: usize,
    trust: ArcSwap<Trust>,
    open: AtomicUsize,
    /// Touched once when a connection comes and once when it goes, never by a request.
    by_address: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
    pub(super) handshakes: Handshakes,
}

/// How the TLS handshakes of all connections went.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    pub(super) tls12: AtomicU64,
    pub(super) tls13: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Handshakes {
    /// One more, and the connection that it has made, if it has.
    pub(super) fn count<I>(&self, made: Option<&TlsStream<I>>) {
        let version = made.map(|stream| stream.get_ref().1.protocol_version());
        let count = match version {
            None => &self.failed,
            Some(Some(ProtocolVersion::TLSv1_2)) => &self.tls12,
            Some(_) => &self.tls13,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why a connection is closed before a word is said on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// [`Limits::connections`] are open.
    #[error("too many connections")]
    Full,
    /// [`Limits::connections_per_address`] are open from this address.
    #[error("too many connections from this address")]
    FullForAddress,
    /// Whoever it is could not be believed, and the listener takes nobody whom no proxy announces.
    #[error("the PROXY protocol is required, and the peer is none of trust.proxies")]
    Unannounced,
}

impl Admission {
    /// Counts up to `limits`. The proxies of `trust` bring many visitors, so they count only in the sum.
    #[must_use]
    pub fn new(limits: &Limits, trust: Trust) -> Arc<Self> {
        Arc::new(Self {
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            trust: ArcSwap::from_pointee(trust),
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
            refused: AtomicU64::new(0),
            handshakes: Handshakes::default(),
        })
    }

    /// From now on these are the proxies that are trusted.
    pub fn trust(&self, trust: Trust) {
        self.trust.store(Arc::new(trust));
    }

    /// How many connections are open, tunnels included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// TLS handshakes so far: what they came to, as `1.2`, `1.3` or `failed`, and how many.
    #[must_use]
    pub fn handshakes(&self) -> [(&'static str, u64); 3] {
        let Handshakes { tls12, tls13, failed } = &self.handshakes;
        [("1.2", tls12), ("1.3", tls13), ("failed", failed)].map(|(word, count)| (word, count.load(Ordering::Relaxed)))
    }

    /// Admits who connects, on a listener that heeds the PROXY protocol so far.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, heeds: ProxyProtocol) -> Result<Permit, Refused> {
        let admitted = self.admit_to_all().and_then(|mut permit| {
            permit.heeds = if self.trust.load().covers(peer) { heeds } else { ProxyProtocol::Off };
            if heeds == ProxyProtocol::Require && permit.heeds == ProxyProtocol::Off {
                return Err(Refused::Unannounced);
            }
            permit.address = self.admit_from(peer.to_canonical())?;
            Ok(permit)
        });
        self.counted(admitted)
    }

    fn counted<T>(&self, admitted: Result<T, Refused>) -> Result<T, Refused> {
        if admitted.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn admit_to_all(self: &Arc<Self>) -> Result<Permit, Refused> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // Dropping it takes the one back.
        let permit = Permit { admission: Arc::clone(self), address: None, heeds: ProxyProtocol::Off };
        if before < self.connections { Ok(permit) } else { Err(Refused::Full) }
    }

    fn admit_from(&self, peer: IpAddr) -> Result<Option<IpAddr>, Refused> {
        if self.trust.load().covers(peer) {
            return Ok(None);
        }
        let address = counted_as(peer);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_insert(0);
        if *count >= self.connections_per_address {
            return Err(Refused::FullForAddress);
        }
        *count += 1;
        Ok(Some(address))
    }
}

/// One connection's place. Dropping it makes room.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    heeds: ProxyProtocol,
}

impl Permit {
    /// What of the PROXY protocol is heeded of this peer: nothing, unless it is one of `trust.proxies`.
    pub(super) fn heeds(&self) -> ProxyProtocol {
        self.heeds
    }

    /// Counts the connection for the client whom its proxy has announced. The proxy itself was counted in the sum alone.
    pub(super) fn count_for(&mut self, client: IpAddr) -> Result<(), Refused> {
        self.address = self.admission.counted(self.admission.admit_from(client.to_canonical()))?;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self.admission.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = by_address.entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// One IPv6 customer has a /64 at least (RFC 6177, section 2), and can be every address in it.
fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connections_per_address: usize) -> Arc<Admission> {
        let trust = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()] };
        Admission::new(&Limits { connections, connections_per_address, ..Limits::default() }, trust)
    }

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn the_sum_is_limited_and_room_comes_back() {
        let admission = admission(2, 10);
        let first = admission.admit(from("192.0.2.1"), ProxyProtocol::Off).unwrap();
        let _second = admission.admit(from("192.0.2.2"), ProxyProtocol::Off).unwrap();
        assert_eq!(admission.admit(from("192.0.2.3"), ProxyProtocol::Off).unwrap_err(), Refused::Full);
        assert_eq!((admission.open(), admission.refused()), (2, 1));
        drop(first);
        assert!(admission.admit(from("192.0.2.3"), ProxyProtocol::Off).is_ok());
    }

    #[test]
    fn one_address_takes_its_share_and_no_more() {
        let admission = admission(10, 1);
        let first = admission.admit(from("192.0.2.1"), ProxyProtocol::Off).unwrap();
        assert_eq!(admission.admit(from("192.0.2.1"), ProxyProtocol::Off).unwrap_err(), Refused::FullForAddress);
        assert_eq!(admission.admit(from("::ffff:192.0.2.1"), ProxyProtocol::Off).unwrap_err(), Refused::FullForAddress);
        assert_eq!(admission.open(), 1, "a refused connection takes no room");
        let _other = admission.admit(from("192.0.2.2"), ProxyProtocol::Off).unwrap();
        drop(first);
        drop(admission.admit(from("192.0.2.1"), ProxyProtocol::Off).unwrap());
        assert_eq!(admission.by_address.lock().unwrap().len(), 1, "who has gone is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let admission = admission(10, 1);
        let _first = admission.admit(from("2001:db8:0:1::1"), ProxyProtocol::Off).unwrap();
        assert_eq!(
            admission.admit(from("2001:db8:0:1:ffff::2"), ProxyProtocol::Off).unwrap_err(),
            Refused::FullForAddress
        );
        assert!(admission.admit(from("2001:db8:0:2::1"), ProxyProtocol::Off).is_ok());
    }

    #[test]
    fn a_trusted_proxy_counts_only_in_the_sum() {
        let admission = admission(3, 1);
        let permits: Vec<_> = (0..3).map(|_| admission.admit(from("10.1.2.3"), ProxyProtocol::Off).unwrap()).collect();
        assert_eq!(admission.admit(from("10.1.2.3"), ProxyProtocol::Off).unwrap_err(), Refused::Full);
        drop(permits);
        assert_eq!(admission.open(), 0);
    }
}
