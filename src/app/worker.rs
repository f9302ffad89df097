//! One core: a thread, a runtime, a pipeline, and its share of every listener.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime;
use tokio_util::task::TaskTracker;

use crate::access_log::CoreLog;
use crate::forward::{Forward, Surroundings};
use crate::gate::GateLayer;
use crate::pipeline::{Pipeline, Redirect, Shared};
use crate::server::{Handler, Server};

use super::{Background, Bound, Parts, Stop};

pub(super) struct Worker {
    runtime: Background,
    tasks: TaskTracker,
    stop: Stop,
    grace: Duration,
}

impl Worker {
    /// Everything that can fail fails here, before a thread is started.
    pub(super) fn new(parts: &Parts, bound: &[Bound], log: &CoreLog, stop: Stop) -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = Background::new(runtime.context("a runtime cannot be made")?);
        let tasks = TaskTracker::new();
        let _inside = runtime.enter();
        let pipeline = pipeline(parts, log, &tasks, &stop);
        for bound in bound {
            // Every core accepts from the same queue.
            let socket = bound.socket.try_clone().context("a listening socket cannot be shared")?;
            let server = Server {
                listener: bound.listener.clone(),
                tls: bound.tls.clone(),
                limits: parts.config.limits.clone(),
                admission: Arc::clone(&parts.admission),
                drain: stop.drain.clone(),
                connections: tasks.clone(),
            };
            match bound.listener.redirect_to_https {
                None => tasks.spawn(serve(server, socket, pipeline.clone())),
                Some(port) => tasks.spawn(serve(server, socket, Redirect::new(shared(parts, log), port))),
            };
        }
        Ok(Self { runtime, tasks, stop, grace: parts.config.grace })
    }

    pub(super) fn start(self, core: usize) -> Result<JoinHandle<()>> {
        let named = thread::Builder::new().name(format!("core-{core}"));
        named.spawn(move || self.run()).context("a thread for a core cannot be started")
    }

    fn run(self) {
        let Self { runtime, tasks, stop, grace } = self;
        runtime.block_on(async {
            tokio::select! {
                () = stop.kill.cancelled() => return,
                () = stop.drain.cancelled() => {}
            }
            tasks.close();
            tokio::select! {
                () = stop.kill.cancelled() => {}
                () = tasks.wait() => {}
                () = tokio::time::sleep(grace) => {
                    tracing::warn!(left = tasks.len(), "requests were still under way when the grace was over");
                }
            }
        });
    }
}

pub(super) async fn serve<S>(server: Server, socket: TcpListener, service: S)
where
    S: Handler,
    S::Future: Send,
{
    if let Err(error) = server.serve(socket, service).await {
        tracing::error!(address = %server.listener.address, %error, "a core cannot serve");
    }
}

fn pipeline(parts: &Parts, log: &CoreLog, tasks: &TaskTracker, stop: &Stop) -> Pipeline {
    let forward = forward(parts, tasks, stop);
    Pipeline::new(shared(parts, log), &GateLayer::of(Arc::clone(&parts.gate)), forward)
}

pub(super) fn forward(parts: &Parts, tasks: &TaskTracker, stop: &Stop) -> Forward {
    let around = Surroundings {
        renderer: parts.renderer.clone(),
        clock: Arc::clone(&parts.world.clock),
        revocations: Arc::new(parts.store.clone()),
        drain: stop.drain.clone(),
        tunnels: tasks.clone(),
    };
    Forward::new(&parts.servers, around, None)
}

pub(super) fn shared(parts: &Parts, log: &CoreLog) -> Shared {
    Shared {
        trust: parts.config.trust.clone(),
        log: log.clone(),
        limits: parts.config.limits.clone(),
        own: parts.own.clone(),
        routes: Arc::clone(&parts.routes),
        keep_headers: parts.config.upstreams.iter().map(|upstream| upstream.keep_headers.clone()).collect(),
        hsts: parts.hsts.clone(),
        renderer: parts.renderer.clone(),
        clock: Arc::clone(&parts.world.clock),
        random: Arc::clone(&parts.world.random),
        sink: Arc::clone(&parts.world.sink),
    }
}
