//! What a value says of itself, for an operator to look at.

use crate::session::Session;

use super::Protection;
use super::claims::Claims;
use super::envelope::{Envelope, Scratch};
use super::flaw::Flaw;
use super::key::KeyId;
use super::ring::KeyRing;

/// What a value says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// The key that it names.
    pub key_id: KeyId,
    /// How it is protected.
    pub protection: Protection,
    /// Its session. A sealed one is there only where the key has opened it; of a signed one nobody vouches for it.
    pub session: Option<Session>,
}

/// Looks into a value: to be shown to an operator, never to be believed. `ring` opens what is sealed.
///
/// # Errors
///
/// When it has not the form of a cookie of ours.
pub fn peek(value: &[u8], name: &str, ring: Option<&KeyRing>) -> Result<Peek, Flaw> {
    let mut scratch = Scratch::new();
    let envelope = Envelope::open(value, &mut scratch)?;
    let key_id = envelope.key_id();
    let (protection, session) = match envelope {
        Envelope::Signed(signed) => (Protection::Signed, Some(signed.claims_unverified()?.into_session())),
        Envelope::Sealed(sealed) => {
            let key = ring.and_then(|ring| ring.find(key_id));
            let claims = key.and_then(|key| sealed.verify(key, name).ok());
            (Protection::Sealed, claims.map(Claims::into_session))
        }
    };
    Ok(Peek { key_id, protection, session })
}
