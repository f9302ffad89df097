//! The signed form of a cookie's value, `v1.<kid>.<payload>.<tag>`: the claims can be read by anyone and changed by
//! nobody.
//!
//! What is signed is the very text that is sent, under the cookie's name, so that a value can neither be put together
//! from others' parts nor be moved to another cookie.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Mac;

use super::claims::Claims;
use super::flaw::Flaw;
use super::key::{Key, KeyId};

pub(super) const VERSION: &str = "v1";

/// The parts of a signed value.
pub(super) struct Signed<'v, 's> {
    pub(super) key_id: KeyId,
    pub(super) signed_text: &'v [u8],
    pub(super) payload: &'s [u8],
    pub(super) tag: &'s [u8],
}

impl<'s> Signed<'_, 's> {
    /// The claims, if the key vouches for them under this cookie's name. The comparison takes the same time wherever
    /// the tags differ.
    pub(super) fn verify(self, key: &Key, name: &str) -> Result<Claims<'s>, Flaw> {
        authenticate(key, name, self.signed_text).verify_slice(self.tag).map_err(|_| Flaw::Tag)?;
        self.claims_unverified()
    }

    /// The claims, with nobody vouching for them: to be shown, never to be believed.
    pub(super) fn claims_unverified(&self) -> Result<Claims<'s>, Flaw> {
        Claims::read(self.payload).map_err(|error| Flaw::Claims(error.to_string()))
    }
}

/// The value that carries `claims`.
pub(super) fn sign(claims: &[u8], name: &str, key: &Key) -> String {
    let mut value = format!("{VERSION}.{}.", key.id());
    BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut value);
    let tag = authenticate(key, name, value.as_bytes()).finalize().into_bytes();
    value.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(tag, &mut value);
    value
}

fn authenticate(key: &Key, name: &str, signed_text: &[u8]) -> impl Mac + use<> {
    // No cookie's name holds a zero byte, so that name and text cannot run into each other.
    key.authenticator()
        .chain_update(b"guestpass cookie\0")
        .chain_update(name.as_bytes())
        .chain_update(b"\0")
        .chain_update(signed_text)
}
