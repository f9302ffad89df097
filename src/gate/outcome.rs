//! What the gate did with a request, for whoever stands in front of it.

use std::sync::Arc;

use crate::cookie::Reading;
use crate::policy::Policy;
use crate::refusal::Code;
use crate::session::{Session, Source};

/// What the gate did with a request. Stands in the extensions of each answer that leaves it, its own included.
///
/// ```
/// use guestpass::gate::{Action, Outcome};
///
/// /// A line for a log of one's own.
/// fn line<B>(response: &http::Response<B>) -> Option<String> {
///     let outcome = response.extensions().get::<Outcome>()?;
///     let session = outcome.session.as_ref().map_or("-", |session| session.id.as_str());
///     Some(format!("{} {} {session}", outcome.reading.as_str(), outcome.action.as_str()))
/// }
/// # let mut response = http::Response::new(());
/// # assert_eq!(line(&response), None);
/// # response.extensions_mut().insert(Outcome::default());
/// # assert_eq!(line(&response).unwrap(), "absent pass -");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// What was asked of the visitor.
    pub policy: Policy,
    /// What the cookies amounted to. On [`Policy::Open`] nobody looks.
    pub reading: Reading,
    /// What followed.
    pub action: Action,
    /// The session that the guarded service was told of: the cookie's, or a new one.
    pub session: Option<Arc<Session>>,
}

impl Default for Outcome {
    /// A request that passes without a session, where nobody needs one.
    fn default() -> Self {
        Self { policy: Policy::default(), reading: Reading::Absent, action: Action::Pass, session: None }
    }
}

/// What the gate did.
///
/// ```
/// use guestpass::gate::{Action, Outcome};
/// use guestpass::session::Source;
///
/// fn is_new(outcome: &Outcome) -> bool {
///     matches!(outcome.action, Action::Mint(Source::Pool | Source::Direct))
/// }
/// # assert!(!is_new(&Outcome::default()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The request went through.
    Pass,
    /// It went through with a session that is new, and that the answer gives to the visitor.
    Mint(Source),
    /// The visitor was sent to another path.
    Redirect,
    /// The visitor was asked to come again at once.
    Reload,
    /// It went no further.
    Refuse(Code),
}

impl Action {
    /// The word for it in logs and metrics.
    ///
    /// ```
    /// use guestpass::gate::Action;
    /// use guestpass::refusal::Code;
    ///
    /// assert_eq!(Action::Refuse(Code::SessionRequired).as_str(), "refuse");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Mint(_) => "mint",
            Self::Redirect => "redirect",
            Self::Reload => "reload",
            Self::Refuse(_) => "refuse",
        }
    }
}

impl Outcome {
    /// One outcome of this gate's and that of another within it, which stands nearer to the service. What the outer one
    /// alone can know is that the session is new.
    pub(super) fn around(self, inner: Option<&Self>) -> Self {
        match inner {
            Some(inner) if !(matches!(self.action, Action::Mint(_)) && inner.action == Action::Pass) => inner.clone(),
            _ => self,
        }
    }
}
