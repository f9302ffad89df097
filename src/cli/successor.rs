//! A second process that takes over: it is given the sockets that we listen on, says when it serves, and then we finish.
//!
//! It is started by us and not by the operator, so that the sockets need no way between strangers: they are inherited, in
//! the form in which a service manager passes them (sd_listen_fds(3)), but for `LISTEN_PID`, which nobody can know before
//! there is a process. Its standard input is a line to us, on which it says one word; that we hear its end when it ends
//! is what makes it better than a signal.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};

use command_fds::{CommandFdExt, FdMapping};
use listenfd::ListenFd;
use tokio::io::AsyncReadExt;

/// Tells a process that it is a successor.
const SUCCESSOR: &str = "GUESTPASS_SUCCESSOR";

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// What the successor says.
const READY: &[u8] = b"ready\n";

/// A process that is to take over.
#[derive(Debug)]
pub(super) struct Successor {
    process: Child,
    line: tokio::net::UnixStream,
}

impl Successor {
    /// Starts `program` as we were started, with these sockets. Needs a tokio runtime around it.
    pub(super) fn start(program: &Path, sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(program);
        command
            .args(std::env::args_os().skip(1))
            .stdin(OwnedFd::from(theirs))
            .env(SUCCESSOR, "1")
            .env("LISTEN_FDS", sockets.len().to_string())
            // These name us, and what is meant for everybody names nobody.
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID");
        let mappings = (FIRST..).zip(sockets).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        Ok(Self { process: command.spawn()?, line: tokio::net::UnixStream::from_std(ours)? })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it serves, or has ended; says which.
    pub(super) async fn serves(&mut self) -> bool {
        let mut word = [0; READY.len()];
        self.line.read_exact(&mut word).await.is_ok_and(|_| word == READY)
    }

    /// Lets go of one that has ended.
    pub(super) fn bury(mut self) {
        // It closed its line without a word, so that it is of no use in any case.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The sockets that this process was passed, in their order; an error for each that does not listen for TCP.
///
/// To be asked before there is a second thread, since it takes the variables out of the environment.
pub(super) fn passed() -> Vec<io::Result<TcpListener>> {
    let mut passed = ListenFd::from_env();
    let sockets = (0..passed.len()).map(|place| passed.take_tcp_listener(place).transpose());
    sockets.flatten().collect()
}

/// Tells the process before us, if there is one, that we serve.
pub(super) fn tell_predecessor() {
    if std::env::var_os(SUCCESSOR).is_none() {
        return;
    }
    let line = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    if let Err(error) = line.and_then(|mut line| line.write_all(READY)) {
        tracing::warn!(%error, "the process before us does not hear us");
    }
}
