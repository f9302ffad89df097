//! The listening sockets: those that were opened for us, by a service manager or by the process before us, and those that
//! we open ourselves.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result};

use crate::server;

/// Sockets that were opened for us and are not yet in use.
#[derive(Debug, Default)]
pub struct Passed(Vec<(SocketAddr, TcpListener)>);

impl Passed {
    /// These.
    ///
    /// # Errors
    ///
    /// When one of them has no address, or cannot be used without waiting.
    pub fn new(sockets: Vec<TcpListener>) -> io::Result<Self> {
        let known = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        known.collect::<io::Result<_>>().map(Self)
    }

    /// The socket for a listener of this address: one that was passed, or a new one.
    pub(super) fn listen(&mut self, address: SocketAddr) -> Result<TcpListener> {
        if let Some(place) = self.0.iter().position(|(passed, _)| fits(*passed, address)) {
            return Ok(self.0.swap_remove(place).1);
        }
        if !self.0.is_empty() {
            tracing::info!(%address, "none of the passed sockets is for this address: it is opened here");
        }
        server::bind(address).with_context(|| format!("cannot listen on {address}"))
    }

    /// Says which were passed for nothing. What comes to them waits in vain, as long as somebody else holds them open.
    pub(super) fn end(self) {
        for (address, _) in self.0 {
            tracing::warn!(%address, "a socket was passed that no [[listen]] is for: nobody is answered there");
        }
    }
}

/// Port 0 takes any, so that it also takes the one that the process before us was given for it.
fn fits(passed: SocketAddr, wanted: SocketAddr) -> bool {
    passed == wanted || wanted.port() == 0 && passed.ip() == wanted.ip()
}
