//! What the guard below hyper and the exchanges above it tell each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::context::Malformed;

/// One connection's.
#[derive(Debug, Default)]
pub(in crate::server) struct Word {
    /// Said once, since the connection ends with it.
    malformed: OnceLock<Malformed>,
    upgrade: AtomicU8,
}

/// What became of a wish for another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Upgrade {
    Asked,
    Granted,
    Declined,
}

impl Word {
    /// What came instead of a request.
    pub(in crate::server) fn malformed(&self) -> Option<&Malformed> {
        self.malformed.get()
    }

    /// Whether the answer to a request that asked for it changes the protocol.
    pub(in crate::server) fn decide(&self, granted: bool) {
        let answer = if granted { Upgrade::Granted } else { Upgrade::Declined };
        self.upgrade.store(answer as u8, Ordering::Release);
    }

    pub(super) fn refuse(&self, malformed: Malformed) {
        // Nothing is looked at behind the first, so there is no second.
        let _ = self.malformed.set(malformed);
    }

    pub(super) fn ask(&self) {
        self.upgrade.store(Upgrade::Asked as u8, Ordering::Release);
    }

    pub(super) fn answer(&self) -> Upgrade {
        match self.upgrade.load(Ordering::Acquire) {
            0 => Upgrade::Asked,
            1 => Upgrade::Granted,
            _ => Upgrade::Declined,
        }
    }
}
