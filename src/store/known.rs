//! The set that every request asks: never changed, only replaced by another.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::session::Session;

use super::Revocation;

/// A set is copied when something is added. So that this stays cheap with a million sessions in it, what was added
/// lately stands beside the rest until there is this much of it.
const RECENT: usize = 1_024;

type Sessions = HashMap<Box<str>, Timestamp>;

/// What is taken back, as of some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    settled: Arc<Sessions>,
    recent: Sessions,
    issued_before: Option<Timestamp>,
}

impl Known {
    pub(super) fn contain(&self, session: &Session) -> bool {
        let named = |sessions: &Sessions| !sessions.is_empty() && sessions.contains_key(session.id.as_str());
        self.issued_before.is_some_and(|moment| session.issued_at < moment)
            || named(&self.recent)
            || named(&self.settled)
    }

    /// This set and more. The later of two moments covers the earlier.
    pub(super) fn with(&self, news: &[Revocation]) -> Self {
        let mut next = self.clone();
        for revocation in news {
            match revocation {
                Revocation::Session { id, until } => {
                    let known = next.recent.entry(id.as_str().into()).or_insert(*until);
                    *known = (*known).max(*until);
                }
                Revocation::IssuedBefore(moment) => next.issued_before = next.issued_before.max(Some(*moment)),
            }
        }
        if next.recent.len() > RECENT {
            let mut settled = Sessions::clone(&next.settled);
            settled.extend(next.recent.drain());
            next.settled = Arc::new(settled);
        }
        next
    }

    /// This set without what would have ended by itself; `None` where that is the same.
    pub(super) fn without_ended(&self, now: Timestamp) -> Option<Self> {
        let lasts = |until: &Timestamp| *until > now;
        let issued_before = self.issued_before.filter(|moment| lasts(&Revocation::IssuedBefore(*moment).until()));
        if issued_before == self.issued_before && self.recent.values().chain(self.settled.values()).all(lasts) {
            return None;
        }
        let mut settled = Sessions::clone(&self.settled);
        settled.extend(self.recent.iter().map(|(id, until)| (id.clone(), *until)));
        settled.retain(|_, until| lasts(until));
        Some(Self { settled: Arc::new(settled), recent: Sessions::new(), issued_before })
    }

    /// Everything in it, to be written down anew.
    pub(super) fn all(&self) -> Vec<Revocation> {
        let old = self.settled.iter().filter(|(id, _)| !self.recent.contains_key(*id));
        let sessions =
            old.chain(&self.recent).map(|(id, until)| Revocation::Session { id: (**id).into(), until: *until });
        sessions.chain(self.issued_before.map(Revocation::IssuedBefore)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.settled.len() + self.recent.len() + usize::from(self.issued_before.is_some())
    }
}
