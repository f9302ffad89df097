//! The keys in memory: which one signs, and which ones are still accepted. Where they come from is
//! [`crate::keys`]' business.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::clock::Timestamp;

use super::key::{Key, KeyId};

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
///
/// ```
/// use guestpass::cookie::{Key, KeyRing, RepeatedId};
/// # use guestpass::secret::SecretBytes;
/// # let [secret, old_secret] = [1, 2].map(|fill| SecretBytes::new(vec![fill; 32]));
///
/// let key = Key::from_secret(&secret)?;
/// let ring = KeyRing::new(key.clone(), vec![key.clone()]);
/// assert_eq!(ring.unwrap_err(), RepeatedId(key.id()));
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two keys have the id {0}")]
pub struct RepeatedId(pub KeyId);

impl KeyRing {
    /// A ring that signs with `signing` and accepts what any of them has signed.
    ///
    /// ```
    /// use guestpass::cookie::{Key, KeyRing};
    /// # use guestpass::secret::SecretBytes;
    /// # let [secret, old_secret] = [1, 2].map(|fill| SecretBytes::new(vec![fill; 32]));
    ///
    /// // The secret was changed: cookies of the old one are still good.
    /// let ring = KeyRing::new(Key::from_secret(&secret)?, vec![Key::from_secret(&old_secret)?])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// ```
    /// use guestpass::clock::Timestamp;
    /// use guestpass::cookie::{Key, KeyRing};
    /// # use guestpass::secret::SecretBytes;
    /// # let [secret, old_secret] = [1, 2].map(|fill| SecretBytes::new(vec![fill; 32]));
    ///
    /// let (key, next) = (Key::from_secret(&old_secret)?, Key::from_secret(&secret)?);
    /// let midnight = Timestamp::from_rfc3339("2026-11-23T00:00:00Z").ok_or("no moment")?;
    /// let ring = KeyRing::from(key).followed_by(next.clone(), midnight)?;
    /// assert_eq!(ring.signing(midnight).id(), next.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            if let Some(before) = before.find(key.id()) {
                key.counting_on(before);
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
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    /// use guestpass::cookie::{Key, KeyRing};
    /// # use guestpass::secret::SecretBytes;
    ///
    /// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
    /// let ring = KeyRing::from(key.clone());
    /// assert_eq!(ring.signing(SystemClock::new().now()).id(), key.id());
    /// # Ok::<(), guestpass::cookie::ShortSecret>(())
    /// ```
    #[must_use]
    pub fn signing(&self, now: Timestamp) -> &Key {
        match &self.next {
            Some(next) if next.signs_from <= now => &next.key,
            _ => &self.signing,
        }
    }

    /// All keys.
    ///
    /// ```
    /// use guestpass::cookie::KeyRing;
    ///
    /// fn ids(ring: &KeyRing) -> Vec<String> {
    ///     ring.keys().map(|key| key.id().to_string()).collect()
    /// }
    /// ```
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.signing).chain(self.next.as_ref().map(|next| &next.key)).chain(&self.verifying)
    }

    /// The key of that name.
    ///
    /// ```
    /// use guestpass::cookie::{KeyId, KeyRing};
    ///
    /// fn is_still_accepted(ring: &KeyRing, id: KeyId) -> bool {
    ///     ring.find(id).is_some()
    /// }
    /// ```
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.keys().find(|key| key.id() == id)
    }
}

/// The one ring of a process, which may be exchanged while requests are read: they never wait for it, and each sees a
/// whole ring, the old one or the new one.
///
/// ```
/// use guestpass::cookie::{Key, SharedRing};
/// use guestpass::gate::GateLayer;
/// use guestpass::session::MadeUp;
/// # use guestpass::secret::SecretBytes;
/// # let [secret, old_secret] = [1, 2].map(|fill| SecretBytes::new(vec![fill; 32]));
///
/// let ring = SharedRing::from(Key::from_secret(&old_secret)?);
/// let gate = GateLayer::new(ring.clone(), MadeUp::default());
/// // Some day, while visitors come and go. Those of before are strangers then.
/// ring.replace(Key::from_secret(&secret)?.into());
/// # Ok::<(), guestpass::cookie::ShortSecret>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedRing(Arc<ArcSwap<KeyRing>>);

impl SharedRing {
    /// From now on every holder of this ring reads and signs with `ring`.
    ///
    /// ```
    /// use guestpass::cookie::{Key, KeyRing, SharedRing};
    /// # use guestpass::secret::SecretBytes;
    /// # let [secret, old_secret] = [1, 2].map(|fill| SecretBytes::new(vec![fill; 32]));
    ///
    /// let (key, old) = (Key::from_secret(&secret)?, Key::from_secret(&old_secret)?);
    /// let shared = SharedRing::from(old.clone());
    /// // Nobody notices: what the old key has signed is still good.
    /// shared.replace(KeyRing::new(key, vec![old])?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace(&self, ring: KeyRing) {
        let ring = ring.after(&self.0.load());
        self.0.store(Arc::new(ring));
    }

    /// The ring of this moment, to be held for one reading and no longer.
    #[doc(hidden)]
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
    use zeroize::Zeroizing;

    use super::*;
    use crate::cookie::sealed;
    use crate::random::SystemRandom;
    use crate::secret::SecretBytes;

    fn key(id: &str) -> Key {
        Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(vec![7; 32]))
    }

    fn moment(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
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
}
