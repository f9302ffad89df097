//! The members of an audit line and of a head, in JSON. Names are part of the interface: one is added, none is renamed.

use serde::{Deserialize, Serialize};

/// A line, but for its last member, `chain`, which covers all the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Line {
    pub(super) sequence: u64,
    pub(super) timestamp: String,
    pub(super) event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cookie: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cookie_valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hmac_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_version_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issued_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compliance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) segment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Previous>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) oldest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) omitted: Option<u64>,
    pub(super) audit_key: String,
}

/// What a segment continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Previous {
    pub(super) segment: String,
    pub(super) sequence: u64,
    pub(super) chain: String,
    /// Whether nobody was to write in it any more, so that nothing may stand behind this place but what is torn.
    pub(super) ended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) torn: Option<Torn>,
}

/// What a crash has left behind the last whole line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A head, but for its tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Head {
    pub(super) turn: u64,
    pub(super) segment: String,
    pub(super) sequence: u64,
    pub(super) chain: String,
    pub(super) audit_key: String,
}
