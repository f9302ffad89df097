//! One key: its name, and what is derived from its secret. Which keys are in use is [`super::ring`]'s business.

use std::fmt;
use std::sync::Arc;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::SecretBytes;

use super::sealed::Sealer;

/// The fewest bytes that a secret may have: as many as the key that is derived from it (RFC 2104, section 3, advises
/// against keys shorter than the hash's output).
pub const SHORTEST_SECRET: usize = 32;

/// The name of a key, as it stands in each cookie: 1 to 16 of `[A-Za-z0-9_-]`. Not secret.
///
/// ```
/// use guestpass::cookie::{Key, KeyId};
/// # use guestpass::secret::SecretBytes;
/// # let secret = SecretBytes::new(vec![7; 32]);
///
/// let id = KeyId::parse(b"k202611-7f3a9c").ok_or("no id of a key")?;
/// assert_eq!(Key::new(id, &secret).id(), id);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl KeyId {
    /// Long enough for a date and a number, short enough to be a copy instead of an allocation.
    const LONGEST: usize = 16;

    /// Reads one; `None` when it has not the form of one.
    ///
    /// ```
    /// use guestpass::cookie::KeyId;
    ///
    /// assert!(KeyId::parse(b"autumn-2026").is_some());
    /// assert_eq!(KeyId::parse(b"autumn 2026"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if text.is_empty() || text.len() > Self::LONGEST || !text.iter().all(legal) {
            return None;
        }
        let mut bytes = [0; Self::LONGEST];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    /// The id as text.
    ///
    /// ```
    /// use guestpass::cookie::KeyId;
    ///
    /// assert_eq!(KeyId::parse(b"autumn-2026").unwrap().as_str(), "autumn-2026");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("parse lets ASCII pass only")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A secret that could be guessed.
///
/// ```
/// use guestpass::cookie::{Key, ShortSecret};
/// use guestpass::secret::SecretBytes;
///
/// let key = Key::from_secret(&SecretBytes::new(b"password".to_vec()));
/// assert_eq!(key.unwrap_err(), ShortSecret { length: 8 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret has {length} bytes, and {SHORTEST_SECRET} or more are needed: `openssl rand -base64 32` makes a good one"
)]
pub struct ShortSecret {
    /// How many it has.
    pub length: usize,
}

/// One key, ready to sign, to seal, and to read what it has signed or sealed.
///
/// ```
/// use guestpass::cookie::Key;
/// use guestpass::secret::SecretBytes;
///
/// // As in `HMAC_SECRET=$(openssl rand -base64 32)`, the same on every replica.
/// let secret = "7wk0m3xTnTBSnTk0h1VvTqGh7VCGQ0bJ8wXmFhKpmhY=";
/// let key = Key::from_secret(&SecretBytes::new(secret.into()))?;
/// assert_eq!(key.id().as_str().len(), 12);
/// assert!(Key::from_secret(&SecretBytes::new(b"password".to_vec())).is_err());
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    /// HMAC with its key already absorbed: a copy of this state costs less than the two blocks of SHA-256 that every
    /// request would spend on the key again.
    keyed: Hmac<Sha256>,
    /// The same for the audit trail's key.
    audit: Hmac<Sha256>,
    /// Shared by a key's copies, so that all of them count their seals together.
    sealer: Arc<Sealer>,
}

impl Key {
    /// Derives the signing key, the sealing key and the audit trail's from the secret of a ring entry, so that one secret
    /// never serves two purposes (RFC 5869, section 3.2: `info` binds the output to its use).
    ///
    /// ```
    /// use guestpass::cookie::{Key, KeyId};
    /// # use guestpass::secret::SecretBytes;
    /// # let secret = SecretBytes::new(vec![7; 32]);
    ///
    /// // From a vault that has names for its secrets.
    /// let key = Key::new(KeyId::parse(b"autumn-2026").unwrap(), &secret);
    /// assert_eq!(format!("{key:?}"), "Key(autumn-2026, …)");
    /// ```
    #[must_use]
    pub fn new(id: KeyId, secret: &SecretBytes) -> Self {
        let hmac =
            |info| Hmac::new_from_slice(derive(secret, info).as_slice()).expect("HMAC takes a key of any length");
        let sealer = Arc::new(Sealer::new(&derive(secret, b"guestpass v1 seal")));
        Self { id, keyed: hmac(b"guestpass v1 sign"), audit: hmac(b"guestpass v1 audit"), sealer }
    }

