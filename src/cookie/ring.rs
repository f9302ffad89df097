//! The keys in memory: which one signs, and which ones are still accepted. Where they come from is
//! [`crate::keys`]' business.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::SecretBytes;

use super::sealed::Sealer;

/// The fewest bytes that a secret may have: as many as the key that is derived from it (RFC 2104, section 3, advises
/// against keys shorter than the hash's output).
pub const SHORTEST_SECRET: usize = 32;

/// The name of a key, as it stands in each cookie: 1 to 16 of `[A-Za-z0-9_-]`. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl KeyId {
    /// Long enough for a date and a number, short enough to be a copy instead of an allocation.
    const LONGEST: usize = 16;

    /// Reads one; `None` when it has not the form of one.
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
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// HMAC-SHA256 over `parts`, one behind the other, under the key that is for the audit trail alone.
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

    /// How many cookies this process has sealed with it since it first read the key.
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

/// The keys that are in use: at each moment exactly one signs, and each verifies.
///
/// ```
/// use guestpass::cookie::{Key, KeyRing, SharedRing};
/// # use guestpass::secret::SecretBytes;
/// # let [secret, old_secret] = [1, 2].map(|fill| SecretBytes::new(vec![fill; 32]));
///
/// let (key, old) = (Key::from_secret(&secret)?, Key::from_secret(&old_secret)?);
/// // Given to a gate, of which it goes on being the ring when it is replaced.
/// let shared = SharedRing::from(KeyRing::new(key.clone(), vec![old])?);
/// shared.replace(KeyRing::new(key, Vec::new())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyRing {
    signing: Key,
    next: Option<Next>,
    verifying: Vec<Key>,
}

/// The key that takes over, and when.
#[derive(Clone, Debug)]
struct Next {
    key: Key,
    signs_from: Timestamp,
}

/// Two keys of a ring have the same id, so that a cookie would not say which one signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two keys have the id {0}")]
pub struct RepeatedId(pub KeyId);

impl KeyRing {
    /// A ring that signs with `signing` and accepts what any of them has signed.
    ///
    /// # Errors
    ///
    /// When two keys share an id.
    pub fn new(signing: Key, verifying: Vec<Key>) -> Result<Self, RepeatedId> {
        Self { signing, next: None, verifying }.with_distinct_ids()
    }

    /// The same ring, in which `next` verifies at once and takes the signing over at `signs_from`. It does so by the
    /// clock alone, so that every replica that has read the ring switches in the same moment.
    ///
    /// # Errors
    ///
    /// When a key of the ring has the same id.
    pub fn followed_by(self, next: Key, signs_from: Timestamp) -> Result<Self, RepeatedId> {
        Self { next: Some(Next { key: next, signs_from }), ..self }.with_distinct_ids()
    }

    /// The same ring, whose keys go on with the counts that `before` has of them: a ring that is read again must not
    /// forget how often its keys have sealed.
    fn after(mut self, before: &Self) -> Self {
        let next = self.next.as_mut().map(|next| &mut next.key);
        for key in std::iter::once(&mut self.signing).chain(next).chain(&mut self.verifying) {
            if let Some(before) = before.find(key.id) {
                key.sealer = Arc::new(key.sealer.after(&before.sealer));
            }
        }
        self
    }

    fn with_distinct_ids(self) -> Result<Self, RepeatedId> {
        let ids: Vec<KeyId> = self.keys().map(Key::id).collect();
        match ids.iter().enumerate().find(|(place, id)| ids[..*place].contains(id)) {
            Some((_, id)) => Err(RepeatedId(*id)),
            None => Ok(self),
        }
    }

    /// The key that signs at `now`.
    #[must_use]
    pub fn signing(&self, now: Timestamp) -> &Key {
        match &self.next {
            Some(next) if next.signs_from <= now => &next.key,
            _ => &self.signing,
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.signing).chain(self.next.as_ref().map(|next| &next.key)).chain(&self.verifying)
    }

    /// The key of that name.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys().find(|key| key.id == id)
    }
}

/// The one ring of a process, which may be exchanged while requests are read: they never wait for it, and each sees a
/// whole ring, the old one or the new one.
#[derive(Clone, Debug)]
pub struct SharedRing(Arc<ArcSwap<KeyRing>>);

