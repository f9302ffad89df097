//! One core: a thread, a runtime, a pipeline, and its share of every listener.

use std::fmt;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::service::Service;
use tokio::runtime;
use tokio_util::task::TaskTracker;

use crate::access_log::CoreLog;
use crate::context::{Connection, Malformed};
use crate::forward::{Forward, Surroundings};
use crate::gate::GateLayer;
use crate::pipeline::{Pipeline, Redirect, RequestBody, Shared};
use crate::server::{Admission, Handler, Server};

use super::parts::Parts;
use super::{Background, Bound, Stop};

pub(super) struct Worker {
    runtime: Background,
    tasks: TaskTracker,
    stop: Stop,
    grace: Duration,
}

impl Worker {
    /// Everything that can fail fails here, before a thread is started. The second is by what its configuration is
    /// changed while it runs.
    pub(super) fn new(
        parts: &Parts,
        bound: &[Bound],
        admission: &Arc<Admission>,
        log: CoreLog,
        stop: Stop,
    ) -> Result<(Self, Core)> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = Background::new(runtime.context("a runtime cannot be made")?);
        let tasks = TaskTracker::new();
        let _inside = runtime.enter();
        let (pipeline, forward) = pipeline(parts, &log, &tasks, &stop, None);
        let current = Current(Arc::new(ArcSwap::from_pointee(pipeline)));
        for bound in bound {
            // Every core accepts from the same queue.
            let socket = bound.socket.try_clone().context("a listening socket cannot be shared")?;
            let server = Server {
                listener: bound.listener.clone(),
                tls: bound.tls.clone(),
                limits: parts.config.limits.clone(),
                admission: Arc::clone(admission),
                drain: stop.drain.clone(),
                connections: tasks.clone(),
            };
            match bound.listener.redirect_to_https {
                None => tasks.spawn(serve(server, socket, current.clone())),
                Some(port) => tasks.spawn(serve(server, socket, Redirecting { current: current.clone(), port })),
            };
        }
        let core = Core {
            runtime: runtime.handle().clone(),
            log,
            tasks: tasks.clone(),
            stop: stop.clone(),
            current,
            forward: ArcSwap::from_pointee(forward),
        };
        Ok((Self { runtime, tasks, stop, grace: parts.config.grace }, core))
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

/// A core as others see it: what it needs for another pipeline.
#[derive(Debug)]
pub(super) struct Core {
    runtime: runtime::Handle,
    log: CoreLog,
    tasks: TaskTracker,
    stop: Stop,
    current: Current,
    forward: ArcSwap<Forward>,
}

/// What a core is to go on with.
pub(super) struct Next {
    pipeline: Pipeline,
    forward: Forward,
}

impl Core {
    /// A whole new pipeline for this core, which nobody uses yet.
    pub(super) fn prepare(&self, parts: &Parts) -> Next {
        let _inside = self.runtime.enter();
        let before = self.forward.load();
        let (pipeline, forward) = pipeline(parts, &self.log, &self.tasks, &self.stop, Some(&before));
        Next { pipeline, forward }
    }

    /// Every request from now on goes this way; those under way end on theirs.
    pub(super) fn switch(&self, next: Next) {
        self.current.0.store(Arc::new(next.pipeline));
        self.forward.store(Arc::new(next.forward));
    }

    /// Waits until the core has had a turn, which it has not while something holds it up.
    pub(super) async fn turns(&self) {
        // An error means that it has ended, and then nothing holds it up.
        let _ = self.runtime.spawn(async {}).await;
    }
}

/// The pipeline that the next request meets. Looked up for each of them, since a connection outlives a configuration.
#[derive(Clone)]
struct Current(Arc<ArcSwap<Pipeline>>);

impl Service<Request<RequestBody>> for Current {
    type Response = <Pipeline as Service<Request<RequestBody>>>::Response;
    type Error = <Pipeline as Service<Request<RequestBody>>>::Error;
    type Future = <Pipeline as Service<Request<RequestBody>>>::Future;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        self.0.load().call(request)
    }
}

impl Handler for Current {
    type Body = <Pipeline as Handler>::Body;

    fn reject(&self, request: &Malformed, connection: Connection) -> Response<Self::Body> {
        self.0.load().reject(request, connection)
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").finish_non_exhaustive()
    }
}

/// The same for a listener that only redirects.
#[derive(Clone, Debug)]
struct Redirecting {
    current: Current,
    port: u16,
}

impl Service<Request<RequestBody>> for Redirecting {
    type Response = <Redirect as Service<Request<RequestBody>>>::Response;
    type Error = <Redirect as Service<Request<RequestBody>>>::Error;
    type Future = <Redirect as Service<Request<RequestBody>>>::Future;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        self.current.0.load().redirect(self.port).call(request)
    }
}

impl Handler for Redirecting {
    type Body = <Redirect as Handler>::Body;

    fn reject(&self, request: &Malformed, connection: Connection) -> Response<Self::Body> {
        self.current.0.load().redirect(self.port).reject(request, connection)
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

/// A pipeline, and the end of it that knows the connections to the upstreams.
fn pipeline(
    parts: &Parts,
    log: &CoreLog,
    tasks: &TaskTracker,
    stop: &Stop,
    before: Option<&Forward>,
) -> (Pipeline, Forward) {
    let forward = forward(parts, tasks, stop, before);
    let gate = GateLayer::of(Arc::clone(&parts.learnt.gate));
    (Pipeline::new(shared(parts, log), &gate, forward.clone()), forward)
}

/// What leads to the upstreams. Connections of the one `before` to servers that stay are kept.
pub(super) fn forward(parts: &Parts, tasks: &TaskTracker, stop: &Stop, before: Option<&Forward>) -> Forward {
    let around = Surroundings {
        renderer: parts.renderer.clone(),
        clock: Arc::clone(&parts.lasting.world.clock),
        revocations: Arc::new(parts.lasting.store.clone()),
        drain: stop.drain.clone(),
        tunnels: tasks.clone(),
    };
    Forward::new(&parts.learnt.servers, around, before)
}

pub(super) fn shared(parts: &Parts, log: &CoreLog) -> Shared {
    let world = &parts.lasting.world;
    Shared {
        trust: parts.config.trust.clone(),
        log: log.clone(),
        limits: parts.config.limits.clone(),
        own: parts.own.clone(),
        routes: Arc::clone(&parts.routes),
        slots: Arc::clone(&parts.slots),
        keep_headers: parts.config.upstreams.iter().map(|upstream| upstream.keep_headers.clone()).collect(),
        hsts: parts.hsts.clone(),
        renderer: parts.renderer.clone(),
        clock: Arc::clone(&world.clock),
        random: Arc::clone(&world.random),
        sink: Arc::clone(&world.sink),
    }
}
