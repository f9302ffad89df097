//! The operator's listener and what there is to see on it, on the background runtime: nothing that is asked there stands
//! in front of traffic.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, Handles};
use crate::audit::Audit;
use crate::config::Config;
use crate::context::{Scheme, Trust};
use crate::event::Everyone;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::server::{Admission, Listener, ProxyProtocol, Server};
use crate::tls::{self, CertificateFiles};

use super::parts::Parts;
use super::worker::serve;
use super::{Passed, Stop, World};

/// The same world, in which everything is also counted, where there is a listener on which the numbers can be seen.
pub(super) fn counted(
    config: &Config,
    audit: Option<&Audit>,
    outbox: Option<&Outbox>,
    world: World,
) -> (Option<Metrics>, World) {
    if config.admin.is_none() {
        return (None, world);
    }
    let (audit, outbox) = (audit.map(Audit::health), outbox.map(Outbox::health));
    let metrics = Metrics::new(Arc::clone(&world.clock), config.client_address, audit, outbox);
    let sink = Everyone(vec![Box::new(metrics.clone()), Box::new(world.sink)]);
    (Some(metrics), World { sink: Arc::new(sink), ..world })
}

/// A listener of the operator's that is there.
pub(super) struct Operator {
    /// Where it is.
    pub(super) address: SocketAddr,
    /// The socket, for a successor.
    pub(super) socket: TcpListener,
    /// The certificate that it shows, to be looked after.
    pub(super) certificate: Option<tls::Keeper>,
}

/// The operator's listener as soon as it is bound, before there is anything to see on it.
pub(super) struct Bound {
    socket: TcpListener,
    tls: Option<(Arc<rustls::ServerConfig>, tls::Keeper)>,
}

/// Binds it where the configuration says: what can fail comes before a start leaves anything on the disk.
pub(super) fn bind(config: &Config, sockets: &mut Passed) -> Result<Option<Bound>> {
    let Some(config) = &config.admin else { return Ok(None) };
    let socket = sockets.listen(config.address).context("the operator cannot be listened to")?;
    Ok(Some(Bound { socket, tls: config.tls.as_ref().map(secured).transpose()? }))
}

/// Listens there.
pub(super) fn listen(parts: &Parts, stop: &Stop, runtime: &Runtime, bound: Option<Bound>) -> Result<Option<Operator>> {
    let (Some(config), Some(metrics)) = (&parts.config.admin, &parts.lasting.metrics) else { return Ok(None) };
    let Some(Bound { socket, tls }) = bound else { return Ok(None) };
    let address = socket.local_addr()?;
    let world = &parts.lasting.world;
    let handles = Handles {
        store: parts.lasting.store.clone(),
        clock: Arc::clone(&world.clock),
        random: Arc::clone(&world.random),
        sink: Arc::clone(&world.sink),
        metrics: metrics.clone(),
        outbox: parts.config.outbox.as_ref().map(|outbox| outbox.folder.clone()),
        drain: stop.drain.clone(),
    };
    let (tls, certificate) = tls.unzip();
    let facts = certificate.as_ref().map(tls::Keeper::facts);
    let limits = admin::limits();
    let server = Server {
        listener: Listener {
            address,
            tls: tls.is_some(),
            scheme: if tls.is_some() { Scheme::Https } else { Scheme::Http },
            proxy_protocol: ProxyProtocol::Off,
            redirect_to_https: None,
        },
        tls,
        admission: Admission::new(&limits, Trust::default()),
        limits,
        drain: stop.succeeded.clone(),
        connections: TaskTracker::new(),
    };
    let listening = socket.try_clone()?;
    runtime.spawn(serve(server, socket, Admin::new(config, facts, handles)));
    runtime.spawn(metrics.clone().keep_history());
    Ok(Some(Operator { address, socket: listening, certificate }))
}

fn secured(files: &CertificateFiles) -> Result<(Arc<rustls::ServerConfig>, tls::Keeper)> {
    let keeper = tls::Keeper::new(tls::Loaded::read(vec![files.clone()])?);
    Ok((tls::server_config(tls::Version::Tls12, &keeper)?, keeper))
}
