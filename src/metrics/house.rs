//! The other rooms, as far as they say how they fare. They know nothing of metrics: they are asked whenever somebody
//! looks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::cookie::{Key, KeyId, SharedRing};
use crate::forward::Servers;
use crate::genesys::Figures;
use crate::keys::{SharedRecord, State};
use crate::server::Admission;
use crate::stock::Stock;
use crate::tls::{Facts, SharedFacts};

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct House {
    /// Genesys, where sessions come from.
    pub genesys: Figures,
    /// Sessions that are kept.
    pub stock: Stock,
    /// The servers behind us.
    pub servers: Arc<Servers>,
    /// Connections.
    pub admission: Arc<Admission>,
    /// What the certificates that visitors are shown say of themselves.
    pub certificates: Option<SharedFacts>,
    /// The keys.
    pub keys: Keys,
}

impl House {
    /// What the certificates say of themselves, in the order of the configuration.
    #[must_use]
    pub fn certificates(&self) -> Vec<Facts> {
        self.certificates.as_ref().map(SharedFacts::load).unwrap_or_default()
    }
}

/// The keys, and what is written of them.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Those in use.
    pub ring: SharedRing,
    /// What the ring file says of them, where they come from one.
    pub record: Option<SharedRecord>,
    /// How old the signing key may become, where it is rotated.
    pub rotate_every: Option<Duration>,
    /// The ring file, where they come from one.
    pub file: Option<RingFile>,
}

/// Where a ring stands, for whoever is to rotate it.
#[derive(Clone, Debug)]
pub struct RingFile {
    /// The file.
    pub path: PathBuf,
    /// How long a new key verifies before it signs.
    pub stage_for: Duration,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its name.
    pub id: KeyId,
    /// What it is for: `signing`, `staged` or `verifying`.
    pub state: &'static str,
    /// When it was made; a secret of the configuration does not say.
    pub created: Option<Timestamp>,
    /// When it takes over, where it is staged.
    pub signs_from: Option<Timestamp>,
    /// From when on nobody can have a cookie under it, where that is known.
    pub retirable_from: Option<Timestamp>,
}

impl Keys {
    /// Those whose cookies are accepted.
    #[must_use]
    pub fn facts(&self, now: Timestamp) -> Vec<KeyFacts> {
        let facts = |id, state, created| KeyFacts { id, state, created, signs_from: None, retirable_from: None };
        let Some(record) = &self.record else {
            let ring = self.ring.load();
            let signing = ring.signing(now).id();
            let state = |key: &Key| if key.id() == signing { "signing" } else { "verifying" };
            return ring.keys().map(|key| facts(key.id(), state(key), None)).collect();
        };
        let record = record.load().at(now);
        let accepted = record.keys().filter_map(|key| {
            let facts = |state| facts(key.id(), state, Some(key.created()));
            match key.state() {
                State::Signing => Some(facts("signing")),
                State::Staged { signs_from } => Some(KeyFacts { signs_from: Some(signs_from), ..facts("staged") }),
                State::Verifying { safe_from } => Some(KeyFacts { retirable_from: safe_from, ..facts("verifying") }),
                State::Retired => None,
            }
        });
        accepted.collect()
    }

    /// When the signing key is to be replaced, where it is.
    #[must_use]
    pub fn rotation_due(&self) -> Option<Timestamp> {
        Some(self.record.as_ref()?.load().rotation_due(self.rotate_every?))
    }
}
