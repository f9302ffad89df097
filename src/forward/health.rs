//! Whether a server works: pure, given what happened and when. Who asks and who connects is known elsewhere.
//!
//! Two things take a server out. Checks, where there are any, do so until as many have passed again. Connections that
//! fail do so for a while that doubles, at whose end one request tries: if it gets a connection, the server is back.

use std::time::Duration;

use super::upstream::HealthCheck;

/// How long a server is left alone after connecting to it has failed: as long as a fast restart takes…
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// …doubled each time, up to this, so that a server that comes back after an hour is back within half a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A try of which nothing was heard for so long is over: its visitor may have gone away meanwhile.
const TRIAL: Duration = Duration::from_secs(10);

/// What is known of one server. Times are those of [`Clock::uptime`](crate::clock::Clock::uptime).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    fail_after: u32,
    pass_after: u32,
    /// Connects that failed in a row.
    strikes: u32,
    out: Option<Out>,
    failed_checks: u32,
    passed_checks: u32,
    /// Taken out by checks.
    down: bool,
}

/// Taken out by connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Out {
    until: Duration,
    pause: Duration,
    tried_at: Option<Duration>,
}

/// Whether a request may go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may.
    Up,
    /// One may, to try.
    OnTrial,
    /// It may not, unless there is nobody else.
    Out,
}

/// What an operator is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    TakenOut,
    LetBack,
}

impl Health {
    /// Of a server of which nothing is known yet: it is taken to work, so that a start refuses nobody.
    pub(super) const fn new(check: &HealthCheck) -> Self {
        Self {
            fail_after: check.fail_after,
            pass_after: check.pass_after,
            strikes: 0,
            out: None,
            failed_checks: 0,
            passed_checks: 0,
            down: false,
        }
    }

    pub(super) const fn is_healthy(&self) -> bool {
        !self.down && self.out.is_none()
    }

    /// Whether a connection that is made would change nothing.
    pub(super) const fn is_untroubled(&self) -> bool {
        self.is_healthy() && self.strikes == 0
    }

    pub(super) fn standing(&self, now: Duration) -> Standing {
        match self.out {
            _ if self.down => Standing::Out,
            None => Standing::Up,
            Some(out) if out.is_over(now) => Standing::OnTrial,
            Some(_) => Standing::Out,
        }
    }

    /// A request goes there, to try.
    pub(super) fn try_it(&mut self, now: Duration) {
        if let Some(out) = &mut self.out {
            out.tried_at = Some(now);
        }
    }

    pub(super) fn connected(&mut self) -> Option<Change> {
        let was_healthy = self.is_healthy();
        self.strikes = 0;
        self.out = None;
        self.change(was_healthy)
    }

    pub(super) fn did_not_connect(&mut self, now: Duration) -> Option<Change> {
        let was_healthy = self.is_healthy();
        self.strikes = self.strikes.saturating_add(1);
        match &mut self.out {
            None if self.strikes >= self.fail_after => {
                self.out = Some(Out { until: now + FIRST_PAUSE, pause: FIRST_PAUSE, tried_at: None });
            }
            // Of a crowd that fails at once only the first counts: the others learnt nothing new.
            Some(out) if now >= out.until => {
                let pause = (out.pause * 2).min(LONGEST_PAUSE);
                *out = Out { until: now + pause, pause, tried_at: None };
            }
            None | Some(_) => {}
        }
        self.change(was_healthy)
    }

    pub(super) fn check_passed(&mut self) -> Option<Change> {
        let was_healthy = self.is_healthy();
        self.failed_checks = 0;
        self.passed_checks = self.passed_checks.saturating_add(1);
        if !was_healthy && self.passed_checks >= self.pass_after {
            self.down = false;
            self.out = None;
            self.strikes = 0;
        }
        self.change(was_healthy)
    }

    pub(super) fn check_failed(&mut self) -> Option<Change> {
        let was_healthy = self.is_healthy();
        self.passed_checks = 0;
        self.failed_checks = self.failed_checks.saturating_add(1);
        self.down |= self.failed_checks >= self.fail_after;
        self.change(was_healthy)
    }

    const fn change(&self, was_healthy: bool) -> Option<Change> {
        match (was_healthy, self.is_healthy()) {
            (true, false) => Some(Change::TakenOut),
            (false, true) => Some(Change::LetBack),
            _ => None,
        }
    }
}

impl Out {
    fn is_over(&self, now: Duration) -> bool {
        now >= self.until && self.tried_at.is_none_or(|tried| now >= tried + TRIAL)
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;

    const CHECK: HealthCheck = HealthCheck {
        path: None::<PathAndQuery>,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fail_after: 2,
        pass_after: 3,
    };

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn connects_that_fail_in_a_row_take_it_out_and_one_try_lets_it_back() {
        let mut health = Health::new(&CHECK);
        assert_eq!(health.did_not_connect(at(0)), None);
        assert!(health.is_healthy() && !health.is_untroubled());
        assert_eq!(health.connected(), None);
        assert_eq!(health.did_not_connect(at(0)), None, "it begins anew");
        assert_eq!(health.did_not_connect(at(0)), Some(Change::TakenOut));
        assert_eq!(health.standing(at(999)), Standing::Out);
        assert_eq!(health.standing(at(1000)), Standing::OnTrial);
        health.try_it(at(1000));
        assert_eq!(health.standing(at(1001)), Standing::Out, "one is enough");
        assert_eq!(health.connected(), Some(Change::LetBack));
        assert_eq!(health, Health::new(&CHECK));
    }

    #[test]
    fn the_pause_doubles_with_each_try_that_fails_and_not_with_a_crowd() {
        let mut health = Health::new(&CHECK);
        let mut now = at(0);
        let mut pauses = Vec::new();
        health.did_not_connect(now);
        for _ in 0..7 {
            for _ in 0..10 {
                health.did_not_connect(now);
            }
            let out = health.out.unwrap();
            pauses.push((out.until - now).as_secs());
            now = out.until;
            health.try_it(now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_try_that_is_never_heard_of_again_does_not_keep_it_out() {
        let mut health = Health::new(&CHECK);
        health.did_not_connect(at(0));
        health.did_not_connect(at(0));
        health.try_it(at(1000));
        assert_eq!(health.standing(at(10_999)), Standing::Out);
        assert_eq!(health.standing(at(11_000)), Standing::OnTrial);
    }

    #[test]
    fn checks_take_it_out_and_only_checks_let_it_back() {
        let mut health = Health::new(&CHECK);
        assert_eq!(health.check_failed(), None);
        assert_eq!(health.check_passed(), None);
        assert_eq!(health.check_failed(), None);
        assert_eq!(health.check_failed(), Some(Change::TakenOut));
        assert_eq!(health.connected(), None, "that it connects is not enough");
        assert_eq!(health.standing(at(1_000_000)), Standing::Out);
        assert_eq!([health.check_passed(), health.check_passed()], [None, None]);
        assert_eq!(health.check_passed(), Some(Change::LetBack));
        assert_eq!(health.standing(at(0)), Standing::Up);
    }

    #[test]
    fn checks_that_pass_let_back_what_connections_took_out() {
        let mut health = Health::new(&CHECK);
        health.did_not_connect(at(0));
        assert_eq!(health.did_not_connect(at(0)), Some(Change::TakenOut));
        assert_eq!([health.check_passed(), health.check_passed()], [None, None]);
        assert_eq!(health.check_passed(), Some(Change::LetBack));
        assert!(health.is_untroubled());
    }
}
