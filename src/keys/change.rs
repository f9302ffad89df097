//! What has become different about the keys, by whatever that was: their file, the clock, another configuration.

use crate::clock::Timestamp;
use crate::cookie::{Key, KeyId, KeyRing};

/// What has become different about a ring.
///
/// ```
/// use guestpass::event::Event;
/// use guestpass::keys::Change;
///
/// fn event(change: Change) -> Event<'static> {
///     match change {
///         Change::Rotated { from, to } => Event::KeyRotated { from, to },
///         Change::Retired(key_id) => Event::KeyRetired { key_id },
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another key signs.
    Rotated {
        /// The one that did.
        from: KeyId,
        /// The one that does.
        to: KeyId,
    },
    /// What one key has signed is accepted no more.
    Retired(KeyId),
}

/// The keys as they were when somebody last looked.
///
/// ```
/// use guestpass::clock::{Clock, SystemClock};
/// use guestpass::cookie::SharedRing;
/// use guestpass::keys::Known;
///
/// fn begin(ring: &SharedRing) -> Known {
///     Known::of(&ring.load(), SystemClock::new().now())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Known {
    signing: KeyId,
    accepted: Vec<KeyId>,
}

impl Known {
    /// Those of now.
    ///
    /// ```
    /// # use guestpass::clock::{Clock, SystemClock};
    /// # use guestpass::cookie::{Key, KeyRing};
    /// # use guestpass::secret::SecretBytes;
    /// use guestpass::keys::Known;
    ///
    /// # let secret = "7wk0m3xTnTBSnTk0h1VvTqGh7VCGQ0bJ8wXmFhKpmhY=".to_owned();
    /// # let key = Key::from_secret(&SecretBytes::new(secret.into_bytes()))?;
    /// # let (ring, now) = (KeyRing::from(key), SystemClock::new().now());
    /// let mut known = Known::of(&ring, now);
    /// assert_eq!(known.changes(&ring, now), []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of(ring: &KeyRing, now: Timestamp) -> Self {
        Self { signing: ring.signing(now).id(), accepted: ring.keys().map(Key::id).collect() }
    }

    /// What is different since the last look. A staged key takes over by the clock alone, so one looks again and again,
    /// also where nothing was read.
    ///
    /// ```
    /// # use guestpass::clock::Timestamp;
    /// # use guestpass::cookie::KeyRing;
    /// use guestpass::keys::{Change, Known};
    ///
    /// fn log(known: &mut Known, ring: &KeyRing, now: Timestamp) {
    ///     for change in known.changes(ring, now) {
    ///         match change {
    ///             Change::Rotated { from, to } => println!("{to} signs in the place of {from}"),
    ///             Change::Retired(id) => println!("{id} is accepted no more"),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn changes(&mut self, ring: &KeyRing, now: Timestamp) -> Vec<Change> {
        let before = std::mem::replace(self, Self::of(ring, now));
        let (from, to) = (before.signing, self.signing);
        let rotated = (from != to).then_some(Change::Rotated { from, to });
        let retired = before.accepted.into_iter().filter(|id| !self.accepted.contains(id)).map(Change::Retired);
        rotated.into_iter().chain(retired).collect()
    }
}
