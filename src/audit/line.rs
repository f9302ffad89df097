//! What an event is on a line. Never a token, and of an address no more than the operator wants.

use std::time::Duration;

use crate::clock::Clock;
use crate::context::Context;
use crate::cookie::Reading;
use crate::event::Event;
use crate::refusal::Code;
use crate::store::Revocation;

use super::Config;
use super::wire::Line;

/// What a line can be about.
pub const EVENTS: [&str; 13] = [
    MINTED,
    "session.refused",
    "session.revoked",
    "cookie.rejected",
    "access.refused",
    "access.shadowed",
    "key.rotated",
    "key.retired",
    "config.reloaded",
    "log.opened",
    "log.recovered",
    "log.gap",
    "log.omitted",
];

/// The one event whose reason is what the visitor had come with.
const MINTED: &str = "session.minted";

/// A line that only lacks its place in the chain.
#[derive(Debug)]
pub(super) struct Draft(pub(super) Line);

impl Draft {
    /// The line of `event`, if it has one.
    pub(super) fn of(event: &Event<'_>, context: Option<&Context>, config: &Config, clock: &dyn Clock) -> Option<Self> {
        let line = said(event, context)?;
        debug_assert!(EVENTS.contains(&line.event.as_str()), "{} is none of those that there are", line.event);
        let mut line = Line { timestamp: clock.now().to_string(), compliance: config.compliance.clone(), ..line };
        if let Some(context) = context {
            line.request_id = Some(context.request_id.to_string());
            line.client_address = config.client_address.of(context.client);
            line.latency_ms = line.latency_ms.or_else(|| Some(millis(clock.uptime().saturating_sub(context.received))));
            // What the gate has found, not what the event suggests.
            context.record.note(|entry| {
                line.cookie = entry.reading.map(str::to_owned);
                line.cookie_valid = entry.reading.map(|reading| reading == Reading::Valid.as_str());
                if line.event == MINTED {
                    line.reason = entry.reading.map(str::to_owned);
                }
                line.hmac_verified = entry.hmac_verified;
                if line.session_id.is_none() {
                    line.session_id.clone_from(&entry.session_id);
                }
            });
        }
        Some(Self(line))
    }

    /// A line about the trail itself.
    pub(super) fn of_the_trail(event: &str, clock: &dyn Clock) -> Line {
        debug_assert!(EVENTS.contains(&event), "{event} is none of those that there are");
        Line { timestamp: clock.now().to_string(), event: event.to_owned(), ..Line::default() }
    }
}

/// What the event alone says.
fn said(event: &Event<'_>, context: Option<&Context>) -> Option<Line> {
    let named = |event: &str| Line { event: event.to_owned(), ..Line::default() };
    Some(match event {
        Event::Minted { session, key_id, waited, source, .. } => Line {
            session_id: Some(session.id.clone()),
            key_version: Some(key_id.to_string()),
            latency_ms: Some(millis(*waited)),
            source: Some(source.as_str().to_owned()),
            ..named(MINTED)
        },
        Event::MintFailed { error, waited } => Line {
            reason: Some(error.code().to_owned()),
            latency_ms: Some(millis(*waited)),
            ..named("session.refused")
        },
        Event::MintLimited => Line { reason: Some("mint_limit".to_owned()), ..named("session.refused") },
        Event::Revoked { revocation } => {
            // In nobody's request it is the operator who asks.
            let reason = if context.is_some() { "sign_out" } else { "operator" };
            let (session_id, issued_before) = match revocation {
                Revocation::Session { id, .. } => (Some(id.clone()), None),
                Revocation::IssuedBefore(moment) => (None, Some(moment.to_string())),
            };
            Line { session_id, issued_before, reason: Some(reason.to_owned()), ..named("session.revoked") }
        }
        Event::CookieRejected { reading, key_id, .. } => Line {
            reason: Some(reading.as_str().to_owned()),
            key_version: key_id.map(|id| id.to_string()),
            ..named("cookie.rejected")
        },
        Event::Conflicted { .. } => Line { reason: Some("conflict".to_owned()), ..named("cookie.rejected") },
        Event::Refused { refusal } if is_the_gates(refusal.code) => {
            Line { reason: Some(refusal.code.as_str().to_owned()), ..named("access.refused") }
        }
        Event::Shadowed { instead } => Line { reason: Some((*instead).to_owned()), ..named("access.shadowed") },
        Event::KeyRotated { from, to } => Line {
            key_version: Some(to.to_string()),
            key_version_before: Some(from.to_string()),
            ..named("key.rotated")
        },
        Event::ConfigReloaded { taken } => {
            Line { reason: Some(if *taken { "taken" } else { "refused" }.to_owned()), ..named("config.reloaded") }
        }
        Event::KeyRetired { key_id } => Line { key_version: Some(key_id.to_string()), ..named("key.retired") },
        _ => return None,
    })
}

/// Whether a refusal is about somebody's session.
const fn is_the_gates(code: Code) -> bool {
    matches!(code, Code::SessionRequired | Code::SessionInvalid | Code::SessionUnavailable | Code::TooManySessions)
}

/// To the microsecond: what is finer is noise.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
