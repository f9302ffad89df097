//! What a route asks of a visitor: [`Policy`], and what happens when it cannot be had.
//!
//! How a policy and a cookie's reading become a decision is said in [`crate::gate`].

use std::fmt;

/// How much a session matters on a route, from nothing to everything.
///
/// ```
/// use guestpass::policy::Policy;
///
/// // From nothing to everything, so that the stricter of two is the greater.
/// assert_eq!(Policy::Issue.max(Policy::Require), Policy::Require);
/// assert_eq!(Policy::default(), Policy::Issue);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// The site without us: nothing is minted, checked or told.
    Open,
    /// A visit gets a session when it has none, and nobody is turned away.
    #[default]
    Issue,
    /// Nobody passes without a valid session.
    Require,
}

impl Policy {
    /// The word for it in `proxy.toml` and in the access log.
    ///
    /// ```
    /// use guestpass::policy::Policy;
    ///
    /// assert_eq!(Policy::Require.as_str(), "require");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Issue => "issue",
            Self::Require => "require",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `require` does with a visit that has no session. It applies to Absent, Expired and Outdated alone: a cookie
/// that is forged or malformed is refused whatever stands here.
///
/// ```
/// use guestpass::policy::{OnMissing, Policy, Rules};
///
/// // Whoever opens the chat by a bookmark gets a session there and then; its scripts never do.
/// let chat = Rules { on_missing: OnMissing::Issue, ..Rules::of(Policy::Require) };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnMissing {
    /// 401.
    #[default]
    Refuse,
    /// A visit mints and passes; all else is refused.
    Issue,
    /// A visit is sent there with 303; all else is refused. A path of the same host, beginning with `/`.
    Redirect(String),
}

/// What happens to a visit that should have got a session when none could be minted.
///
/// ```
/// use guestpass::policy::{OnMintFailure, Policy, Rules};
///
/// // A page that makes no sense without a session says so when there is none to be had.
/// let chat = Rules { on_mint_failure: OnMintFailure::Refuse, ..Rules::of(Policy::Issue) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnMintFailure {
    /// The site stays up: no identity, no cookie.
    Pass,
    /// 503 with `Retry-After`.
    Refuse,
}

/// Everything that the gate needs to know about the route that a request met. A [`Policy`] by itself is enough where its
/// own defaults will do.
///
/// ```
/// use guestpass::policy::{OnMintFailure, OnMissing, Policy, Rules};
///
/// // A visit without a session is sent to the front page; all else gets 401.
/// let account = Rules { on_missing: OnMissing::Redirect("/".to_owned()), ..Policy::Require.into() };
/// // Rather no page than one without a session.
/// let chat = Rules { on_mint_failure: OnMintFailure::Refuse, ..Policy::Issue.into() };
/// # assert_ne!(account, chat);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How much a session matters here.
    pub policy: Policy,
    /// Asked on [`Policy::Require`] only.
    pub on_missing: OnMissing,
    /// Asked when minting failed.
    pub on_mint_failure: OnMintFailure,
    /// Judge and count, but turn nobody away: for trying a policy out before it holds.
    pub shadow: bool,
}

impl Rules {
    /// The rules of a policy where the operator said nothing else: `issue` stays up when Genesys does not, `require`
    /// refuses.
    ///
    /// ```
    /// use guestpass::policy::{OnMintFailure, Policy, Rules};
    ///
    /// assert_eq!(Rules::of(Policy::Issue).on_mint_failure, OnMintFailure::Pass);
    /// assert_eq!(Rules::of(Policy::Require).on_mint_failure, OnMintFailure::Refuse);
    /// ```
    #[must_use]
    pub const fn of(policy: Policy) -> Self {
        let on_mint_failure = match policy {
            Policy::Open | Policy::Issue => OnMintFailure::Pass,
            Policy::Require => OnMintFailure::Refuse,
        };
        Self { policy, on_missing: OnMissing::Refuse, on_mint_failure, shadow: false }
    }

    /// Which of two turn more away: what is in shadow turns nobody away, and so is no stricter than `issue`.
    #[doc(hidden)]
    #[must_use]
    pub fn strictness(&self) -> impl Ord + use<> {
        let holds = if self.shadow { self.policy.min(Policy::Issue) } else { self.policy };
        (holds, self.policy)
    }
}

impl From<Policy> for Rules {
    fn from(policy: Policy) -> Self {
        Self::of(policy)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::of(Policy::default())
    }
}
