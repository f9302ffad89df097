//! What the service manager that started us is told, where there is one and it listens (sd_notify(3)).

use std::process;
use std::time::Duration;

use sd_notify::NotifyState;

/// We serve, and are the service's main process, also where another one was so far.
pub(super) fn ready() {
    tell(&[NotifyState::MainPid(process::id()), NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Files are read again; [`ready`] says that it is done.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
}

/// What is under way is finished.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// Says that we live each time that `turns` has come back, twice as often as it has to be heard; for ever. Without a
/// watchdog it says nothing.
pub(super) async fn live<F: Future<Output = ()>>(turns: impl Fn() -> F) {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| *patience > Duration::ZERO) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(patience / 2);
    loop {
        ticks.tick().await;
        turns().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
