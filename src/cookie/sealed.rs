//! The sealed form of a cookie's value, `e1.<kid>.<nonce>.<ciphertext>`: AES-256-GCM, so that the claims can be read by
//! nobody without the key, and changed by nobody at all.
//!
//! The cookie's name, the version and the key's id are sealed in as associated data, so that a value can neither be
//! moved to another cookie nor be relabelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Key as AesKey};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::random::Random;

use super::claims::Claims;
use super::flaw::Flaw;
use super::key::{Key, KeyId};

pub(super) const VERSION: &str = "e1";

/// The one length that GCM uses as it is (NIST SP 800-38D, section 5.2.1.1).
const NONCE: usize = 12;

/// GCM's whole tag; a shorter one would be easier to guess.
const TAG: usize = 16;

/// With random nonces one key may seal 2^32 times (NIST SP 800-38D, section 8.3). Half of that is one bit less of the
/// same margin, and time enough to rotate at any rate: a thousand seals a second take 24 days for the other half.
const WARN_AT: u64 = 1 << 31;

/// One key's cipher, and how often it has sealed.
pub(super) struct Sealer {
    cipher: Aes256Gcm,
    /// Shared by all that ever stood for the key in this process.
    seals: Arc<AtomicU64>,
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { cipher: Aes256Gcm::new(<&AesKey<Aes256Gcm>>::from(key)), seals: Arc::default() }
    }

    /// The same, which goes on with the count of `before`.
    pub(super) fn after(&self, before: &Self) -> Self {
        Self { cipher: self.cipher.clone(), seals: Arc::clone(&before.seals) }
    }

    pub(super) fn seals(&self) -> u64 {
        self.seals.load(Ordering::Relaxed)
    }

    /// Counts one more, and says so when there have been many: exactly one call sees the number go by.
    fn count(&self, key_id: KeyId) {
        if self.seals.fetch_add(1, Ordering::Relaxed) + 1 == WARN_AT {
            tracing::warn!(
                key = %key_id,
                seals = WARN_AT,
                "this key has sealed half as many cookies as it safely can: rotate the key ring"
            );
        }
    }
}

/// The parts of a sealed value.
pub(super) struct Sealed<'v, 's> {
    pub(super) key_id: KeyId,
    /// `e1.<kid>`, as it was received.
    pub(super) label: &'v [u8],
    pub(super) nonce: &'s [u8],
    pub(super) ciphertext: &'s mut [u8],
}

impl<'s> Sealed<'_, 's> {
    /// The claims, if the key opens them under this cookie's name. They are decrypted where they stand, and not before
    /// the tag was found right, in a comparison that takes the same time wherever tags differ.
    pub(super) fn verify(self, key: &Key, name: &str) -> Result<Claims<'s>, Flaw> {
        let nonce: [u8; NONCE] = self.nonce.try_into().map_err(|_| Flaw::Seal)?;
        let (text, tag) = self.ciphertext.split_last_chunk_mut::<TAG>().ok_or(Flaw::Seal)?;
        let associated_data = associated_data(name, self.label);
        key.sealer()
            .cipher
            .decrypt_inout_detached(&nonce.into(), &associated_data, (&mut *text).into(), &(*tag).into())
            .map_err(|_| Flaw::Seal)?;
        Claims::read(text).map_err(|error| Flaw::Claims(error.to_string()))
    }
}

/// The value that carries `claims`, whose memory is used for the ciphertext.
pub(super) fn seal(mut claims: Zeroizing<Vec<u8>>, name: &str, key: &Key, random: &dyn Random) -> String {
    let mut nonce = [0; NONCE];
    random.nonce(&mut nonce);
    let mut value = format!("{VERSION}.{}", key.id());
    let associated_data = associated_data(name, value.as_bytes());
    let sealer = key.sealer();
    let tag = sealer
        .cipher
        .encrypt_inout_detached(&nonce.into(), &associated_data, claims.as_mut_slice().into())
        .expect("GCM seals 64 GiB, and no claims are as long");
    sealer.count(key.id());
    claims.extend_from_slice(&tag);
    value.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(nonce, &mut value);
    value.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(claims.as_slice(), &mut value);
    value
}

/// No cookie's name holds a zero byte, so that name and label cannot run into each other.
fn associated_data(name: &str, label: &[u8]) -> Vec<u8> {
    [&b"guestpass cookie\0"[..], name.as_bytes(), b"\0", label].concat()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::*;
    use crate::random::SystemRandom;
    use crate::secret::SecretBytes;

    #[test]
    fn half_of_what_a_key_may_seal_is_said_once() {
        let key = Key::new(KeyId::parse(b"k1").unwrap(), &SecretBytes::new(vec![7; 32]));
        key.sealer().seals.store(WARN_AT - 2, Ordering::Relaxed);
        let mut file = tempfile::tempfile().unwrap();
        let writer = Arc::new(file.try_clone().unwrap());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        let mut said_after = |key: &Key| {
            seal(Zeroizing::new(b"{}".to_vec()), "s", key, &SystemRandom);
            let mut said = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut said).unwrap();
            said.matches("rotate the key ring").count()
        };
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(said_after(&key), 0, "one short of it");
            assert_eq!(said_after(&key.clone()), 1, "a copy of a key counts with it");
            assert_eq!(said_after(&key), 1, "and once is enough");
        });
        assert_eq!(key.seals(), WARN_AT + 1);
    }

    #[test]
    fn no_two_seals_are_alike() {
        let key = Key::new(KeyId::parse(b"k1").unwrap(), &SecretBytes::new(vec![7; 32]));
        let seal = || seal(Zeroizing::new(b"{}".to_vec()), "s", &key, &SystemRandom);
        let nonces: std::collections::BTreeSet<_> =
            (0..1000).map(|_| seal().split('.').nth(2).unwrap().to_owned()).collect();
        assert_eq!(nonces.len(), 1000);
        assert!(nonces.iter().all(|nonce| nonce.len() == 16), "12 bytes each");
    }
}
