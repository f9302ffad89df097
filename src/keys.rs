//! Where the key ring comes from: a secret in the configuration, or a ring file, which is also read, changed, watched
//! and rotated here. What is done with a key is [`crate::cookie`]'s business.

mod wire;
mod file;
mod record;
mod keeper;
mod change;
mod error;

pub use self::change::{Change, Known};
pub use self::error::{Error, KeyProblem};
pub use self::file::create;
pub use self::keeper::{Keeper, Looked};
pub use self::record::RingRecord;

#[doc(hidden)]
pub use self::file::{change, may_change, parse, read};
#[doc(hidden)]
pub use self::keeper::SharedRecord;
#[doc(hidden)]
pub use self::record::{KeyRecord, LONGEST_SESSION, State};
#[doc(hidden)]
pub use self::wire::text;

use std::path::PathBuf;
use std::time::Duration;

use crate::cookie::{Key, KeyRing};
use crate::secret::SecretBytes;

/// Where the keys stand.
///
/// ```
/// use std::path::PathBuf;
///
/// use guestpass::keys::Source;
/// use guestpass::secret::SecretBytes;
///
/// # let (new, old) = (SecretBytes::new(vec![1; 32]), SecretBytes::new(vec![2; 32]));
/// // Two secrets while the first is still new, or a file that looks after itself.
/// let by_hand = Source::Secret { current: new, previous: Some(old) };
/// let by_file = Source::File(PathBuf::from("/var/lib/shop/keys.toml"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A ring of one, and perhaps the one before it.
    Secret {
        /// Signs and verifies: 32 bytes or more.
        current: SecretBytes,
        /// Still verifies.
        previous: Option<SecretBytes>,
    },
    /// A ring file.
    File(PathBuf),
}

/// Where the keys stand, and how those of a ring file are rotated.
///
/// ```
/// use std::path::PathBuf;
/// use std::time::Duration;
///
/// use guestpass::keys::{Config, Source};
///
/// // Each month, and the replicas have an hour to read it.
/// let config = Config {
///     source: Source::File(PathBuf::from("/var/lib/shop/keys.toml")),
///     rotate_every: Some(Duration::from_secs(30 * 86_400)),
///     stage_for: Duration::from_secs(3_600),
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where they stand.
    pub source: Source,
    /// How old the signing key of a ring file may become; `None` is as old as it likes.
    pub rotate_every: Option<Duration>,
    /// How long a new key verifies before it signs.
    pub stage_for: Duration,
}

impl Config {
    /// A season: rare enough that each rotation is an event, often enough that somebody remembers how it goes.
    pub const ROTATE_EVERY: Duration = Duration::from_secs(90 * 86_400);

    /// Kubernetes brings a changed secret to every node within some two minutes; this is five times that.
    pub const STAGE_FOR: Duration = Duration::from_secs(600);

    /// How old the signing key becomes before it is replaced by itself, if ever it is: a secret is replaced by whoever
    /// wrote it into the configuration.
    ///
    /// ```
    /// use guestpass::keys::{Config, Source};
    ///
    /// let source = Source::File("keys.toml".into());
    /// let config = Config { source, rotate_every: Some(Config::ROTATE_EVERY), stage_for: Config::STAGE_FOR };
    /// assert_eq!(config.rotates_every(), Some(Config::ROTATE_EVERY));
    /// ```
    #[must_use]
    pub fn rotates_every(&self) -> Option<Duration> {
        self.rotate_every.filter(|_| matches!(self.source, Source::File(_)))
    }
}

/// Reads the keys.
///
/// ```
/// use guestpass::gate::GateLayer;
/// use guestpass::keys::{self, Source};
/// use guestpass::session::MadeUp;
/// # use guestpass::secret::SecretBytes;
///
/// # let current = SecretBytes::new(vec![7; 32]);
/// let ring = keys::load(&Source::Secret { current, previous: None })?;
/// let gate = GateLayer::new(ring, MadeUp::default());
/// # Ok::<(), keys::Error>(())
/// ```
///
/// # Errors
///
/// When there are none that can be used, as [`Error`] says. Never is one made up instead: it would log every visitor
/// out at the next restart and on the second replica.
pub fn load(source: &Source) -> Result<KeyRing, Error> {
    match source {
        Source::Secret { current, previous } => from_secrets(current, previous.as_ref()),
        Source::File(path) => Ok(read(path)?.ring()),
    }
}

/// Every key that there is or was, the retired ones too: for what is no cookie and has been signed long ago.
///
/// # Errors
///
/// As [`load`].
#[doc(hidden)]
pub fn load_all(source: &Source) -> Result<Vec<Key>, Error> {
    match source {
        Source::Secret { current, previous } => Ok(from_secrets(current, previous.as_ref())?.keys().cloned().collect()),
        Source::File(path) => Ok(read(path)?.keys().map(KeyRecord::key).collect()),
    }
}

fn from_secrets(current: &SecretBytes, previous: Option<&SecretBytes>) -> Result<KeyRing, Error> {
    let signing = from_secret("HMAC_SECRET", current)?;
    // The same secret twice is what a rotation looks like before its first half: no reason to stay down.
    let previous = previous.filter(|previous| *previous != current);
    let verifying = previous.map(|secret| from_secret("HMAC_SECRET_PREVIOUS", secret)).transpose()?;
    KeyRing::new(signing, verifying.into_iter().collect()).map_err(|repeated| Error::RepeatedSecret(repeated.0))
}

fn from_secret(name: &'static str, secret: &SecretBytes) -> Result<Key, Error> {
    Key::from_secret(secret).map_err(|short| Error::ShortSecret { name, length: short.length })
}

#[cfg(test)]
mod tests;
