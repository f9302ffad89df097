//! What a cookie says of a session, as JSON. How it is protected is [`super::signed`]'s business.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::secret::SecretText;
use crate::session::Session;

/// The members in the order in which they are written.
///
/// A member that stands there twice or is not known is an error. Only whoever holds the key writes claims, so such a
/// member comes from a guestpass that meant something by it; reading on without it could let in whom it was to keep
/// out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims<'a> {
    #[serde(borrow)]
    sid: Cow<'a, str>,
    #[serde(borrow)]
    tok: Cow<'a, str>,
    #[serde(borrow)]
    org: Cow<'a, str>,
    iat: u64,
    exp: u64,
}

impl<'a> Claims<'a> {
    pub(super) fn of(session: &'a Session) -> Self {
        Self {
            sid: Cow::Borrowed(&session.id),
            tok: Cow::Borrowed(session.token.expose()),
            org: Cow::Borrowed(&session.organization_id),
            iat: session.issued_at.seconds(),
            exp: session.expires_at.seconds(),
        }
    }

    /// Reads the payload once it is known to be ours.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, serde_json::Error> {
        // serde takes an array for a struct as well, but claims are an object.
        if !payload.starts_with(b"{") {
            return Err(serde::de::Error::custom("the claims are no JSON object"));
        }
        serde_json::from_slice(payload)
    }

    pub(super) fn organization_id(&self) -> &str {
        &self.org
    }

    pub(super) const fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }

    pub(super) fn into_session(self) -> Session {
        Session {
            id: self.sid.into_owned(),
            token: SecretText::new(self.tok.into_owned()),
            organization_id: self.org.into_owned(),
            issued_at: Timestamp::from_seconds(self.iat),
            expires_at: Timestamp::from_seconds(self.exp),
        }
    }
}
