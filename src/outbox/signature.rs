//! How a receiver knows that a delivery is ours and new: the signature of Standard Webhooks 1.0, which stock libraries
//! verify.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::SecretBytes;

/// Says that a text is a secret of this kind; nobody need write it.
const PREFIX: &str = "whsec_";

/// Bytes of a key, as the specification has it.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// What deliveries are signed with: 24 to 64 bytes, written in base64, with or without `whsec_` before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningSecret(SecretBytes);

/// Why a text is no such secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// It is something else.
    #[error("this is no base64")]
    NoBase64,
    /// Too few bytes are guessed; more than 64 are hashed down.
    #[error("24 to 64 bytes are needed, and this has {0}")]
    Length(usize),
}

impl SigningSecret {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let key = SecretBytes::new(BASE64_STANDARD.decode(encoded).map_err(|_| BadSecret::NoBase64)?);
        let length = key.expose().len();
        if LENGTHS.contains(&length) { Ok(Self(key)) } else { Err(BadSecret::Length(length)) }
    }

    /// What `webhook-signature` says of a message that is sent at `timestamp`, in seconds since the epoch.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_the_reference_libraries_sign_it() {
        // The vector of the specification's own libraries.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let said = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(said, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(SigningSecret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Ok(secret), "without its prefix");
    }

    #[test]
    fn what_is_no_secret_is_told_apart() {
        let of_length = |length| BASE64_STANDARD.encode(vec![7; length]);
        assert!(SigningSecret::parse(&of_length(24)).is_ok() && SigningSecret::parse(&of_length(64)).is_ok());
        assert_eq!(SigningSecret::parse(&of_length(23)), Err(BadSecret::Length(23)));
        assert_eq!(SigningSecret::parse(&of_length(65)), Err(BadSecret::Length(65)));
        assert_eq!(SigningSecret::parse("a secret of my own, which is long"), Err(BadSecret::NoBase64));
    }
}
