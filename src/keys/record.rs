//! The life of the keys: staged, signing, verifying, retired. Pure: what is decided here is read and written by
//! [`super::file`].
//!
//! A staged key takes over by the clock alone. The record then says so only when it is next written: until then every
//! process that reads it comes to the same answer by itself.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::cookie::{Key, KeyId, KeyRing, RepeatedId};
use crate::random::Random;
use crate::secret::SecretBytes;

use super::error::Error;

/// The longest that a session can last, and with it a cookie under a key: a day, as Genesys allows.
pub const LONGEST_SESSION: Duration = Duration::from_secs(86_400);

/// How long a key may still be signed with after another took over: a replica reads the ring late, or its clock is slow.
const LATECOMERS: Duration = Duration::from_secs(600);

/// As many bytes as the key that is derived from it has.
const SECRET_LENGTH: usize = 32;

/// One key of a ring file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub(super) id: KeyId,
    pub(super) secret: SecretBytes,
    pub(super) created: Timestamp,
    pub(super) role: Role,
    /// When it ceased to sign, where that is known.
    pub(super) signed_until: Option<Timestamp>,
}

/// What the file says that a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Signing,
    Staged { signs_from: Timestamp },
    Verifying,
    Retired,
}

/// What a key is for, as an operator needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// New cookies are signed with it.
    Signing,
    /// Its cookies are accepted, and it is the next to sign.
    Staged {
        /// From when on.
        signs_from: Timestamp,
    },
    /// Its cookies are accepted.
    Verifying {
        /// From when on nobody can have a cookie under it; `None` where the ring does not say when it signed last.
        safe_from: Option<Timestamp>,
    },
    /// Kept as a record.
    Retired,
}

impl KeyRecord {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// When it was made.
    #[must_use]
    pub const fn created(&self) -> Timestamp {
        self.created
    }

    /// What it is for, as the record stands: [`RingRecord::at`] brings that up to the moment.
    #[must_use]
    pub fn state(&self) -> State {
        match self.role {
            Role::Signing => State::Signing,
            Role::Staged { signs_from } => State::Staged { signs_from },
            Role::Verifying => State::Verifying { safe_from: self.safe_from() },
            Role::Retired => State::Retired,
        }
    }

    fn safe_from(&self) -> Option<Timestamp> {
        self.signed_until.map(|until| until.plus(LONGEST_SESSION + LATECOMERS))
    }

    pub(super) fn key(&self) -> Key {
        Key::new(self.id, &self.secret)
    }
}

/// Everything that a ring file says. Exactly one key has [`Role::Signing`], at most one is staged, and no two have the
/// same id.
///
/// ```
/// use guestpass::clock::{Clock, SystemClock};
/// use guestpass::keys::{self, RingRecord, Source};
/// use guestpass::random::SystemRandom;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("keys.toml");
/// // As `guestpass keys new` does.
/// keys::create(&path, "the installation", &RingRecord::generate(&SystemRandom, SystemClock::new().now()))?;
/// assert_eq!(keys::load(&Source::File(path))?.keys().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingRecord {
    keys: Vec<KeyRecord>,
}

impl RingRecord {
    /// A ring with one key, which signs.
    ///
    /// ```
    /// use guestpass::clock::{Clock, SystemClock};
    /// use guestpass::keys::RingRecord;
    /// use guestpass::random::SystemRandom;
    ///
    /// let ring = RingRecord::generate(&SystemRandom, SystemClock::new().now());
    /// assert!(!format!("{ring:?}").contains("secret: \""));
    /// ```
    #[must_use]
    pub fn generate(random: &dyn Random, now: Timestamp) -> Self {
        let mut ring = Self { keys: Vec::new() };
        ring.add(Role::Signing, random, now);
        ring
    }
}

/// What the commands and the keeper do with it.
#[doc(hidden)]
impl RingRecord {
    /// A ring of the secrets that a configuration has had so far, under the ids that they have there: it goes on verifying
    /// what they have signed, and whoever has not changed over yet verifies what it signs.
    ///
    /// # Errors
    ///
    /// When a secret is too short, or two have the same id.
    pub fn from_secrets(current: &SecretBytes, previous: Option<&SecretBytes>, now: Timestamp) -> Result<Self, Error> {
        let ring = super::from_secrets(current, previous)?;
        let signing = ring.signing(now).id();
        let before = ring.keys().map(Key::id).find(|id| *id != signing);
        // When the one before signed last is not known here, but it does not any more.
        let before = before.zip(previous).map(|(id, secret)| KeyRecord {
            id,
            secret: secret.clone(),
            created: now,
            role: Role::Verifying,
            signed_until: Some(now),
        });
        let signing =
            KeyRecord { id: signing, secret: current.clone(), created: now, role: Role::Signing, signed_until: None };
        Ok(Self { keys: before.into_iter().chain([signing]).collect() })
    }

    /// The caller has seen that the keys are as the type promises.
    pub(super) const fn from_keys(keys: Vec<KeyRecord>) -> Self {
        Self { keys }
    }

    /// All keys, the oldest entry first.
    pub fn keys(&self) -> impl Iterator<Item = &KeyRecord> {
        self.keys.iter()
    }