    /// The key of a secret by itself, as guestpass makes it of `HMAC_SECRET`. Its id depends on the secret, so that a
    /// changed secret makes old cookies Outdated instead of Forged.
    ///
    /// ```
    /// use guestpass::cookie::Key;
    /// use guestpass::secret::SecretBytes;
    ///
    /// let secret = std::env::var("HMAC_SECRET").unwrap_or("of an example, and so no secret at all".to_owned());
    /// let key = Key::from_secret(&SecretBytes::new(secret.into_bytes()))?;
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the secret is shorter than [`SHORTEST_SECRET`].
    pub fn from_secret(secret: &SecretBytes) -> Result<Self, ShortSecret> {
        match secret.expose().len() {
            length if length < SHORTEST_SECRET => Err(ShortSecret { length }),
            _ => Ok(Self::new(secret_id(secret), secret)),
        }
    }

    /// Its name.
    ///
    /// ```
    /// use guestpass::cookie::Key;
    /// use guestpass::secret::SecretBytes;
    ///
    /// // Replicas with the same secret have the same key.
    /// let key = || Key::from_secret(&SecretBytes::new(vec![7; 32]));
    /// assert_eq!(key()?.id(), key()?.id());
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// HMAC-SHA256 over `parts`, one behind the other, under the key that is for the audit trail alone.
    #[doc(hidden)]
    #[must_use]
    pub fn audit_tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.audit.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    /// A fresh authenticator under this key.
    pub(super) fn authenticator(&self) -> impl Mac + use<> {
        self.keyed.clone()
    }

    /// What seals under this key.
    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Goes on with the counts that `before`, the same key read earlier, has.
    pub(super) fn counting_on(&mut self, before: &Self) {
        self.sealer = Arc::new(self.sealer.after(&before.sealer));
    }

    /// How many cookies this process has sealed with it since it first read the key.
    ///
    /// ```
    /// use guestpass::cookie::Key;
    ///
    /// // NIST SP 800-38D, section 8.3: no more than 2^32 with random nonces, so a change is due long before.
    /// fn is_worn_out(key: &Key) -> bool {
    ///     key.seals() > 1 << 31
    /// }
    /// ```
    #[must_use]
    pub fn seals(&self) -> u64 {
        self.sealer.seals()
    }
}

/// `env-` and 8 hexadecimal digits.
fn secret_id(secret: &SecretBytes) -> KeyId {
    let digest = Sha256::new().chain_update(b"guestpass kid").chain_update(secret.expose()).finalize();
    let id = format!("env-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    KeyId::parse(id.as_bytes()).expect("twelve letters, digits and a hyphen")
}

fn derive(secret: &SecretBytes, info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret.expose())
        .expand(info, key.as_mut_slice())
        .expect("32 bytes are less than the 8160 that HKDF-SHA256 can give");
    key
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, …)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_have_one_to_sixteen_plain_characters() {
        assert_eq!(KeyId::parse(b"k2026-A_").unwrap().as_str(), "k2026-A_");
        assert!(KeyId::parse(b"0123456789abcdef").is_some());
        for text in ["", "0123456789abcdefg", "a.b", "a b", "ä", "a\0"] {
            assert_eq!(KeyId::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_key_never_shows_its_material() {
        assert_eq!(format!("{:?}", Key::new(KeyId::parse(b"a").unwrap(), &SecretBytes::new(vec![7; 32]))), "Key(a, …)");
    }
}
