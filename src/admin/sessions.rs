//! Sessions that the operator takes back.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::body::{self, Bounded};
use crate::clock::Timestamp;
use crate::event::{self, Event};
use crate::refusal::{Code, Refusal};
use crate::session;
use crate::store::{LONGEST_SESSION, Revocation};

use super::{Handles, wire};

/// Does what `body` asks for; whoever asks is allowed to.
pub(super) async fn revoke(handles: &Handles, body: Bounded<Incoming>) -> Result<wire::Revoked, Refusal> {
    let body = body.collect().await.map_err(|error| match error {
        body::Error::TooLarge => Refusal::new(Code::BodyTooLarge, "admin: body").closing(),
        body::Error::TimedOut => Refusal::new(Code::BodyTimeout, "admin: body").closing(),
        body::Error::Broken(_) => Refusal::new(Code::BadRequest, "admin: body").closing(),
    })?;
    let revocation = revocation(&body.to_bytes(), handles.clock.now())
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

fn revocation(body: &[u8], now: Timestamp) -> Result<Revocation, String> {
    let revoke: wire::Revoke = serde_json::from_slice(body).map_err(|error| error.to_string())?;
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
