//! The decision, as one pure function: no clock, no IO, no logging. Its table in the tests is the whole truth.

use crate::cookie::Reading;
use crate::policy::{OnMintFailure, OnMissing, Policy, Rules};
use crate::refusal::Code;

/// What the decision needs to know of a request beside its cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// It would mint if it had no session.
    pub visit: bool,
    /// Its answer is going to be looked at by a person.
    pub navigation: bool,
    /// A CORS preflight, which carries no cookie by definition.
    pub preflight: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The request passes, and the site hears of no session.
    Pass,
    /// The request passes with the session of its cookie.
    Identify,
    /// A session is minted, and the request passes with it.
    Mint {
        /// What happens when it cannot be had.
        otherwise: OnMintFailure,
    },
    /// 303 to a path of the same host.
    Redirect(&'a str),
    /// The request goes no further.
    Refuse {
        /// With what.
        code: Code,
        /// Whether the answer takes the cookie away, so that the next visit can start anew.
        expire: bool,
    },
}

/// Decides. Fail closed: what is not named on `require` is refused.
#[must_use]
pub fn decide(rules: &Rules, reading: Reading, facts: Facts) -> Decision<'_> {
    if facts.preflight {
        return Decision::Pass;
    }
    match rules.policy {
        Policy::Open => Decision::Pass,
        Policy::Issue => issue(rules.on_mint_failure, reading, facts),
        Policy::Require => require(&rules.on_missing, reading, facts),
    }
}

fn issue(otherwise: OnMintFailure, reading: Reading, facts: Facts) -> Decision<'static> {
    match reading {
        Reading::Valid => Decision::Identify,
        // Whose session it is cannot be known, and minting a third would not tell either.
        Reading::Conflict => Decision::Pass,
        Reading::Absent | Reading::Expired | Reading::Outdated | Reading::Forged | Reading::Malformed => {
            if facts.visit { Decision::Mint { otherwise } } else { Decision::Pass }
        }
    }
}

