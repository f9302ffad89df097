//! The ring file on disk: read, locked, replaced. What changes in it is [`super::record`]'s business.
//!
//! A reader finds the old file or the new one and never a half of either: the new one is written beside it, brought to
//! the disk, and takes the old one's name in one step.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use toml::Spanned;
use toml::value::Datetime;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::cookie::{KeyId, SHORTEST_SECRET};
use crate::secret::SecretBytes;

use super::error::{Error, KeyProblem};
use super::record::{KeyRecord, RingRecord, Role};
use super::wire::{self, Entry, RingFile, State};

/// Reads a ring file.
///
/// # Errors
///
/// When it cannot be read, others than its owner may, or it is no ring.
pub fn read(path: &Path) -> Result<RingRecord, Error> {
    parse(path, &text(path)?)
}

/// As [`read`], for a text that is at hand already. `path` stands for it in errors.
///
/// # Errors
///
/// When it is no ring.
pub fn parse(path: &Path, text: &str) -> Result<RingRecord, Error> {
    let file: RingFile = toml::from_str(text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        // The error's own Display quotes the line, which may be the one with the secret.
        message: without_secrets(error.message()),
    })?;
    let mut keys: Vec<KeyRecord> = Vec::new();
    for spanned in file.key {
        let line = line_of(text, spanned.span().start);
        let entry = Spanned::into_inner(spanned);
        let id = without_secrets(&entry.id);
        let refuse = |problem| Error::Key { path: path.to_owned(), line, id, problem };
        keys.push(check(entry, &keys).map_err(refuse)?);
    }
    if !keys.iter().any(|key| key.role == Role::Signing) {
        return Err(Error::NothingSigns { path: path.to_owned() });
    }
    Ok(RingRecord::from_keys(keys))
}

/// Makes a ring file, with mode 0600.
///
/// ```
/// use guestpass::clock::{Clock, SystemClock};
/// use guestpass::keys::{self, RingRecord};
/// use guestpass::random::SystemRandom;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("keys.toml");
/// let ring = RingRecord::generate(&SystemRandom, SystemClock::new().now());
/// keys::create(&path, "the installation", &ring)?;
/// // What visitors' cookies depend on is never overwritten.
/// assert!(keys::create(&path, "the installation", &ring).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When there is a file of that name already, or it cannot be written.
pub fn create(path: &Path, who: &str, ring: &RingRecord) -> Result<(), Error> {
    let path = &beside_links(path);
    let _lock = lock(path, who, None)?;
    if path.symlink_metadata().is_ok() {
        return Err(Error::Exists(path.clone()));
    }
    replace(path, ring, None).map_err(|source| Error::Write { path: path.clone(), source })
}

/// Changes a ring file: reads it under the lock, lets `change` do its part, and replaces it. When anything fails, the
/// file is as it was. `who` is what others are told while the lock is held.
///
/// # Errors
///
/// When somebody else holds the lock, this process may not write the file, it cannot be read, or `change` fails.
pub fn change<T>(path: &Path, who: &str, change: impl FnOnce(&mut RingRecord) -> Result<T, Error>) -> Result<T, Error> {
    let path = &beside_links(path);
    let metadata = writable(path)?;
    let _lock = lock(path, who, Some(&metadata))?;
    let mut ring = read(path)?;
    let before = ring.clone();
    let done = change(&mut ring)?;
    if ring != before {
        replace(path, &ring, Some(&metadata)).map_err(|source| Error::Write { path: path.clone(), source })?;
    }
    Ok(done)
}

/// Whether this process may write a ring file, as far as that can be known without doing it.
///
/// # Errors
///
/// When it may not, or there is none.
pub fn may_change(path: &Path) -> Result<(), Error> {
    writable(&beside_links(path)).map(drop)
}

/// The file itself where the path is a symbolic link: replacing the link would part it from what it leads to.
fn beside_links(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Its owner may have said that nobody is to write it (mode 0400), which root would not notice by trying.
fn writable(path: &Path) -> Result<fs::Metadata, Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let opened = match metadata.permissions().mode() & 0o200 {
        0 => Err(io::ErrorKind::PermissionDenied.into()),
        _ => OpenOptions::new().append(true).open(path),
    };
    opened.map_err(|source| Error::ReadOnly { path: path.to_owned(), source })?;
    Ok(metadata)
}

