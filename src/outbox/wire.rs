//! The events as the receiver reads them. Names are part of the interface: one is added, none is renamed.

use serde::{Deserialize, Serialize};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    pub(super) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_id: Option<String>,
    /// When it happened.
    pub(super) timestamp: String,
    pub(super) key_rotation_matrix: KeyRotationMatrix,
    /// From when on what it speaks of holds no more.
    pub(super) expiration_directive: String,
    /// Of `session.revoked`, where it is no single session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issued_before: Option<String>,
    /// Of `key.rotated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous_key_version: Option<String>,
    /// Of `key.retired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retired_key_version: Option<String>,
}

/// How cookies are protected at that moment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyRotationMatrix {
    pub(super) algorithm: &'static str,
    pub(super) key_version: String,
    /// A span such as `90d`, or `manual`.
    pub(super) rotation_policy: String,
}

/// What a list of dead letters shows of an event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Glance {
    pub(super) event: String,
    pub(super) session_id: Option<String>,
}
