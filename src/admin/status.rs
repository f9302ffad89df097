//! How the proxy fares: whether it is ready to serve, and all that a page would show of it.

use crate::audit;
use crate::clock::Timestamp;
use crate::genesys::BreakerState;
use crate::keys;
use crate::metrics::{House, KeyFacts, Metrics, RingFile};
use crate::outbox;

use super::wire;

/// What stands against the proxy being ready, in words. That it listens is shown by its answering: every address is
/// bound before the first request is. Genesys counts only where the question is `deep`, since all who have a session are
/// served without it.
pub(super) fn obstacles(metrics: &Metrics, is_stopping: bool, deep: bool) -> Vec<String> {
    let Some(house) = metrics.house() else { return vec!["it is starting".to_owned()] };
    let now = metrics.now();
    let expired = house.certificates().into_iter().filter(|facts| facts.not_after <= now);
    let expired = expired.map(|facts| format!("the certificate of {} has expired", facts.names.join(", ")));
    let is_failing = deep && house.genesys.breaker() != BreakerState::Closed;
    let stopping = is_stopping.then(|| "it is stopping".to_owned());
    let failing = is_failing.then(|| "Genesys keeps failing and is left alone".to_owned());
    let has_site = house.servers.snapshot().iter().any(|server| server.healthy);
    let alone = (!has_site).then(|| "no server of any upstream is healthy".to_owned());
    stopping.into_iter().chain(expired).chain(alone).chain(failing).collect()
}

/// All of it.
pub(super) fn status(metrics: &Metrics, is_stopping: bool, can_be_changed: bool) -> wire::Status {
    let (house, now) = (metrics.house(), metrics.now());
    let not_ready_because = obstacles(metrics, is_stopping, false);
    let house = house.as_deref();
    wire::Status {
        version: env!("CARGO_PKG_VERSION"),
        commit: Some(env!("GUESTPASS_COMMIT")).filter(|commit| *commit != "unknown"),
        now: now.to_string(),
        started_at: metrics.started().to_string(),
        uptime_seconds: metrics.uptime().as_secs_f64(),
        ready: not_ready_because.is_empty(),
        not_ready_because,
        last_minutes: last_minutes(metrics),
        reloads: reloads(metrics),
        genesys: house.map(genesys),
        pool: house.map(pool),
        connections: house
            .map(|house| wire::Connections { open: house.admission.open(), refused: house.admission.refused() }),
        upstreams: house.map(upstreams).unwrap_or_default(),
        keys: house.map(|house| keys(house, metrics)).unwrap_or_default(),
        key_rotation_due_at: house.and_then(|house| Some(house.keys.rotation_due()?.to_string())),
        key_ring: house.and_then(key_ring),
        certificates: house.map(|house| certificates(house, metrics)).unwrap_or_default(),
        audit: metrics.audit().map(audit),
        outbox: metrics.outbox().map(|health| outbox(health, now)),
        shadowed: metrics.shadowed().into_iter().map(|(route, requests)| wire::Shadowed { route, requests }).collect(),
        refusals: refusals(metrics),
        can_be_changed,
    }
}

fn last_minutes(metrics: &Metrics) -> wire::LastMinutes {
    let ((step, rates), summary) = (metrics.rates(), metrics.summary());
    // What is finer than a hundredth is noise, and would be most of the answer.
    let rounded = |rates: Vec<f64>| rates.into_iter().map(|rate| (rate * 100.0).round() / 100.0).collect();
    wire::LastMinutes {
        step_seconds: step.as_secs_f64(),
        requests: rounded(rates.requests),
        visits: rounded(rates.visits),
        mints: rounded(rates.mints),
        mint_failures: rounded(rates.mint_failures),
        refusals: rounded(rates.refusals),
        validity: summary.validity,
        readings: summary.readings.into_iter().collect(),
        mint_seconds: summary.mint_seconds.map(|[p50, p95, p99]| wire::Percentiles { p50, p95, p99 }),
        mint_failure_reasons: summary.mint_failures.into_iter().collect(),
        refusal_codes: summary.refusals.into_iter().collect(),
    }
}

