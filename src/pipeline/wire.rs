//! What the proxy's own paths answer, as JSON.

use serde::Serialize;

/// A session, as much of it as its visitor's scripts may know: never the token.
#[derive(Serialize)]
pub(super) struct OwnSession<'a> {
    pub(super) session_id: &'a str,
    pub(super) expires_at: String,
}
