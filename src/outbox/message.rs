//! An event as it goes out: its body, the id by which a receiver knows it again, and what it is about.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::cookie::{KeyId, Protection};
use crate::event::Event;
use crate::store::{LONGEST_SESSION, Revocation};

use super::InUse;
use super::wire::{Body, KeyRotationMatrix};

/// Of SHA-256, for the id: as many as make a coincidence impossible.
const ID_BYTES: usize = 16;

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Depends on what happened alone, so that it stays the same over retries, and of replicas that tell of the same
    /// change of keys.
    pub(super) id: String,
    /// Messages about the same are delivered in order.
    pub(super) subject: String,
    pub(super) body: String,
    /// Since when it is to be delivered.
    pub(super) since: Timestamp,
}

impl Message {
    /// What is to be told of `event`, if anything is.
    pub(super) fn of(event: &Event<'_>, in_use: &InUse, now: Timestamp) -> Option<Self> {
        let signing = in_use.ring.load().signing(now).id();
        let body = |event, key: &KeyId, protection: Protection| Body {
            event,
            session_id: None,
            timestamp: now.to_string(),
            key_rotation_matrix: KeyRotationMatrix {
                algorithm: protection.algorithm(),
                key_version: key.to_string(),
                rotation_policy: in_use.rotate_every.map_or_else(|| "manual".to_owned(), span),
            },
            expiration_directive: now.to_string(),
            issued_before: None,
            previous_key_version: None,
            retired_key_version: None,
        };
        let (subject, body) = match event {
            Event::Minted { session, key_id, protection, .. } => {
                let body = body("session.created", key_id, *protection);
                let ends = session.expires_at.to_string();
                let body = Body { session_id: Some(session.id.clone()), expiration_directive: ends, ..body };
                (of_session(&session.id), body)
            }
            Event::Revoked { revocation: Revocation::Session { id, .. } } => {
                let body = body("session.revoked", &signing, in_use.protection);
                (of_session(id), Body { session_id: Some(id.clone()), ..body })
            }
            Event::Revoked { revocation: Revocation::IssuedBefore(moment) } => {
                let body = body("session.revoked", &signing, in_use.protection);
                ("sessions".to_owned(), Body { issued_before: Some(moment.to_string()), ..body })
            }
            Event::KeyRotated { from, to } => {
                let body = body("key.rotated", to, in_use.protection);
                // By then the last session under the key before has ended.
                let ends = now.plus(LONGEST_SESSION).to_string();
                let previous_key_version = Some(from.to_string());
                ("keys".to_owned(), Body { previous_key_version, expiration_directive: ends, ..body })
            }
            Event::KeyRetired { key_id } => {
                let body = body("key.retired", &signing, in_use.protection);
                ("keys".to_owned(), Body { retired_key_version: Some(key_id.to_string()), ..body })
            }
            _ => return None,
        };
        let id = id(&body);
        let body = serde_json::to_string(&body).expect("a few texts always make JSON");
        Some(Self { id, subject, body, since: now })
    }
}

/// Kept apart from the other subjects, whatever Genesys calls a session.
fn of_session(id: &str) -> String {
    format!("session {id}")
}

/// Of what happened and to what, but not of when and who tells of it.
fn id(body: &Body) -> String {
    let rotated_to = body.previous_key_version.as_ref().map(|_| &body.key_rotation_matrix.key_version);
    let parts = [
        body.session_id.as_ref(),
        body.issued_before.as_ref(),
        body.previous_key_version.as_ref(),
        rotated_to,
        body.retired_key_version.as_ref(),
    ];
    let mut hash = Sha256::new_with_prefix(body.event);
    for part in parts {
        // No part holds a zero byte, so no two lists of parts look alike.
        hash.update(b"\0");
        hash.update(part.map_or("", String::as_str));
    }
    format!("msg_{}", BASE64_URL_SAFE_NO_PAD.encode(&hash.finalize()[..ID_BYTES]))
}

/// As one writes it in `proxy.toml`, in the largest unit that leaves nothing over.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match () {
        () if duration.subsec_nanos() > 0 => format!("{}ms", duration.as_millis()),
        () if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        () if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        () if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        () => format!("{seconds}s"),
    }
}
