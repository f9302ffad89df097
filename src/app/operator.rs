//! The operator's listener, on the background runtime: nothing that is asked there stands in front of traffic.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, Handles};
use crate::context::{Scheme, Trust};
use crate::server::{Admission, Listener, ProxyProtocol, Server};

use super::parts::Parts;
use super::worker::serve;
use super::{Passed, Stop};

/// Listens where the configuration says, and says where that is; the socket is for a successor.
pub(super) fn listen(
    parts: &Parts,
    stop: &Stop,
    runtime: &Runtime,
    sockets: &mut Passed,
) -> Result<Option<(SocketAddr, TcpListener)>> {
    let Some(config) = &parts.config.admin else { return Ok(None) };
    let socket = sockets.listen(config.address).context("the operator cannot be listened to")?;
    let address = socket.local_addr()?;
    let world = &parts.lasting.world;
    let handles = Handles {
        store: parts.lasting.store.clone(),
        clock: Arc::clone(&world.clock),
        random: Arc::clone(&world.random),
        sink: Arc::clone(&world.sink),
    };
    let limits = admin::limits();
    let server = Server {
        listener: Listener {
            address,
            tls: false,
            scheme: Scheme::Http,
            proxy_protocol: ProxyProtocol::Off,
            redirect_to_https: None,
        },
        tls: None,
        admission: Admission::new(&limits, Trust::default()),
        limits,
        drain: stop.drain.clone(),
        connections: TaskTracker::new(),
    };
    let listening = socket.try_clone()?;
    runtime.spawn(serve(server, socket, Admin::new(address, config.token.clone(), handles)));
    Ok(Some((address, listening)))
}
