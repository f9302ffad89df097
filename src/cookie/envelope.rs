//! A value's form: which version it is, which key it names, and its parts, with no key asked. What the parts say is the
//! business of [`super::signed`] and [`super::sealed`].

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

use crate::random::Random;
use crate::session::Session;

use super::claims::Claims;
use super::flaw::Flaw;
use super::key::{Key, KeyId};
use super::sealed::Sealed;
use super::signed::Signed;
use super::{Protection, header, sealed, signed};

/// What a session of Genesys' takes is a third of it. Zeros for the longest value would be written for each request.
const USUAL: usize = 768;

/// As long as a value may be: browsers promise to keep no more of a cookie (RFC 6265, section 6.1).
const LONGEST: usize = 4096;

/// Room for what the base64url of a value's parts can decode to. What was sealed stands here in the clear for as long
/// as it is read, and is wiped afterwards; what was merely signed is not, since the request's head, which nobody wipes,
/// says the same.
pub(super) struct Scratch {
    usual: [u8; USUAL],
    longer: Vec<u8>,
    secret: bool,
}

impl Scratch {
    pub(super) const fn new() -> Self {
        Self { usual: [0; _], longer: Vec::new(), secret: false }
    }

    /// Room for what a value of this length decodes to.
    fn room(&mut self, length: usize) -> &mut [u8] {
        // The parts, and a block more for the decoder's rounding up.
        let needed = length / 4 * 3 + 3;
        if needed <= USUAL {
            return &mut self.usual;
        }
        self.longer.resize(needed, 0);
        &mut self.longer
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.secret {
            self.usual.zeroize();
            self.longer.zeroize();
        }
    }
}

/// A value whose form is right, with its parts decoded and nothing inside them looked at.
pub(super) enum Envelope<'v, 's> {
    Signed(Signed<'v, 's>),
    Sealed(Sealed<'v, 's>),
}

impl<'v, 's> Envelope<'v, 's> {
    /// Takes a value apart.
    pub(super) fn open(value: &'v [u8], scratch: &'s mut Scratch) -> Result<Self, Flaw> {
        if value.len() > LONGEST {
            return Err(Flaw::TooLong);
        }
        let mut parts = header::split(value, b'.');
        let (Some(version), Some(kid), Some(third), Some(fourth), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Flaw::Parts);
        };
        let (protection, names) = if version == signed::VERSION.as_bytes() {
            (Protection::Signed, ["payload", "tag"])
        } else if version == sealed::VERSION.as_bytes() {
            (Protection::Sealed, ["nonce", "ciphertext"])
        } else {
            return Err(Flaw::Version);
        };
        let key_id = KeyId::parse(kid).ok_or(Flaw::KeyId)?;
        scratch.secret = protection == Protection::Sealed;
        let room = scratch.room(value.len());
        let length = decode(third, room).ok_or(Flaw::Encoding(names[0]))?;
        let (third, rest) = room.split_at_mut(length);
        let length = decode(fourth, rest).ok_or(Flaw::Encoding(names[1]))?;
        Ok(match protection {
            Protection::Signed => Self::Signed(Signed {
                key_id,
                signed_text: &value[..value.len() - fourth.len() - 1],
                payload: third,
                tag: &rest[..length],
            }),
            Protection::Sealed => Self::Sealed(Sealed {
                key_id,
                label: &value[..version.len() + 1 + kid.len()],
                nonce: third,
                ciphertext: &mut rest[..length],
            }),
        })
    }

    /// The key that it names.
    pub(super) const fn key_id(&self) -> KeyId {
        match self {
            Self::Signed(signed) => signed.key_id,
            Self::Sealed(sealed) => sealed.key_id,
        }
    }

    /// The claims, if the key vouches for them under this cookie's name.
    pub(super) fn verify(self, key: &Key, name: &str) -> Result<Claims<'s>, Flaw> {
        match self {
            Self::Signed(signed) => signed.verify(key, name),
            Self::Sealed(sealed) => sealed.verify(key, name),
        }
    }
}

/// The value of a session's cookie.
pub(super) fn write(protection: Protection, session: &Session, name: &str, key: &Key, random: &dyn Random) -> String {
    let claims = Zeroizing::new(serde_json::to_vec(&Claims::of(session)).expect("text and numbers are always JSON"));
    match protection {
        Protection::Signed => signed::sign(&claims, name, key),
        Protection::Sealed => sealed::seal(claims, name, key, random),
    }
}

/// Canonical base64url only, without padding and with the unused bits zero (RFC 4648, sections 3.5 and 5): else one
/// cookie would have several spellings.
fn decode(part: &[u8], room: &mut [u8]) -> Option<usize> {
    BASE64_URL_SAFE_NO_PAD.decode_slice(part, room).ok()
}