    /// The ring as it stands at `now`: a staged key whose moment has come is the one that signs.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let mut ring = self.clone();
        ring.settle(now);
        ring
    }

    /// What cookies are signed and verified with.
    #[must_use]
    pub fn ring(&self) -> KeyRing {
        let with = |role: Role| self.keys().filter(move |key| key.role == role).map(KeyRecord::key);
        let signing = self.signing().key();
        let ring = KeyRing::new(signing, with(Role::Verifying).collect());
        let ring = ring.and_then(|ring| match self.staged() {
            Some((next, signs_from)) => ring.followed_by(next.key(), signs_from),
            None => Ok(ring),
        });
        ring.unwrap_or_else(|RepeatedId(id)| unreachable!("a record has the key {id} once"))
    }

    /// When the youngest key that signs, or will, is older than `rotate_every`.
    #[must_use]
    pub fn rotation_due(&self, rotate_every: Duration) -> Timestamp {
        self.staged().map_or_else(|| self.signing(), |(next, _)| next).created.plus(rotate_every)
    }

    /// Adds a key that verifies at once and signs after `stage_for`, so that every replica has read it before one signs
    /// with it. Without any wait it signs at once.
    ///
    /// # Errors
    ///
    /// When a key is staged already.
    pub fn rotate(&mut self, stage_for: Duration, random: &dyn Random, now: Timestamp) -> Result<KeyId, Error> {
        self.settle(now);
        if let Some((next, signs_from)) = self.staged() {
            return Err(Error::StagedAlready { id: next.id, signs_from });
        }
        self.date(now);
        let id = self.add(Role::Staged { signs_from: now.plus(stage_for) }, random, now);
        self.settle(now);
        Ok(id)
    }

    /// Lets the staged key sign at once.
    ///
    /// # Errors
    ///
    /// When no key is staged.
    pub fn promote(&mut self, now: Timestamp) -> Result<KeyId, Error> {
        self.settle(now);
        let signing = self.signing().id;
        let staged = self.keys.iter_mut().find(|key| matches!(key.role, Role::Staged { .. }));
        let next = staged.ok_or(Error::NothingStaged { signing })?;
        next.role = Role::Staged { signs_from: now };
        let id = next.id;
        self.date(now);
        self.settle(now);
        Ok(id)
    }

    /// Keeps a key as a record only: its cookies are not accepted any more.
    ///
    /// # Errors
    ///
    /// When there is no such key or it signs, and unless `force`d while visitors may have cookies under it.
    pub fn retire(&mut self, id: &str, force: bool, now: Timestamp) -> Result<KeyId, Error> {
        self.settle(now);
        let key = self.keys.iter_mut().find(|key| key.id.as_str() == id);
        let key = key.ok_or_else(|| Error::UnknownKey(id.to_owned()))?;
        match (key.role, key.safe_from()) {
            (Role::Signing, _) => return Err(Error::StillSigns(key.id)),
            (Role::Retired, _) => return Err(Error::RetiredAlready(key.id)),
            _ if force => {}
            (Role::Staged { .. } | Role::Verifying, Some(safe_from)) if now < safe_from => {
                return Err(Error::TooEarly { id: key.id, safe_from });
            }
            (Role::Verifying, None) => return Err(Error::LastSignedUnknown(key.id)),
            // One that is staged and was never anything else has signed nothing.
            (Role::Staged { .. } | Role::Verifying, _) => {}
        }
        key.role = Role::Retired;
        Ok(key.id)
    }

    fn signing(&self) -> &KeyRecord {
        self.keys().find(|key| key.role == Role::Signing).expect("exactly one key has this role")
    }

    fn staged(&self) -> Option<(&KeyRecord, Timestamp)> {
        self.keys().find_map(|key| match key.role {
            Role::Staged { signs_from } => Some((key, signs_from)),
            Role::Signing | Role::Verifying | Role::Retired => None,
        })
    }

    fn settle(&mut self, now: Timestamp) {
        let Some(signs_from) = self.staged().map(|(_, from)| from).filter(|from| *from <= now) else { return };
        for key in &mut self.keys {
            match key.role {
                Role::Signing => (key.role, key.signed_until) = (Role::Verifying, Some(signs_from)),
                Role::Staged { .. } => (key.role, key.signed_until) = (Role::Signing, None),
                Role::Verifying | Role::Retired => {}
            }
        }
    }

    /// What was entered by hand may not say when it signed last. It does not sign now, and that is worth writing down.
    fn date(&mut self, now: Timestamp) {
        for key in self.keys.iter_mut().filter(|key| key.role == Role::Verifying) {
            key.signed_until.get_or_insert(now);
        }
    }

    fn add(&mut self, role: Role, random: &dyn Random, now: Timestamp) -> KeyId {
        let mut secret = vec![0; SECRET_LENGTH];
        random.fill(&mut secret);
        let id = self.free_id(random, now);
        let secret = SecretBytes::new(secret);
        // Whole seconds are what a person would write, and nothing here is finer.
        let created = Timestamp::from_seconds(now.seconds());
        self.keys.push(KeyRecord { id, secret, created, role, signed_until: None });
        id
    }

    /// `k202611-7f3a9c`: the month, and six digits of chance. Counting on from the last key instead would give a ring
    /// that is made anew the ids of the lost one, and that one's cookies would read as forged instead of outdated.
    fn free_id(&self, random: &dyn Random, now: Timestamp) -> KeyId {
        let date = now.to_string();
        let mut bytes = [0; 4];
        random.fill(&mut bytes);
        let chance = u32::from_le_bytes(bytes);
        let candidates = (0..=u32::MAX).map(|step| {
            let id = format!("k{}{}-{:06x}", &date[..4], &date[5..7], chance.wrapping_add(step) & 0x00ff_ffff);
            KeyId::parse(id.as_bytes()).expect("fourteen letters, digits and a hyphen")
        });
        let is_free = |id: &KeyId| self.keys().all(|key| key.id != *id);
        candidates.into_iter().find(is_free).expect("no file has sixteen million keys")
    }
}

#[cfg(test)]
mod tests;
