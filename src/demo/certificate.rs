//! The demo's certificate: made on first use, for this machine's own names alone, and kept as long as it is good.
//!
//! It vouches for nothing. `curl --cacert certs/demo.pem` may trust it; a browser warns of it once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::tls::{self, CertificateFiles};

/// What the certificate is for. `demo` listens on loopback only.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const DAY: Duration = Duration::from_hours(24);

/// Browsers take at most 398 days, and will take fewer year by year down to 47 for public ones; a demo's is made anew
/// without anybody's doing, so it need not be long.
const LIFETIME: Duration = DAY.saturating_mul(90);

/// A machine's clock may be a little behind the one that was asked here.
const BACKDATED: Duration = DAY;

/// A demo that is started now should not end in the middle of the day for its certificate's sake.
const AT_LEAST: Duration = DAY;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be made.
    #[error("the demo's certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// It could not be kept.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The certificate and key in `folder`, as `demo.pem` and `demo.key`: those that stand there while they fit together,
/// bear this machine's names and are good for a day at least, else new ones.
///
/// # Errors
///
/// When a new one is needed and cannot be made or written.
pub fn kept_in(folder: &Path, clock: &dyn Clock) -> Result<CertificateFiles, Error> {
    let files = CertificateFiles { chain: folder.join("demo.pem"), key: folder.join("demo.key") };
    if !is_still_good(&files, clock) {
        make(&files, folder, clock)?;
    }
    Ok(files)
}

/// Whatever is wrong with the old one, a missing file or one half written, a new one is the cure.
fn is_still_good(files: &CertificateFiles, clock: &dyn Clock) -> bool {
    let wanted = clock.now().plus(AT_LEAST);
    tls::inspect(files).is_ok_and(|facts| {
        facts.not_after >= wanted && NAMES.iter().all(|name| facts.names.iter().any(|named| named == name))
    })
}

fn make(files: &CertificateFiles, folder: &Path, clock: &dyn Clock) -> Result<(), Error> {
    let now = OffsetDateTime::from(clock.now().to_system_time());
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.distinguished_name.push(DnType::CommonName, "guestpass demo");
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    // It signs nothing, so that whoever trusts it trusts this one server and no more.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;

    fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    put(&files.key, key.serialize_pem().as_bytes(), 0o600)?;
    put(&files.chain, certificate.pem().as_bytes(), 0o644)
}

/// Writes beside and renames, so that nobody ever reads half a file, and the key is never readable by others, not even
/// for a moment, as it would be if its mode were changed afterwards.
fn put(path: &Path, contents: &[u8], mode: u32) -> Result<(), Error> {
    let beside = path.with_added_extension(format!("{}.new", std::process::id()));
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|source| {
        // Nothing to do about one that stays: what went wrong before it is what matters.
        let _ = fs::remove_file(&beside);
        Error::Write { path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn clock() -> ManualClock {
        ManualClock::at(Timestamp::from_rfc3339("2026-11-22T14:20:00Z").unwrap())
    }

    #[test]
    fn a_certificate_is_made_for_loopback_and_its_key_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let files = kept_in(&folder.path().join("certs"), &clock).unwrap();

        let facts = tls::inspect(&files).unwrap();
        assert_eq!(facts.names, NAMES);
        assert_eq!(facts.not_after.since(clock.now()), LIFETIME);
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        let names: Vec<_> =
            fs::read_dir(files.key.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "nothing else is left lying about: {names:?}");
    }

    #[test]
    fn it_is_used_again_until_its_last_day() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let files = kept_in(folder.path(), &clock).unwrap();
        let first = fs::read(&files.chain).unwrap();

        clock.advance(LIFETIME - AT_LEAST);
        kept_in(folder.path(), &clock).unwrap();
        assert_eq!(fs::read(&files.chain).unwrap(), first);

        clock.advance(Duration::from_secs(1));
        kept_in(folder.path(), &clock).unwrap();
        assert_ne!(fs::read(&files.chain).unwrap(), first);
        assert_eq!(tls::inspect(&files).unwrap().not_after.since(clock.now()), LIFETIME);
    }

    #[test]
    fn what_is_broken_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let files = kept_in(folder.path(), &clock).unwrap();
        for broken in [&files.chain, &files.key] {
            fs::write(broken, "half a fi").unwrap();
            kept_in(folder.path(), &clock).unwrap();
            assert!(tls::inspect(&files).is_ok());
        }
        // A key from elsewhere, as after a crash between the two files.
        let other = tempfile::tempdir().unwrap();
        fs::copy(kept_in(other.path(), &clock).unwrap().key, &files.key).unwrap();
        kept_in(folder.path(), &clock).unwrap();
        assert!(tls::inspect(&files).is_ok());
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(kept_in(&file.join("certs"), &clock()), Err(Error::Write { .. })));
    }
}
