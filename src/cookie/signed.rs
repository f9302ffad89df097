//! The signed form of a cookie's value, `v1.<kid>.<payload>.<tag>`: the claims can be read by anyone and changed by
//! nobody.
//!
//! What is signed is the very text that is sent, under the cookie's name, so that a value can neither be put together
//! from others' parts nor be moved to another cookie.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Mac;
use zeroize::Zeroizing;

use crate::session::Session;

use super::claims::Claims;
use super::flaw::Flaw;
use super::ring::{Key, KeyId};

/// As long as a value may be: browsers promise to keep no more of a cookie (RFC 6265, section 6.1).
pub(super) const LONGEST: usize = 4096;

const VERSION: &str = "v1";

/// Room for what the base64url of a value's parts can decode to, and a block more for the decoder's rounding up.
pub(super) type Scratch = [u8; LONGEST / 4 * 3 + 3];

/// A value whose form is right, with its parts decoded and nothing inside them looked at.
pub(super) struct Envelope<'v, 's> {
    pub(super) key_id: KeyId,
    signed_text: &'v [u8],
    payload: &'s [u8],
    tag: &'s [u8],
}

impl<'v, 's> Envelope<'v, 's> {
    /// Takes a value apart.
    pub(super) fn open(value: &'v [u8], scratch: &'s mut Scratch) -> Result<Self, Flaw> {
        if value.len() > LONGEST {
            return Err(Flaw::TooLong);
        }
        let mut parts = value.split(|byte| *byte == b'.');
        let (Some(version), Some(kid), Some(payload), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Flaw::Parts);
        };
        // The sealed form's arm belongs here.
        if version != VERSION.as_bytes() {
            return Err(Flaw::Version);
        }
        let key_id = KeyId::parse(kid).ok_or(Flaw::KeyId)?;
        let signed_text = &value[..value.len() - tag.len() - 1];
        // The scratch is not wiped afterwards: the request's head, which nobody wipes, holds the same bytes.
        let payload_length = decode(payload, scratch).ok_or(Flaw::Encoding("payload"))?;
        let (payload, rest) = scratch.split_at_mut(payload_length);
        let tag_length = decode(tag, rest).ok_or(Flaw::Encoding("tag"))?;
        Ok(Self { key_id, signed_text, payload, tag: &rest[..tag_length] })
    }

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

/// The value of a session's cookie, signed with `key`.
pub(super) fn seal(session: &Session, name: &str, key: &Key) -> String {
    let claims = Zeroizing::new(serde_json::to_vec(&Claims::of(session)).expect("text and numbers are always JSON"));
    let mut value = format!("{VERSION}.{}.", key.id());
    BASE64_URL_SAFE_NO_PAD.encode_string(claims.as_slice(), &mut value);
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

/// Canonical base64url only, without padding and with the unused bits zero (RFC 4648, sections 3.5 and 5): else one
/// cookie would have several spellings.
fn decode(part: &[u8], room: &mut [u8]) -> Option<usize> {
    BASE64_URL_SAFE_NO_PAD.decode_slice(part, room).ok()
}
