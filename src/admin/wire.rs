//! What the operator's calls say and are answered, as JSON.

use serde::{Deserialize, Serialize};

/// `POST /sessions/revoke`: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    pub(super) session_id: Option<String>,
    pub(super) issued_before: Option<String>,
}

/// What came of it.
#[derive(Serialize)]
pub(super) struct Revoked {
    /// Until when it is remembered; by then the sessions would have ended by themselves.
    pub(super) kept_until: String,
}
