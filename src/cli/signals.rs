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

    /// Waits for the next one, and says its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGXFSZ on Linux and on the BSDs, but for the MIPS and PA-RISC machines among them.
const FILE_TOO_LARGE: i32 = 25;

/// Lets a write past a limit on the size of files (`RLIMIT_FSIZE` of setrlimit(2)) fail like one to a full disk. The
/// signal for it would end the program, and with it the site's traffic, over a log that nobody may be waiting for. A
/// process that has listened to a signal once is not ended by it any more, also when nobody listens.
///
/// # Errors
///
/// As [`Signals::listen`].
pub(super) fn outlive_full_files() -> io::Result<()> {
    signal(SignalKind::from_raw(FILE_TOO_LARGE)).map(drop)
}

/// What a running proxy is told beside that: SIGHUP by those who have changed a file, SIGUSR2 by those who have changed
/// the program. Whoever listens is not killed by them any more, not even after this value is dropped; the commands at a
/// terminal do not listen, so that they end when it is closed.
pub(super) struct Wishes {
    reload: Signal,
    succeed: Signal,
}

/// One of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Read everything again.
    Reload,
    /// Let a new process take over.
    Succeed,
}

impl Wishes {
    /// Listens from now on. Needs a tokio runtime around it.
    ///
    /// # Errors
    ///
    /// When the operating system does not let us.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { reload: signal(SignalKind::hangup())?, succeed: signal(SignalKind::user_defined2())? })
    }

    /// Waits for the next one. Several that come at once may be one.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.reload.recv() => Wish::Reload,
            _ = self.succeed.recv() => Wish::Succeed,
        }
    }
}
