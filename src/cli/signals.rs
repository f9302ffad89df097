//! Waiting for somebody to say that it is enough, or that something is to be read again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, as a service manager and a person at a terminal send them.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on. Needs a tokio runtime around it.
    ///
    /// # Errors
    ///
    /// When the operating system does not let us.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP, as those send it who have changed a file. Whoever listens is not killed by it any more, not even after this
/// value is dropped; the commands at a terminal do not listen, so that they end when it is closed.
pub(super) struct Hangups(Signal);

impl Hangups {
    /// Listens from now on. Needs a tokio runtime around it.
    ///
    /// # Errors
    ///
    /// When the operating system does not let us.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one. Several that come at once may be one.
    pub(super) async fn next(&mut self) {
        self.0.recv().await;
    }
}