/// The lock is on a file beside the ring, since the ring itself is another file after each change. It is never removed:
/// whoever removed it could take it from under somebody who waits for it. The operating system lets go of it when its
/// holder ends, however that ends.
fn lock(path: &Path, who: &str, ring: Option<&fs::Metadata>) -> Result<File, Error> {
    let beside = sibling(path, "lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let mut file = opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Write { path: path.to_owned(), source },
        _ => Error::ReadOnly { path: path.to_owned(), source },
    })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // It may have been locked a moment ago and say nothing yet.
            let said = file.take(200).read_to_string(&mut holder).is_ok() && !holder.is_empty();
            let holder = if said { holder } else { "another process".to_owned() };
            return Err(Error::Locked { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(Error::ReadOnly { path: path.to_owned(), source }),
    }
    if let Some(ring) = ring {
        // Else a lock that root has made once would shut the service out of its own ring.
        same_owner(&file, ring).map_err(|source| Error::Write { path: path.to_owned(), source })?;
    }
    let named = file.set_len(0).and_then(|()| write!(file, "{who} (process {})", std::process::id()));
    named.map_err(|source| Error::Write { path: path.to_owned(), source })?;
    Ok(file)
}

/// The owner stays: a ring that root has rotated must still be the service's own.
fn replace(path: &Path, ring: &RingRecord, old: Option<&fs::Metadata>) -> io::Result<()> {
    let fresh = sibling(path, "new");
    // What a writer that was killed has left behind. Nobody else writes it: we hold the lock.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write(&fresh, ring, old).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // It holds secrets and is of no use. Should it stay, the next writer removes it.
        let _ = fs::remove_file(&fresh);
    }
    written?;
    // Only now does the new name outlive a power cut.
    File::open(folder(path))?.sync_all()
}

fn write(fresh: &Path, ring: &RingRecord, old: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
    // The umask may have taken something away.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    if let Some(old) = old {
        same_owner(&file, old)?;
    }
    file.write_all(wire::text(ring).as_bytes())?;
    file.sync_all()
}

fn same_owner(file: &File, model: &fs::Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) == (model.uid(), model.gid()) {
        return Ok(());
    }
    fchown(file, Some(model.uid()), Some(model.gid()))
}

fn sibling(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(extension);
    path.with_file_name(name)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// The file's mode is asked of the open file, so that it is the one that is read.
fn text(path: &Path) -> Result<Zeroizing<String>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    // Room for all of it, so that no copy stays behind in a buffer that grew.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// A retired key must be right as well: the file is a record, and a record that is wrong is found out too late.
fn check(entry: Entry, seen: &[KeyRecord]) -> Result<KeyRecord, KeyProblem> {
    let id = KeyId::parse(entry.id.as_bytes()).ok_or(KeyProblem::Id)?;
    if seen.iter().any(|key| key.id == id) {
        return Err(KeyProblem::Repeated);
    }
    let text = Zeroizing::new(entry.secret);
    let secret = SecretBytes::new(BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| KeyProblem::Encoding)?);
    if secret.expose().len() < SHORTEST_SECRET {
        return Err(KeyProblem::Short(secret.expose().len()));
    }
    let created = date("created", &entry.created)?;
    let signs_from = entry.signs_from.as_ref().map(|text| date("signs_from", text)).transpose()?;
    let signed_until = entry.signed_until.as_ref().map(|text| date("signed_until", text)).transpose()?;
    let role = match (entry.state, signs_from) {
        (State::Signing, None) => Role::Signing,
        (State::Verifying, Some(signs_from)) => Role::Staged { signs_from },
        (State::Verifying, None) => Role::Verifying,
        (State::Retired, None) => Role::Retired,
        (State::Signing | State::Retired, Some(_)) => return Err(KeyProblem::NotToSign),
    };
    let twin = |is_one: fn(Role) -> bool| seen.iter().find(|key| is_one(role) && is_one(key.role)).map(|key| key.id);
    if let Some(first) = twin(|role| role == Role::Signing) {
        return Err(KeyProblem::AlsoSigns(first));
    }
    if let Some(first) = twin(|role| matches!(role, Role::Staged { .. })) {
        return Err(KeyProblem::AlsoNext(first));
    }
    Ok(KeyRecord { id, secret, created, role, signed_until })
}

fn date(name: &'static str, date: &Datetime) -> Result<Timestamp, KeyProblem> {
    Timestamp::from_rfc3339(&date.to_string()).ok_or(KeyProblem::Date(name))
}

/// What is too long for a name, and has base64's letters, is a secret that stands in a wrong place. The shortest has 43
/// of them; no key, value or date that has its right place in the file has half as many in a row.
fn without_secrets(text: &str) -> String {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
    let mut shown = String::with_capacity(text.len());
    for run in text.split_inclusive(|c| !of_base64(c)) {
        let word = run.trim_end_matches(|c| !of_base64(c));
        shown.push_str(if word.len() > 24 { "…" } else { word });
        shown.push_str(&run[word.len()..]);
    }
    shown
}

fn line_of(text: &str, place: usize) -> usize {
    text.bytes().take(place).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