fn reloads(metrics: &Metrics) -> wire::Reloads {
    let (last, [refused, taken]) = metrics.reloads();
    wire::Reloads {
        taken,
        refused,
        last_at: last.map(|reload| reload.at.to_string()),
        last_result: last.map(|reload| if reload.taken { "taken" } else { "refused" }),
    }
}

fn genesys(house: &House) -> wire::Genesys {
    let (breaker, retry_in) = match house.genesys.breaker() {
        BreakerState::Closed => ("closed", None),
        BreakerState::Open { retry_in } => ("open", Some(retry_in.as_secs_f64())),
    };
    let token_seconds = house.genesys.token_left().map(|left| left.as_secs_f64());
    wire::Genesys { breaker, retry_in_seconds: retry_in, token_seconds }
}

fn pool(house: &House) -> wire::Pool {
    let level = house.stock.level();
    wire::Pool { ready: level.kept, under_way: level.under_way, size: level.size }
}

fn upstreams(house: &House) -> Vec<wire::Server> {
    let servers = house.servers.snapshot().into_iter();
    servers
        .map(|server| wire::Server {
            upstream: server.upstream,
            server: server.server,
            healthy: server.healthy,
            since: server.since.to_string(),
            last_error: server.last_error,
            under_way: server.connections,
        })
        .collect()
}

fn keys(house: &House, metrics: &Metrics) -> Vec<wire::Key> {
    let (now, all) = (metrics.now(), metrics.verified());
    let key = |KeyFacts { id, state, created, signs_from, retirable_from }: KeyFacts| {
        let verified = metrics.verified_with(id);
        wire::Key {
            id: id.to_string(),
            state,
            created_at: created.map(|created| created.to_string()),
            age_seconds: created.map(|created| now.since(created).as_secs_f64()),
            signs_from: signs_from.map(|moment| moment.to_string()),
            retirable_from: retirable_from.map(|moment| moment.to_string()),
            verified,
            share: (all > 0).then(|| verified as f64 / all as f64),
        }
    };
    house.keys.facts(now).into_iter().map(key).collect()
}

fn key_ring(house: &House) -> Option<wire::KeyRing> {
    let RingFile { path, stage_for } = house.keys.file.as_ref()?;
    Some(wire::KeyRing { writable: keys::may_change(path).is_ok(), stage_seconds: stage_for.as_secs_f64() })
}

fn certificates(house: &House, metrics: &Metrics) -> Vec<wire::Certificate> {
    let mut facts = house.certificates();
    facts.sort_by_key(|facts| facts.not_after);
    let certificate = |facts: crate::tls::Facts| wire::Certificate {
        seconds_left: facts.not_after.since(metrics.now()).as_secs_f64(),
        not_after: facts.not_after.to_string(),
        names: facts.names,
    };
    facts.into_iter().map(certificate).collect()
}

fn audit(health: &audit::Health) -> wire::Audit {
    wire::Audit { written: health.written(), lost: health.lost(), failing: health.is_failing() }
}

fn outbox(health: &outbox::Health, now: Timestamp) -> wire::Outbox {
    wire::Outbox {
        messages: health.waiting(),
        oldest_age_seconds: health.oldest().map(|oldest| now.since(oldest).as_secs_f64()),
        dead_letters: health.dead(),
        accepted: health.delivered(),
        failed: health.failed(),
        given_up: health.given_up(),
        dropped: health.dropped(),
        unrecorded: health.unrecorded(),
        failing: health.is_failing(),
        unwritable: health.is_unwritable(),
        delivering: health.is_delivering(),
    }
}

fn refusals(metrics: &Metrics) -> Vec<wire::Refusal> {
    let refusals = metrics.last_refusals().into_iter();
    refusals
        .map(|refusal| wire::Refusal {
            at: refusal.at.to_string(),
            status: refusal.code.status().as_u16(),
            code: refusal.code.as_str(),
            reason: refusal.reason,
            route: refusal.route,
            client: refusal.client,
        })
        .collect()
}
