//! What a new configuration changes under a running process, and what it cannot.

use std::path::PathBuf;

use crate::config::Config;
use crate::genesys;
use crate::outbox;
use crate::tls;

/// The new configuration with what cannot change under a running process taken from the old one, and the names of what
/// was asked for in vain.
pub(super) fn keeping_what_stays(old: &Config, new: Config) -> (Config, Vec<&'static str>) {
    let oldest = |config: &Config| config.tls.as_ref().map(|tls| tls.min_version);
    // Its folder is `store.path`.
    let kms = |config: &Config| config.outbox.clone().map(|kms| outbox::Config { folder: PathBuf::new(), ..kms });
    let differs = [
        ("workers", new.workers != old.workers),
        ("listen", new.listeners != old.listeners),
        ("tls.min_version", oldest(&new).is_some() && oldest(old).is_some() && oldest(&new) != oldest(old)),
        ("limits", new.limits != old.limits),
        ("admin", new.admin != old.admin),
        ("store.path", new.store != old.store),
        ("audit", (&new.audit, new.client_address) != (&old.audit, old.client_address)),
        ("kms", kms(&new) != kms(old)),
        ("log", (&new.access_log, new.log_level) != (&old.access_log, old.log_level)),
        ("shutdown.grace", new.grace != old.grace),
    ];
    let config = Config {
        workers: old.workers,
        listeners: old.listeners.clone(),
        tls: old.tls.as_ref().map(|old| tls::Config {
            min_version: old.min_version,
            certificates: new.tls.as_ref().unwrap_or(old).certificates.clone(),
        }),
        limits: old.limits.clone(),
        admin: old.admin.clone(),
        store: old.store.clone(),
        client_address: old.client_address,
        audit: old.audit.clone(),
        outbox: old.outbox.clone(),
        access_log: old.access_log.clone(),
        log_level: old.log_level,
        grace: old.grace,
        ..new
    };
    (config, differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect())
}

/// The sections that say something else now, of those that can change.
pub(super) fn what_changed(old: &Config, new: &Config) -> Vec<&'static str> {
    // What goes to Genesys with a session is said in [session].
    let calls = |config: &Config| genesys::Config { payload: old.genesys.payload.clone(), ..config.genesys.clone() };
    let session = |config: &Config| (config.gate.issue_on, config.warm_pool, config.genesys.payload.clone());
    let minting = |config: &Config| (config.gate.never_issue.clone(), config.gate.mint_limit);
    let changed = [
        ("refusal_page", new.refusal_page != old.refusal_page),
        ("tls", new.tls != old.tls || new.hsts != old.hsts),
        ("genesys", calls(new) != calls(old) || new.gate.mint_timeout != old.gate.mint_timeout),
        ("session", session(new) != session(old) || minting(new) != minting(old)),
        ("cookie", new.cookie != old.cookie || new.gate.strip_from_upstream != old.gate.strip_from_upstream),
        ("keys", new.keys != old.keys),
        ("own", new.own != old.own),
        ("upstream", new.upstreams != old.upstreams),
        ("route", new.routes != old.routes),
        ("trust", new.trust != old.trust),
    ];
    changed.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
}
