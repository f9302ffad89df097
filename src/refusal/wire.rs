//! A refusal as JSON: RFC 9457, and nothing that decides anything.

use serde::Serialize;

/// RFC 9457, section 3.1. `type` stays away: it would default to `about:blank`, which is what `code` improves upon.
#[derive(Serialize)]
pub(super) struct Problem<'a> {
    pub(super) status: u16,
    pub(super) title: &'a str,
    pub(super) code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a str>,
    pub(super) request_id: &'a str,
}
