//! What the workers are made of: the parts that outlive a configuration, and those that are made anew of each.

use std::sync::Arc;

use anyhow::Result;
use http::HeaderValue;

use crate::config::Config;
use crate::cookie::{Jar, SharedRing};
use crate::forward::{Resolve, Servers, SystemResolver};
use crate::gate::Gate;
use crate::genesys::Figures;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::pipeline::Own;
use crate::refusal::Renderer;
use crate::routes::Table;
use crate::session::Provider;
use crate::stock::Stock;
use crate::store::Store;

use super::World;

/// What is handed from one configuration to the next.
#[derive(Clone, Debug)]
pub(super) struct Lasting {
    pub(super) world: World,
    pub(super) ring: SharedRing,
    /// With its token, its breaker, its budget, and the sessions that it has ready.
    pub(super) provider: Sessions,
    pub(super) store: Store,
    /// What counts, where there is a listener on which the numbers can be seen.
    pub(super) metrics: Option<Metrics>,
    /// Who has to say what is in use, where there is a KMS to be told.
    pub(super) outbox: Option<Arc<Outbox>>,
}

/// Where sessions come from, and how that fares, where there is something to see.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) seen: Option<(Figures, Stock)>,
}

/// What the parts of one configuration have learnt, and those of the next go on with.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    /// How often each address has asked for a session.
    pub(super) gate: Arc<Gate>,
    /// How the upstreams' servers fare.
    pub(super) servers: Arc<Servers>,
}

/// What every core's pipeline is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) lasting: Lasting,
    pub(super) learnt: Learnt,
    pub(super) own: Own,
    pub(super) routes: Arc<Table>,
    pub(super) slots: Arc<[usize]>,
    pub(super) renderer: Renderer,
    pub(super) hsts: Option<HeaderValue>,
}

impl Parts {
    /// Makes them, for a process that begins or one that had others `before`.
    pub(super) fn new(config: Config, lasting: Lasting, before: Option<&Learnt>) -> Result<Self> {
        let Lasting { world, ring, provider: Sessions { provider, .. }, store, metrics, .. } = &lasting;
        let (clock, sink) = (Arc::clone(&world.clock), Arc::clone(&world.sink));
        let organization_id = provider.organization_id().to_owned();
        let jar = Jar::new(config.cookie.clone(), ring.clone(), organization_id, Arc::clone(&world.random));
        let renderer = Renderer::new(config.refusal_page.clone());
        let gate = Gate::new(jar, Arc::clone(provider), config.gate.clone(), renderer.clone(), clock, sink)
            .with_revocations(Arc::new(store.clone()));
        let gate = Arc::new(before.into_iter().fold(gate, |gate, before| gate.counting_on(&before.gate)));
        let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
        let known = before.map(|before| &*before.servers);
        let servers = Servers::new(&config.upstreams, Arc::clone(&world.clock), &resolver, known)?;
        let sink = Arc::clone(&world.sink);
        let upstreams: Vec<&str> = config.upstreams.iter().map(|upstream| &*upstream.name).collect();
        Ok(Self {
            own: Own::new(config.own.clone(), &gate, store.clone(), renderer.clone(), sink),
            routes: Arc::new(Table::new(config.routes.clone())),
            slots: metrics.as_ref().map_or_else(Arc::default, |metrics| metrics.slots(&config.routes, &upstreams)),
            hsts: config.hsts.map(|age| format!("max-age={}", age.as_secs()).parse()).transpose()?,
            learnt: Learnt { gate, servers: Arc::new(servers) },
            renderer,
            config,
            lasting,
        })
    }
}
