//! The certificates of a running proxy: read again when their files have changed, and shown from the next handshake on.
//!
//! One step at a time; whoever wires the program calls [`Keeper::look`] again and again.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::resolver::BySni;
use super::{CertificateFiles, Error, Facts};
use crate::fingerprint::Fingerprint;

/// The files as they were: chain and key of each.
type Seen = Vec<[Option<Fingerprint>; 2]>;

/// Certificates that were read and are not shown yet.
#[derive(Debug)]
pub struct Loaded {
    files: Vec<CertificateFiles>,
    seen: Seen,
    by_sni: BySni,
}

impl Loaded {
    /// Reads them, all or none.
    ///
    /// # Errors
    ///
    /// As [`Error`] says, for the first that cannot be used.
    pub fn read(files: Vec<CertificateFiles>) -> Result<Self, Error> {
        // Before they are read: what changes in between is then seen at the next look.
        let seen = seen(&files);
        let provider = aws_lc_rs::default_provider();
        let certificates = files.iter().map(|files| Certificate::load(files, &provider)).collect::<Result<_, _>>()?;
        let by_sni = BySni::new(certificates).ok_or(Error::NoneConfigured)?;
        Ok(Self { files, seen, by_sni })
    }
}

/// Looks after the files of the certificates.
#[derive(Debug)]
pub struct Keeper {
    files: Vec<CertificateFiles>,
    seen: Seen,
    /// What was there at the last look and could not be used.
    doubted: Option<Seen>,
    shown: Arc<Shown>,
}

/// What a look has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The files are as they were, or somebody may be at work on them.
    Unchanged,
    /// They were read, and are what clients are now shown.
    Read,
    /// They could not be used. Clients are shown the last good ones.
    Broken,
}

impl Keeper {
    /// Shows what was read.
    #[must_use]
    pub fn new(loaded: Loaded) -> Self {
        let Loaded { files, seen, by_sni } = loaded;
        Self { files, seen, doubted: None, shown: Arc::new(Shown(ArcSwap::from_pointee(by_sni))) }
    }

    /// What handshakes ask.
    pub(super) fn shown(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.shown) as Arc<dyn ResolvesServerCert>
    }

    /// What they say of themselves, now and later.
    #[must_use]
    pub fn facts(&self) -> SharedFacts {
        SharedFacts(Arc::clone(&self.shown))
    }

    /// Shows these from now on, and looks after their files.
    pub fn show(&mut self, loaded: Loaded) {
        let Loaded { files, seen, by_sni } = loaded;
        (self.files, self.seen, self.doubted) = (files, seen, None);
        self.shown.0.store(Arc::new(by_sni));
    }

    /// One step: reads the files if one has changed, or the operator `asked` for it. Touches the disk, so it may block.
    pub fn look(&mut self, asked: bool) -> Looked {
        let now = seen(&self.files);
        if now == self.seen && !asked {
            return Looked::Unchanged;
        }
        match Loaded::read(self.files.clone()) {
            Ok(loaded) => {
                tracing::info!(certificates = loaded.files.len(), "the certificates were read");
                self.show(loaded);
                Looked::Read
            }
            // A chain and its key are two files, which nobody replaces in one step: the other may come in a moment.
            Err(_) if !asked && self.doubted.as_ref() != Some(&now) => {
                self.doubted = Some(now);
                Looked::Unchanged
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the certificates cannot be used, and the last good ones stay in use");
                self.seen = now;
                Looked::Broken
            }
        }
    }
}

/// What the certificates that clients are shown say of themselves.
#[derive(Clone, Debug)]
pub struct SharedFacts(Arc<Shown>);

impl SharedFacts {
    /// At this moment, in the order of the configuration.
    #[must_use]
    pub fn load(&self) -> Vec<Facts> {
        self.0.0.load().facts.clone()
    }
}

/// What clients are shown at the moment.
#[derive(Debug)]
struct Shown(ArcSwap<BySni>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().resolve(hello.server_name()))
    }
}

fn seen(files: &[CertificateFiles]) -> Seen {
    files.iter().map(|files| [Fingerprint::of(&files.chain), Fingerprint::of(&files.key)]).collect()
}
