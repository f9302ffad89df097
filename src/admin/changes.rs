//! What the operator changes while we run: sessions are taken back, keys are rotated, the KMS is told again. Whoever asks
//! is allowed to.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::body::{self, Bounded};
use crate::clock::Timestamp;
use crate::event::{self, Event};
use crate::keys;
use crate::outbox::{Letters, Which};
use crate::refusal::{Code, Refusal};
use crate::session;
use crate::store::{LONGEST_SESSION, Revocation};

use super::{Handles, wire};

/// The name under which a call holds the ring's lock.
const WHO: &str = "an operator's call to a running guestpass";

/// Takes sessions back.
pub(super) async fn revoke(handles: &Handles, request: Request<Bounded<Incoming>>) -> Result<wire::Revoked, Refusal> {
    let revocation = revocation(&read(request).await?, handles.clock.now())
        .map_err(|why| Refusal::new(Code::BadRequest, "admin: what is to be revoked").detail(why))?;
    let Handles { store, sink, .. } = handles;
    store
        .revoke(revocation.clone())
        .await
        .map_err(|error| Refusal::new(Code::StoreUnavailable, "admin: the store").detail(error.to_string()))?;
    event::tell_what_happened(&**sink, &Event::Revoked { revocation: &revocation }, None).await;
    match &revocation {
        Revocation::Session { id, .. } => tracing::info!(session_id = ?id, "the operator revoked a session"),
        Revocation::IssuedBefore(moment) => tracing::info!(%moment, "the operator revoked all issued before"),
    }
    Ok(wire::Revoked { kept_until: revocation.until().to_string() })
}

/// Adds the next key to the ring file, as `guestpass keys rotate` does. That the file has changed is seen by whoever
/// watches it, here and on every replica.
pub(super) async fn rotate(handles: &Handles, request: Request<Bounded<Incoming>>) -> Result<wire::Rotated, Refusal> {
    let wire::Rotate { now: at_once } = parse(&read(request).await?)
        .map_err(|why| Refusal::new(Code::BadRequest, "admin: how keys are to be rotated").detail(why))?;
    let refuse = |why: String| Refusal::new(Code::KeysNotRotated, "admin: the key ring").detail(why);
    let file = handles.metrics.house().and_then(|house| house.keys.file.clone());
    let file = file.ok_or_else(|| refuse("the key is a secret of the configuration, and no ring file".to_owned()))?;
    let stage_for = if at_once { Duration::ZERO } else { file.stage_for };
    let (now, random) = (handles.clock.now(), Arc::clone(&handles.random));
    // It waits for the disk, and minting must not wait with it.
    let change = move || keys::change(&file.path, WHO, |ring| ring.rotate(stage_for, &*random, now));
    let changed = tokio::task::spawn_blocking(change).await;
    let changed = changed.map_err(|_| Refusal::new(Code::Internal, "admin: the key ring"))?;
    let id = changed.map_err(|error| {
        refuse(error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
    })?;
    let signs_from = now.plus(stage_for);
    tracing::info!(%id, %signs_from, "the operator rotated the key ring");
    Ok(wire::Rotated { key: id.to_string(), signs_from: signs_from.to_string() })
}

/// Lets dead letters be delivered again, as `guestpass outbox retry` does.
pub(super) async fn retry(handles: &Handles, request: Request<Bounded<Incoming>>) -> Result<wire::Retried, Refusal> {
    let which = which(&read(request).await?)
        .map_err(|why| Refusal::new(Code::BadRequest, "admin: what is to be delivered again").detail(why))?;
    let none =
        || Refusal::new(Code::NotFound, "admin: no outbox").detail("there is no outbox: [kms] is not configured");
    let (folder, now) = (handles.outbox.clone().ok_or_else(none)?, handles.clock.now());
    let change = move || Letters::open(&folder)?.map_or(Ok(0), |mut letters| letters.retry(&which, now));
    let changed = tokio::task::spawn_blocking(change).await;
    let changed = changed.map_err(|_| Refusal::new(Code::Internal, "admin: the outbox"))?;
    let retried =
        changed.map_err(|error| Refusal::new(Code::StoreUnavailable, "admin: the outbox").detail(error.to_string()))?;
    tracing::info!(retried, "the operator lets dead letters be delivered again");
    Ok(wire::Retried { retried })
}

fn which(body: &[u8]) -> Result<Which, String> {
    match parse(body)? {
        wire::Retry { all: true, ids: None } => Ok(Which::All),
        wire::Retry { all: false, ids: Some(ids) } => Ok(Which::Ids(ids)),
        _ => Err("either ids or \"all\": true is needed".to_owned()),
    }
}

/// The body. It is to say that it is JSON: no form of a page of another origin can, without being asked about first
/// (the Fetch standard's safelisted content types).
async fn read(request: Request<Bounded<Incoming>>) -> Result<Bytes, Refusal> {
    let said = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = said.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let refusal = Refusal::new(Code::UnsupportedMediaType, "admin: no JSON");
        return Err(refusal.detail("the body is to be JSON, with Content-Type: application/json"));
    }
    let body = request.into_body().collect().await.map_err(|error| match error {
        body::Error::TooLarge => Refusal::new(Code::BodyTooLarge, "admin: body").closing(),
        body::Error::TimedOut => Refusal::new(Code::BodyTimeout, "admin: body").closing(),
        body::Error::Broken(_) => Refusal::new(Code::BadRequest, "admin: body").closing(),
    })?;
    Ok(body.to_bytes())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn revocation(body: &[u8], now: Timestamp) -> Result<Revocation, String> {
    let revoke: wire::Revoke = parse(body)?;
    match (revoke.session_id, revoke.issued_before) {
        (Some(id), None) => match session::check_id(&id) {
            Ok(()) => Ok(Revocation::Session { id, until: now.plus(LONGEST_SESSION) }),
            // Nobody could have it, and whoever asks would believe that somebody's session is over.
            Err(why) => Err(format!("this is no session_id: a session's id {why}")),
        },
        (None, Some(text)) => match Timestamp::from_rfc3339(&text) {
            // It would take back every session as soon as it is made.
            Some(moment) if moment > now => Err(format!("issued_before is in the future: it is {now}")),
            Some(moment) => Ok(Revocation::IssuedBefore(moment)),
            None => Err("issued_before is an RFC 3339 date and time, such as 2026-11-22T00:00:00Z".to_owned()),
        },
        _ => Err("either session_id or issued_before is needed".to_owned()),
    }
}