impl SharedRing {
    /// From now on every holder of this ring reads and signs with `ring`.
    pub fn replace(&self, ring: KeyRing) {
        let ring = ring.after(&self.0.load());
        self.0.store(Arc::new(ring));
    }

    /// The ring of this moment, to be held for one reading and no longer.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<KeyRing>> {
        self.0.load()
    }
}

impl From<Key> for KeyRing {
    /// A ring of one.
    fn from(key: Key) -> Self {
        Self { signing: key, next: None, verifying: Vec::new() }
    }
}

impl From<Key> for SharedRing {
    fn from(key: Key) -> Self {
        KeyRing::from(key).into()
    }
}

impl From<KeyRing> for SharedRing {
    fn from(ring: KeyRing) -> Self {
        Arc::new(ring).into()
    }
}

impl From<Arc<KeyRing>> for SharedRing {
    fn from(ring: Arc<KeyRing>) -> Self {
        Self(Arc::new(ArcSwap::new(ring)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::sealed;
    use crate::random::SystemRandom;

    fn key(id: &str) -> Key {
        Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(vec![7; 32]))
    }

    fn moment(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn key_ids_have_one_to_sixteen_plain_characters() {
        assert_eq!(KeyId::parse(b"k2026-A_").unwrap().as_str(), "k2026-A_");
        assert!(KeyId::parse(b"0123456789abcdef").is_some());
        for text in ["", "0123456789abcdefg", "a.b", "a b", "ä", "a\0"] {
            assert_eq!(KeyId::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_ring_names_each_key_once() {
        assert_eq!(KeyRing::new(key("a"), vec![key("b"), key("a")]).unwrap_err().0, key("a").id());
        assert_eq!(KeyRing::new(key("a"), vec![key("b"), key("b")]).unwrap_err().0, key("b").id());
        let ring = KeyRing::new(key("a"), vec![key("b")]).unwrap();
        assert!(ring.find(key("b").id()).is_some() && ring.find(key("c").id()).is_none());
        for taken in ["a", "b"] {
            assert_eq!(ring.clone().followed_by(key(taken), moment(5)).unwrap_err().0, key(taken).id());
        }
    }

    #[test]
    fn the_next_key_verifies_at_once_and_signs_from_its_moment_on() {
        let ring = KeyRing::new(key("a"), vec![]).unwrap().followed_by(key("b"), moment(5)).unwrap();
        assert!(ring.find(key("a").id()).is_some() && ring.find(key("b").id()).is_some());
        let signing = |seconds| ring.signing(moment(seconds)).id().to_string();
        assert_eq!([signing(0), signing(4), signing(5), signing(6)], ["a", "a", "b", "b"]);
    }

    #[test]
    fn a_shared_ring_is_exchanged_for_every_holder() {
        let shared = SharedRing::from(KeyRing::new(key("a"), vec![]).unwrap());
        let holder = shared.clone();
        shared.replace(KeyRing::new(key("b"), vec![key("a")]).unwrap());
        assert_eq!(holder.load().signing(moment(0)).id(), key("b").id());
    }

    #[test]
    fn a_ring_that_is_read_again_goes_on_counting_seals() {
        let seal = |ring: &KeyRing, id: &str| {
            let key = ring.find(key(id).id()).unwrap();
            sealed::seal(Zeroizing::new(b"{}".to_vec()), "s", key, &SystemRandom);
        };
        let shared = SharedRing::from(KeyRing::new(key("a"), vec![]).unwrap());
        let old = shared.load();
        seal(&old, "a");
        shared.replace(KeyRing::new(key("b"), vec![key("a")]).unwrap().followed_by(key("c"), moment(5)).unwrap());
        let new = shared.load();
        for id in ["a", "b", "c"] {
            seal(&new, id);
        }
        // Somebody may still hold the ring from before.
        seal(&old, "a");
        let counts =
            |ring: &KeyRing| -> Vec<_> { ring.keys().map(|key| (key.id().to_string(), key.seals())).collect() };
        assert_eq!(counts(&new), [("b", 1), ("c", 1), ("a", 3)].map(|(id, seals)| (id.to_owned(), seals)));
    }

    #[test]
    fn a_key_never_shows_its_material() {
        assert_eq!(format!("{:?}", key("a")), "Key(a, …)");
    }
}
