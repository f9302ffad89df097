//! Sessions that Genesys knows nothing of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::secret::SecretText;

use super::{Minting, Provider, Session};

/// A provider for tests, examples and rehearsals: its sessions are `made-up-1`, `made-up-2` and so on, and good for
/// nothing but to be told apart.
///
/// ```
/// use std::time::Duration;
///
/// use guestpass::session::{MadeUp, Provider};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let provider = MadeUp::default();
/// let session = provider.mint(Duration::from_secs(1)).await?;
/// assert_eq!(session.id, "made-up-1");
/// # Ok::<(), guestpass::session::MintError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct MadeUp {
    organization_id: String,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
    made: AtomicU64,
}

impl MadeUp {
    /// Sessions of this organization that last so long.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use guestpass::clock::SystemClock;
    /// use guestpass::session::{MadeUp, Provider};
    ///
    /// // Of a minute, to see what happens when they end.
    /// let provider = MadeUp::new("shop".to_owned(), Duration::from_secs(60), SystemClock::new());
    /// assert_eq!(provider.organization_id(), "shop");
    /// ```
    #[must_use]
    pub fn new(organization_id: String, lifetime: Duration, clock: impl Clock + 'static) -> Self {
        Self { organization_id, lifetime, clock: Arc::new(clock), made: AtomicU64::new(0) }
    }
}

impl Default for MadeUp {
    /// An hour each, by the system's clock.
    fn default() -> Self {
        Self::new("made-up".to_owned(), Duration::from_secs(3_600), SystemClock::new())
    }
}

impl Provider for MadeUp {
    fn mint(&self, _budget: Duration) -> Minting<'_> {
        let now = self.clock.now();
        let session = Session {
            id: format!("made-up-{}", self.made.fetch_add(1, Ordering::Relaxed) + 1),
            // As long as Genesys' own, so that the cookie's size is what it will be.
            token: SecretText::new("x".repeat(43)),
            organization_id: self.organization_id.clone(),
            issued_at: now,
            expires_at: now.plus(self.lifetime),
        };
        Box::pin(std::future::ready(Ok(session)))
    }

    fn organization_id(&self) -> &str {
        &self.organization_id
    }
}
