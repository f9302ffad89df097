//! All sections, read one after the other: what was understood, with everything's place, and gaps where it was not.

use std::time::Duration;

use toml::de::DeTable;

use super::Config;
use super::findings::Findings;
use super::front::{self, Tls};
use super::process::{self, Kms};
use super::raw::{Entry, Places, Section, Surroundings};
use super::site;
use super::upstream;
use super::value;
use super::visitor::{self, Session};
use crate::access_log;
use crate::admin;
use crate::audit;
use crate::context::Trust;
use crate::cookie;
use crate::forward::Upstream;
use crate::gate;
use crate::genesys;
use crate::keys;
use crate::outbox;
use crate::routes::{OwnPrefix, Route};
use crate::server::{Limits, Listener};
use crate::stock;
use crate::store;
use crate::tls;

/// A process with more cores than this is not what the setting is for.
const MOST_WORKERS: usize = 1024;

/// What was read.
#[derive(Debug)]
pub(super) struct Draft {
    workers: usize,
    refusal_page: Option<String>,
    pub(super) listeners: Vec<Entry<Listener>>,
    limits: Limits,
    pub(super) tls: Tls,
    pub(super) genesys: Option<genesys::Config>,
    mint_timeout: Duration,
    pub(super) session: Session,
    pub(super) cookie: cookie::Config,
    pub(super) cookie_places: Places,
    strip_from_upstream: bool,
    pub(super) keys: Option<keys::Config>,
    pub(super) own: OwnPrefix,
    pub(super) store: store::Place,
    pub(super) kms: Entry<Kms>,
    pub(super) admin: Option<Entry<admin::Config>>,
    pub(super) upstreams: Vec<Entry<Upstream>>,
    pub(super) routes: Vec<Entry<Route>>,
    pub(super) trust: Trust,
    client_address: audit::ClientAddress,
    audit: Option<audit::Config>,
    access_log: access_log::Config,
    log_level: tracing::Level,
    grace: Duration,
}

impl Draft {
    /// Reads every section, also those that are not there.
    pub(super) fn read(document: &DeTable<'_>, surroundings: &Surroundings<'_>, findings: &mut Findings) -> Self {
        let mut root = Section::root(document, surroundings, findings);
        let workers = root.get("workers", value::number(0..=MOST_WORKERS)).unwrap_or(0);
        let refusal_page = front::refusal_page(&mut root);
        let listeners = root.each("listen", front::listener);
        let limits = root.table("limits", front::limits);
        let tls = root.table("tls", front::tls);
        let session = root.table("session", visitor::session);
        let (genesys, mint_timeout) =
            root.table("genesys", |section| visitor::genesys(section, session.payload.clone()));
        let ((cookie, strip_from_upstream), cookie_places) =
            root.table("cookie", |section| (visitor::cookie(section), section.places().clone()));
        let keys = root.table("keys", visitor::keys);
        let own = root.table("own", process::own);
        let store = root.table("store", process::store);
        let kms = root.table("kms", |section| {
            let value = process::kms(section);
            Entry { value, places: section.places().clone() }
        });
        let stands = root.places().says("admin");
        let admin = root.table("admin", |section| {
            let value = Some(process::admin(section));
            Entry { value, places: section.places().clone() }
        });
        // Also of an upstream of which something else is wrong, so that a route's mistake is found at the same time.
        let mut names = Vec::new();
        let upstreams = root.each("upstream", |section| upstream::upstream(section, &mut names));
        let routes = root.each("route", |section| site::route(section, &names));
        let trust = root.table("trust", front::trust);
        let (client_address, audit) = root.table("audit", process::audit);
        let (access_log, log_level) = root.table("log", front::log);
        let grace = root.table("shutdown", front::grace);
        root.end();
        Self {
            workers,
            refusal_page,
            listeners,
            limits,
            tls,
            genesys,
            mint_timeout,
            session,
            cookie,
            cookie_places,
            strip_from_upstream,
            keys,
            own,
            store,
            kms,
            admin: Some(admin).filter(|_| stands),
            upstreams,
            routes,
            trust,
            client_address,
            audit,
            access_log,
            log_level,
            grace,
        }
    }

    /// The whole configuration; `None` where there are gaps, each of which has been reported.
    pub(super) fn into_config(self) -> Option<Config> {
        let listeners = values(self.listeners)?;
        let terminates = listeners.iter().any(|listener| listener.tls);
        let tls = tls::Config { min_version: self.tls.min_version, certificates: values(self.tls.certificates)? };
        let gate = gate::Config {
            issue_on: self.session.issue_on,
            never_issue: self.session.never_issue,
            mint_limit: self.session.mint_limit,
            mint_timeout: self.mint_timeout,
            strip_from_upstream: self.strip_from_upstream,
        };
        let genesys = self.genesys?;
        let warm_pool = stock::Config {
            size: self.session.warm_pool.size,
            max_age: self.session.warm_pool.max_age,
            per_second: genesys.rate_limit,
        };
        let outbox = match (self.kms.value, &self.store) {
            (Some(kms), store::Place::Folder(folder)) => Some(outbox::Config {
                folder: folder.clone(),
                url: kms.url,
                secret: kms.secret,
                ca: kms.ca,
                timeout: kms.timeout,
                give_up_after: kms.give_up_after,
            }),
            _ => None,
        };
        Some(Config {
            workers: self.workers,
            refusal_page: self.refusal_page,
            listeners,
            limits: self.limits,
            tls: terminates.then_some(tls),
            hsts: self.tls.hsts,
            genesys,
            warm_pool,
            gate,
            cookie: self.cookie,
            keys: self.keys?,
            own: self.own,
            store: self.store,
            outbox,
            admin: self.admin.and_then(|entry| entry.value),
            upstreams: values(self.upstreams)?,
            routes: values(self.routes)?,
            trust: self.trust,
            client_address: self.client_address,
            audit: self.audit,
            access_log: self.access_log,
            log_level: self.log_level,
            grace: self.grace,
        })
    }
}

fn values<T>(entries: Vec<Entry<T>>) -> Option<Vec<T>> {
    entries.into_iter().map(|entry| entry.value).collect()
}
