//! What the simulator reads and writes, field by field. Nothing is judged here.
//!
//! Written a second time rather than shared with [`crate::genesys`]: a mistake made on one side must not be made on the
//! other by the same line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionForm {
    #[serde(default = "web")]
    pub(super) channel: String,
    #[serde(default = "one_hour")]
    pub(super) expiration_seconds: u32,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

fn web() -> String {
    "web".to_owned()
}

const fn one_hour() -> u32 {
    3600
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionMade<'a> {
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_token: Option<&'a str>,
    pub(super) expiration_seconds: u32,
    pub(super) expiration_timestamp: String,
}

#[derive(Serialize)]
pub(super) struct TokenMade<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_token: Option<&'a str>,
    pub(super) token_type: &'static str,
    pub(super) expires_in: u64,
}

#[derive(Serialize)]
pub(super) struct OauthError<'a> {
    pub(super) error: &'a str,
    pub(super) description: &'a str,
    pub(super) error_description: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiError<'a> {
    pub(super) message: &'a str,
    pub(super) code: &'a str,
    pub(super) status: u16,
    pub(super) message_params: BTreeMap<String, String>,
    pub(super) context_id: &'a str,
    pub(super) details: Vec<String>,
    pub(super) errors: Vec<String>,
}

/// The body of `POST /simulator/faults`. What is missing is no fault.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FaultsForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<RetryAfter>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) hang: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) malformed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) times: Option<u32>,
}

/// A header's value; seconds may stand as a number.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum RetryAfter {
    Seconds(u64),
    Value(String),
}

/// The answer to `GET /simulator/state`.
#[derive(Serialize)]
pub(super) struct StateReport {
    pub(super) token_calls: u64,
    pub(super) session_calls: u64,
    pub(super) other_calls: u64,
    pub(super) sessions: u64,
    /// How often each status was answered; `none` counts those that were never answered.
    pub(super) statuses: BTreeMap<String, u64>,
    pub(super) faults: FaultsForm,
}
