//! What Genesys says and is told, field by field. Nothing is judged here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The form that asks for a token (RFC 6749, section 4.4.2), with the region that Genesys wants beside it.
#[derive(Serialize)]
pub(super) struct TokenRequest<'a> {
    pub(super) grant_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_secret: Option<&'a str>,
    pub(super) region: &'a str,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) access_token: Option<String>,
    pub(super) expires_in: Option<u64>,
    pub(super) token_type: Option<String>,
}

/// RFC 6749, section 5.2, with the `description` that Genesys adds.
#[derive(Default, Deserialize)]
pub(super) struct TokenErrorBody {
    pub(super) error: Option<String>,
    pub(super) description: Option<String>,
    pub(super) error_description: Option<String>,
}

/// What a session is asked for with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionRequest<'a> {
    pub(super) channel: &'static str,
    pub(super) expiration_seconds: u32,
    pub(super) metadata: &'a BTreeMap<String, String>,
}

/// A session, if all goes well. `expirationSeconds` stays unread: a duration says less than a moment.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionAnswer {
    pub(super) id: Option<String>,
    pub(super) session_token: Option<String>,
    pub(super) expiration_timestamp: Option<Moment>,
}

/// Both ways in which Genesys writes a moment.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Moment {
    EpochMillis(u64),
    Rfc3339(String),
}

/// What is of use in Genesys' error body.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorBody {
    pub(super) message: Option<String>,
    pub(super) context_id: Option<String>,
}
