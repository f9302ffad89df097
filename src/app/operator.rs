//! The operator's listener, on the background runtime: nothing that is asked there stands in front of traffic.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, Handles};
use crate::context::{Scheme, Trust};
use crate::server::{self, Admission, Listener, ProxyProtocol, Server};

use super::worker::serve;
use super::{Parts, Stop};

/// Listens where the configuration says, and says where that is.
pub(super) fn listen(parts: &Parts, stop: &Stop, runtime: &Runtime) -> Result<Option<SocketAddr>> {
    let Some(config) = &parts.config.admin else { return Ok(None) };
    let socket = server::bind(config.address);
    let socket = socket.with_context(|| format!("cannot listen for the operator on {}", config.address))?;
    let address = socket.local_addr()?;
    let handles = Handles {
        store: parts.store.clone(),
        clock: Arc::clone(&parts.world.clock),
        random: Arc::clone(&parts.world.random),
        sink: Arc::clone(&parts.world.sink),
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
    runtime.spawn(serve(server, socket, Admin::new(address, config.token.clone(), handles)));
    Ok(Some(address))
}
