//! Where the key ring comes from: a secret in the configuration, or a ring file. What is done with a key is
//! [`crate::cookie`]'s business.

mod wire;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use toml::Spanned;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::cookie::{Key, KeyId, KeyRing};
use crate::secret::SecretBytes;

use self::wire::{Entry, RingFile, State};

/// The fewest bytes that a secret may have: as many as the key that is derived from it (RFC 2104, section 3, advises
/// against keys shorter than the hash's output).
pub const SHORTEST_SECRET: usize = 32;

/// Where the keys stand.
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

/// Why there is no key ring.
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
}

/// What is wrong with one key of a ring file.
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
    /// The date is none.
    #[error("has no legal created: an RFC 3339 date and time with its offset is, such as 2026-11-22T00:00:00Z")]
    Created,
    /// An earlier key signs already.
    #[error("signs, and so does {0}: exactly one may have state = \"signing\"")]
    AlsoSigns(KeyId),
}

/// Reads the keys.
///
/// # Errors
///
/// When there are none that can be used, as [`Error`] says. Never is one made up instead: it would log every visitor
/// out at the next restart and on the second replica.
pub fn load(source: &Source) -> Result<KeyRing, Error> {
    match source {
        Source::Secret { current, previous } => from_secrets(current, previous.as_ref()),
        Source::File(path) => from_file(path),
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
    let length = secret.expose().len();
    if length < SHORTEST_SECRET {
        return Err(Error::ShortSecret { name, length });
    }
    Ok(Key::new(secret_id(secret), secret))
}

/// `env-` and 8 hexadecimal digits that depend on the secret, so that a changed secret makes old cookies Outdated
/// instead of Forged.
fn secret_id(secret: &SecretBytes) -> KeyId {
    let digest = Sha256::new().chain_update(b"guestpass kid").chain_update(secret.expose()).finalize();
    let id = format!("env-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
    KeyId::parse(id.as_bytes()).expect("twelve letters, digits and a hyphen")
}

fn from_file(path: &Path) -> Result<KeyRing, Error> {
    let text = read(path)?;
    let file: RingFile = toml::from_str(&text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        line: line_of(&text, error.span().map_or(0, |span| span.start)),
        // The error's own Display quotes the line, which may be the one with the secret.
        message: error.message().to_owned(),
    })?;
    let mut seen = Vec::new();
    let mut signing: Option<Key> = None;
    let mut verifying = Vec::new();
    for spanned in file.key {
        let line = line_of(&text, spanned.span().start);
        let entry = Spanned::into_inner(spanned);
        let name = entry.id.clone();
        let refuse = |problem| Error::Key { path: path.to_owned(), line, id: name, problem };
        let (key, state) = match check(entry, &seen) {
            Ok(checked) => checked,
            Err(problem) => return Err(refuse(problem)),
        };
        seen.push(key.id());
        match (state, &signing) {
            (State::Signing, Some(first)) => return Err(refuse(KeyProblem::AlsoSigns(first.id()))),
            (State::Signing, None) => signing = Some(key),
            (State::Verifying, _) => verifying.push(key),
            // Kept in the file as a record only.
            (State::Retired, _) => {}
        }
    }
    let Some(signing) = signing else { return Err(Error::NothingSigns { path: path.to_owned() }) };
    Ok(KeyRing::new(signing, verifying).expect("`check` has seen that no id stands there twice"))
}

/// A retired key must be right as well: the file is a record, and a record that is wrong is found out too late.
fn check(entry: Entry, seen: &[KeyId]) -> Result<(Key, State), KeyProblem> {
    let id = KeyId::parse(entry.id.as_bytes()).ok_or(KeyProblem::Id)?;
    if seen.contains(&id) {
        return Err(KeyProblem::Repeated);
    }
    let text = Zeroizing::new(entry.secret);
    let secret = SecretBytes::new(BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| KeyProblem::Encoding)?);
    if secret.expose().len() < SHORTEST_SECRET {
        return Err(KeyProblem::Short(secret.expose().len()));
    }
    Timestamp::from_rfc3339(&entry.created.to_string()).ok_or(KeyProblem::Created)?;
    Ok((Key::new(id, &secret), entry.state))
}

/// The file's mode is asked of the open file, so that it is the one that is read.
fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn line_of(text: &str, place: usize) -> usize {
    text.bytes().take(place).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
