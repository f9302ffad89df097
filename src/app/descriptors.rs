//! File descriptors: how many the process may have open, and how many its limits may come to need.
//!
//! The system's default of 1,024 is a soft one that everybody may raise, kept so low for programs that still call
//! select(2). We do not.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::Limits;

/// A visitor's connection, and one to the site behind it while there is a request on it.
const A_CONNECTION: u64 = 2;

/// What is open beside connections: on each core a share of the listening sockets, and the logs, Genesys, the operator.
const BESIDE: u64 = 200;

/// More connections are allowed than the process can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    connections: usize,
    needed: u64,
    allowed: u64,
}

impl Shortage {
    /// How much `limits` may come to need beyond what this process may have, if it is more than that.
    #[must_use]
    pub fn of(limits: &Limits) -> Option<Self> {
        // No maximum is one that nothing reaches.
        Self::under(limits.connections, getrlimit(Resource::Nofile).maximum?)
    }

    fn under(connections: usize, allowed: u64) -> Option<Self> {
        let needed = (connections as u64).saturating_mul(A_CONNECTION).saturating_add(BESIDE);
        (needed > allowed).then_some(Self { connections, needed, allowed })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, needed, allowed } = self;
        write!(
            f,
            "limits.connections = {connections} may need {needed} open files, and this process may have {allowed}: \
             allow it more (LimitNOFILE= of systemd, `ulimit -Hn`), or fewer connections"
        )
    }
}

/// Takes as many as the system allows, and says so where that is too few.
pub fn raise_open_files(limits: &Limits) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the limit of open files cannot be raised");
    }
    if let Some(shortage) = Shortage::of(limits) {
        tracing::warn!("{shortage}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_may_need_two() {
        assert_eq!(Shortage::under(10_000, 20_200), None);
        let shortage = Shortage::under(10_000, 20_199).unwrap().to_string();
        assert!(
            shortage
                .starts_with("limits.connections = 10000 may need 20200 open files, and this process may have 20199")
        );
        assert!(Shortage::under(usize::MAX, u64::MAX - 1).is_some());
    }
}
