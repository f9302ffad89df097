//! What can go wrong with keys. No message ever quotes a secret.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::cookie::KeyId;

/// Why there is no key ring, or why it was not changed.
///
/// ```
/// use std::path::PathBuf;
///
/// use guestpass::keys::{self, Error, Source};
///
/// let error = keys::load(&Source::File(PathBuf::from("/nowhere/keys.toml"))).unwrap_err();
/// assert!(matches!(error, Error::Read { .. }));
/// assert_eq!(error.to_string(), "the key ring /nowhere/keys.toml cannot be read");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A secret of the configuration that could be guessed.
    #[error("{name} has {length} bytes, and 32 or more are needed: `openssl rand -base64 32` makes a good one")]
    ShortSecret {
        /// The variable that it comes from.
        name: &'static str,
        /// Its length.
        length: usize,
    },
    /// The two secrets of the configuration have the same id, though they differ.
    #[error("HMAC_SECRET and HMAC_SECRET_PREVIOUS share the key id {0}: make another HMAC_SECRET")]
    RepeatedSecret(KeyId),
    /// The ring file cannot be read.
    #[error("the key ring {} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Others than its owner may read or change the ring file.
    #[error("the key ring {0} is open to others than its owner (mode {mode:04o}): `chmod 600 {0}`", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The ring file has not the form of one.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A key of the ring file cannot be used.
    #[error("{}:{line}: key {id:?} {problem}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Where the key begins, from 1.
        line: usize,
        /// What the key calls itself.
        id: String,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// No key of the ring file signs.
    #[error("no key of {} signs: exactly one must have state = \"signing\"", path.display())]
    NothingSigns {
        /// Which file.
        path: PathBuf,
    },
    /// A ring was to be made where a file stands.
    #[error("{} exists already, and a key ring is never overwritten", .0.display())]
    Exists(PathBuf),
    /// This process may read the ring file and not change it.
    #[error("the key ring {} may not be changed from here", path.display())]
    ReadOnly {
        /// Which file.
        path: PathBuf,
        /// What stands against it.
        source: std::io::Error,
    },
    /// Somebody else is changing the ring file.
    #[error("the key ring {} is being changed by {holder}: try again when that has ended", path.display())]
    Locked {
        /// Which file.
        path: PathBuf,
        /// Who holds the lock, as the holder says.
        holder: String,
    },
    /// The ring file could not be replaced, or the new one not be made to outlive a power cut.
    #[error("the key ring {} cannot be written", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The ring has its next key already.
    #[error("{id} is staged already and signs from {signs_from}: promote it or retire it first")]
    StagedAlready {
        /// The next key.
        id: KeyId,
        /// When it takes over.
        signs_from: Timestamp,
    },
    /// There is no next key.
    #[error("no key is staged: {signing} signs, and `keys rotate` stages the next one")]
    NothingStaged {
        /// The key that signs.
        signing: KeyId,
    },
    /// The ring has no key of that name.
    #[error("the ring has no key {0:?}: `keys list` shows those that it has")]
    UnknownKey(String),
    /// The key that signs cannot be retired, and so the last one cannot be either.
    #[error("{0} signs, and a ring must have a key that does: rotate first")]
    StillSigns(KeyId),
    /// There is nothing left to retire.
    #[error("{0} is retired already")]
    RetiredAlready(KeyId),
    /// Visitors may still have cookies under the key.
    #[error(
        "visitors may have cookies under {id} until {safe_from}: retire it then, or with --force, which logs them out"
    )]
    TooEarly {
        /// Which key.
        id: KeyId,
        /// When all sessions under it are over.
        safe_from: Timestamp,
    },
    /// The ring was written by hand and does not say when the key signed last.
    #[error(
        "the ring does not say when {0} signed last, so visitors may have cookies under it: --force retires it all the same"
    )]
    LastSignedUnknown(KeyId),
}

impl Error {
    /// What helps, where the words above do not say it already.
    #[doc(hidden)]
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                Some(format!("make one with `guestpass keys new {}`", path.display()))
            }
            _ => None,
        }
    }
}

/// What is wrong with one key of a ring file.
///
/// ```
/// use guestpass::keys::KeyProblem;
///
/// let problem = KeyProblem::Short(8).to_string();
/// assert!(problem.starts_with("has a secret of 8 bytes, and 32 or more are needed"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The id has not the form of one.
    #[error("has no legal id: 1 to 16 letters, digits, \"_\" and \"-\" are")]
    Id,
    /// An earlier key has the same id.
    #[error("stands there twice: cookies name their key by its id, so every key needs its own")]
    Repeated,
    /// The secret is no base64.
    #[error("has a secret that is no base64 (RFC 4648, section 4, with padding): `openssl rand -base64 32` makes one")]
    Encoding,
    /// The secret could be guessed.
    #[error("has a secret of {0} bytes, and 32 or more are needed: `openssl rand -base64 32` makes one")]
    Short(usize),
    /// One of its dates is none.
    #[error("has no legal {0}: an RFC 3339 date and time with its offset is, such as 2026-11-22T00:00:00Z")]
    Date(&'static str),
    /// An earlier key signs already.
    #[error("signs, and so does {0}: exactly one may have state = \"signing\"")]
    AlsoSigns(KeyId),
    /// `signs_from` makes no sense where it stands.
    #[error("has signs_from, which is for a key with state = \"verifying\" that is to take over")]
    NotToSign,
    /// An earlier key is to take over already.
    #[error("has signs_from, and so has {0}: only one can be the next")]
    AlsoNext(KeyId),
}