fn require(on_missing: &OnMissing, reading: Reading, facts: Facts) -> Decision<'_> {
    let required = Decision::Refuse { code: Code::SessionRequired, expire: false };
    match reading {
        Reading::Valid => Decision::Identify,
        Reading::Absent | Reading::Expired | Reading::Outdated => match on_missing {
            // Whoever has no session does not pass here, so a failure to mint can only refuse.
            OnMissing::Issue if facts.visit => Decision::Mint { otherwise: OnMintFailure::Refuse },
            OnMissing::Redirect(path) if facts.visit => Decision::Redirect(path),
            OnMissing::Refuse | OnMissing::Issue | OnMissing::Redirect(_) => required,
        },
        Reading::Forged | Reading::Malformed => {
            Decision::Refuse { code: Code::SessionInvalid, expire: facts.navigation }
        }
        Reading::Conflict => Decision::Refuse { code: Code::SessionInvalid, expire: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READINGS: [Reading; 7] = [
        Reading::Valid,
        Reading::Absent,
        Reading::Expired,
        Reading::Outdated,
        Reading::Forged,
        Reading::Malformed,
        Reading::Conflict,
    ];

    const VISIT: Facts = Facts { visit: true, navigation: true, preflight: false };
    const NAVIGATION: Facts = Facts { visit: false, navigation: true, preflight: false };
    const FETCH: Facts = Facts { visit: false, navigation: false, preflight: false };
    const PREFLIGHT: Facts = Facts { visit: false, navigation: false, preflight: true };

    fn rules(policy: Policy, on_missing: OnMissing, on_mint_failure: OnMintFailure) -> Rules {
        Rules { policy, on_missing, on_mint_failure }
    }

    #[test]
    fn every_row_of_the_table() {
        use Decision::{Identify, Pass, Redirect};
        use OnMintFailure as Failure;
        let redirect = OnMissing::Redirect("/hello".to_owned());
        let mint = |otherwise| Decision::Mint { otherwise };
        let required = Decision::Refuse { code: Code::SessionRequired, expire: false };
        let invalid = |expire| Decision::Refuse { code: Code::SessionInvalid, expire };

        let open = rules(Policy::Open, OnMissing::Refuse, Failure::Pass);
        let issue = rules(Policy::Issue, OnMissing::Refuse, Failure::Pass);
        let issue_or_503 = rules(Policy::Issue, OnMissing::Refuse, Failure::Refuse);
        let require = rules(Policy::Require, OnMissing::Refuse, Failure::Refuse);
        let require_issue = rules(Policy::Require, OnMissing::Issue, Failure::Refuse);
        let require_issue_pass = rules(Policy::Require, OnMissing::Issue, Failure::Pass);
        let require_redirect = rules(Policy::Require, redirect, Failure::Refuse);

        #[rustfmt::skip]
        let table: &[(&Rules, Facts, [Decision<'_>; 7])] = &[
            // rules                      Valid     Absent               Expired              Outdated             Forged               Malformed            Conflict
            (&open,    VISIT,            [Pass,     Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
            (&open,    FETCH,            [Pass,     Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
            (&issue,   VISIT,            [Identify, mint(Failure::Pass), mint(Failure::Pass), mint(Failure::Pass), mint(Failure::Pass), mint(Failure::Pass), Pass]),
            (&issue,   NAVIGATION,       [Identify, Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
            (&issue,   FETCH,            [Identify, Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
            (&issue_or_503, VISIT,       [Identify, mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), Pass]),
            (&require, VISIT,            [Identify, required,            required,            required,            invalid(true),       invalid(true),       invalid(false)]),
            (&require, FETCH,            [Identify, required,            required,            required,            invalid(false),      invalid(false),      invalid(false)]),
            (&require_issue, VISIT,      [Identify, mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), invalid(true), invalid(true),       invalid(false)]),
            (&require_issue, FETCH,      [Identify, required,            required,            required,            invalid(false),      invalid(false),      invalid(false)]),
            (&require_issue_pass, VISIT, [Identify, mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), invalid(true), invalid(true),       invalid(false)]),
            (&require_redirect, VISIT,   [Identify, Redirect("/hello"),  Redirect("/hello"),  Redirect("/hello"),  invalid(true),       invalid(true),       invalid(false)]),
            (&require_redirect, FETCH,   [Identify, required,            required,            required,            invalid(false),      invalid(false),      invalid(false)]),
            (&require, PREFLIGHT,        [Pass,     Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
            (&issue,   PREFLIGHT,        [Pass,     Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
        ];
        for (rules, facts, expected) in table {
            for (reading, expected) in READINGS.into_iter().zip(expected) {
                assert_eq!(decide(rules, reading, *facts), *expected, "{rules:?} {reading:?} {facts:?}");
            }
        }
    }

    #[test]
    fn nothing_but_a_valid_session_or_a_preflight_passes_require() {
        let missing = [OnMissing::Refuse, OnMissing::Issue, OnMissing::Redirect("/".to_owned())];
        let failures = [OnMintFailure::Pass, OnMintFailure::Refuse];
        for (on_missing, failure) in missing.iter().flat_map(|missing| failures.map(|failure| (missing, failure))) {
            let rules = rules(Policy::Require, on_missing.clone(), failure);
            for (reading, facts) in
                READINGS.iter().flat_map(|reading| [VISIT, NAVIGATION, FETCH].map(|facts| (reading, facts)))
            {
                let decision = decide(&rules, *reading, facts);
                let lets_in = matches!(decision, Decision::Pass | Decision::Mint { otherwise: OnMintFailure::Pass });
                assert!(!lets_in, "{rules:?} {reading:?} {facts:?}");
                assert_eq!(decision == Decision::Identify, *reading == Reading::Valid);
            }
        }
    }
}
