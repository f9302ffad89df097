//! Why a cookie's value is not good: for whoever inspects one, never for whoever sent it.

use crate::clock::Timestamp;

use super::Reading;
use super::key::KeyId;

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// More than any browser keeps.
    #[error("it is longer than 4,096 bytes")]
    TooLong,
    /// Too few parts, or too many.
    #[error("it has not the four parts of v1.<key id>.<payload>.<tag> or e1.<key id>.<nonce>.<ciphertext>")]
    Parts,
    /// A form that this version does not know.
    #[error("it begins with neither v1 nor e1, and no other versions are known")]
    Version,
    /// No key can have that id.
    #[error("its key id is not 1 to 16 letters, digits, \"_\" and \"-\"")]
    KeyId,
    /// A part is not in the one spelling that is accepted.
    #[error("its {0} is no canonical base64url without padding")]
    Encoding(&'static str),
    /// The ring has no such key, or has it no more.
    #[error("its key {0} is not in the ring")]
    UnknownKey(KeyId),
    /// The key does not vouch for it.
    #[error("its tag is not the one that the key makes of it under this cookie's name")]
    Tag,
    /// The key does not open it.
    #[error("the key does not open it under this cookie's name")]
    Seal,
    /// Signed or sealed, and yet no claims.
    #[error("its claims cannot be read: {0}")]
    Claims(String),
    /// Another organization's session.
    #[error("it is for another Genesys organization")]
    Organization,
    /// Its time is over.
    #[error("it ended at {0}")]
    Expired(Timestamp),
}

impl Flaw {
    /// What a cookie with this flaw is read as.
    #[must_use]
    pub const fn reading(&self) -> Reading {
        match self {
            Self::TooLong | Self::Parts | Self::Version | Self::KeyId | Self::Encoding(_) | Self::Claims(_) => {
                Reading::Malformed
            }
            Self::UnknownKey(_) | Self::Organization => Reading::Outdated,
            Self::Tag | Self::Seal => Reading::Forged,
            Self::Expired(_) => Reading::Expired,
        }
    }
}
