//! The members of a line in JSON. Names are part of the interface: one is added, none is renamed.

use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) time: String,
    pub(super) request_id: &'a str,
    pub(super) trace_id: &'a str,
    pub(super) client: String,
    pub(super) protocol: &'static str,
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) bytes_in: u64,
    pub(super) duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mint_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reading: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shadow: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_id: Option<&'a str>,
    /// The response ended before it was whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) cut: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
