//! What anybody can cause by the thousand, with requests that are refused, has a budget: else a stream of them would push
//! everything else out of the files that are kept.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The span that the number below is for.
const WINDOW: Duration = Duration::from_secs(60);

/// Lines a window. It is some 150 MiB a day, so that the gigabyte that is kept by default lasts for a week of it; and
/// far more than anybody reads.
const LINES: u64 = 300;

/// The budget of one process. Nobody with a valid cookie comes here, so its lock is in nobody's way.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    lines: u64,
    omitted: u64,
}

impl Budget {
    /// Whether there may be one more line at this uptime, and how many were left out before it, of which the trail does
    /// not know yet.
    pub(super) fn take(&self, uptime: Duration) -> (bool, u64) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut untold = 0;
        if uptime.saturating_sub(window.began) >= WINDOW {
            untold = window.omitted;
            *window = Window { began: uptime, ..Window::default() };
        }
        let is_left = window.lines < LINES;
        if is_left {
            window.lines += 1;
        } else {
            window.omitted += 1;
        }
        (is_left, untold)
    }

    /// How many were left out of which the trail does not know yet. It does from now on.
    pub(super) fn settle(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_the_budget_is_counted_and_told_with_the_next_window() {
        let budget = Budget::default();
        let takes = |second: u64, count: u64| {
            let taken = (0..count).map(|_| budget.take(Duration::from_secs(second)));
            taken.fold((0, 0), |(lines, told), (is_left, untold)| (lines + u64::from(is_left), told + untold))
        };
        assert_eq!(takes(0, LINES + 7), (LINES, 0));
        assert_eq!(takes(59, 3), (0, 0));
        assert_eq!(takes(60, 5), (5, 10));
        assert_eq!(takes(61, LINES), (LINES - 5, 0));
        assert_eq!((budget.settle(), budget.settle()), (5, 0));
    }
}
