//! The decision, as one pure function: no clock, no IO, no logging. Its table in the tests is the whole truth.

use crate::cookie::{Hop, Reading};
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
    /// Who led here.
    pub initiator: Initiator,
    /// A session cookie of the visitor's may be there, and only have been held back by the browser.
    pub withheld: bool,
    /// A page that reloads itself is an answer to it.
    pub reloads: bool,
    /// What the answers before it have tried.
    pub hop: Hop,
}

/// Who led to a request, as `Sec-Fetch-Site` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initiator {
    /// It does not say.
    #[default]
    Unknown,
    /// The site itself, or the visitor by hand.
    Own,
    /// Another site.
    Foreign,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The request passes, and the site hears of no session.
    Pass,
    /// The same, and the answer clears planted twins of the cookie away.
    Clear,
    /// The request passes with the session of its cookie.
    Identify,
    /// A session is minted, and the request passes with it.
    Mint {
        /// What happens when it cannot be had.
        otherwise: OnMintFailure,
    },
    /// A page that asks for the same again, from here instead of from elsewhere. It remembers what was tried, and
    /// clears twins away where that is what was.
    Reload(Hop),
    /// 303 to a path of the same host.
    Redirect(&'a str),
    /// The request goes no further.
    Refuse {
        /// With what.
        code: Code,
        /// What the answer takes away, so that the next visit can start anew.
        takes: Takes,
    },
}

/// Which of a visitor's cookies a refusal takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// None.
    Nothing,
    /// The session cookie, which is good for nothing.
    Session,
    /// Planted twins, and the hop, which may be planted too.
    Twins,
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
        Reading::Conflict => Decision::Clear,
        _ if !facts.visit => Decision::Pass,
        Reading::Absent if is_withheld(facts) => match facts.initiator {
            Initiator::Unknown if facts.reloads => Decision::Reload(Hop::Arrived(1)),
            // A session of the visitor's own may be there and would be lost to a new one.
            _ => Decision::Pass,
        },
        Reading::Absent
        | Reading::Expired
        | Reading::Outdated
        | Reading::Revoked
        | Reading::Forged
        | Reading::Malformed => Decision::Mint { otherwise },
    }
}

fn require(on_missing: &OnMissing, reading: Reading, facts: Facts) -> Decision<'_> {
    let required = Decision::Refuse { code: Code::SessionRequired, takes: Takes::Nothing };
    match reading {
        Reading::Valid => Decision::Identify,
        // Even when that was tried in vain, nothing is minted over a session that may be there.
        Reading::Absent if is_withheld(facts) => {
            facts.hop.next_arrival().filter(|_| facts.reloads).map_or(required, Decision::Reload)
        }
        Reading::Absent | Reading::Expired | Reading::Outdated => match on_missing {
            // Whoever has no session does not pass here, so a failure to mint can only refuse.
            OnMissing::Issue if facts.visit => Decision::Mint { otherwise: OnMintFailure::Refuse },
            OnMissing::Redirect(path) if facts.visit => Decision::Redirect(path),
            OnMissing::Refuse | OnMissing::Issue | OnMissing::Redirect(_) => required,
        },
        Reading::Revoked | Reading::Forged | Reading::Malformed => {
            let takes = if facts.navigation { Takes::Session } else { Takes::Nothing };
            Decision::Refuse { code: Code::SessionInvalid, takes }
        }
        Reading::Conflict if facts.reloads && facts.hop != Hop::Cleared => Decision::Reload(Hop::Cleared),
        Reading::Conflict => {
            // Whoever plants a twin can plant the hop beside it, so that nothing seems left to try.
            let takes = if facts.reloads { Takes::Twins } else { Takes::Nothing };
            Decision::Refuse { code: Code::SessionInvalid, takes }
        }
    }
}

/// Whether the cookie that is missing may be there all the same. In a browser that does not say who led here, it is
/// simply missing once we have led here ourselves.
fn is_withheld(facts: Facts) -> bool {
    facts.withheld
        && match facts.initiator {
            Initiator::Foreign => true,
            Initiator::Unknown => facts.hop == Hop::None,
            Initiator::Own => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last has no column of its own in the table.
    const READINGS: [Reading; 8] = [
        Reading::Valid,
        Reading::Absent,
        Reading::Expired,
        Reading::Outdated,
        Reading::Forged,
        Reading::Malformed,
        Reading::Conflict,
        Reading::Revoked,
    ];

    const FETCH: Facts = Facts {
        visit: false,
        navigation: false,
        preflight: false,
        initiator: Initiator::Unknown,
        withheld: false,
        reloads: false,
        hop: Hop::None,
    };
    const NAVIGATION: Facts = Facts { navigation: true, reloads: true, ..FETCH };
    const VISIT: Facts = Facts { visit: true, ..NAVIGATION };
    const PREFLIGHT: Facts = Facts { preflight: true, ..FETCH };

    fn rules(policy: Policy, on_missing: OnMissing, on_mint_failure: OnMintFailure) -> Rules {
        Rules { policy, on_missing, on_mint_failure, shadow: false }
    }

    #[test]
    fn every_row_of_the_table() {
        use Decision::{Clear, Identify, Pass, Redirect};
        use OnMintFailure as Failure;
        let redirect = OnMissing::Redirect("/hello".to_owned());
        let mint = |otherwise| Decision::Mint { otherwise };
        let required = Decision::Refuse { code: Code::SessionRequired, takes: Takes::Nothing };
        let invalid = |expires| {
            let takes = if expires { Takes::Session } else { Takes::Nothing };
            Decision::Refuse { code: Code::SessionInvalid, takes }
        };
        let reload = Decision::Reload(Hop::Cleared);

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
            (&issue,   VISIT,            [Identify, mint(Failure::Pass), mint(Failure::Pass), mint(Failure::Pass), mint(Failure::Pass), mint(Failure::Pass), Clear]),
            (&issue,   NAVIGATION,       [Identify, Pass,                Pass,                Pass,                Pass,                Pass,                Clear]),
            (&issue,   FETCH,            [Identify, Pass,                Pass,                Pass,                Pass,                Pass,                Clear]),
            (&issue_or_503, VISIT,       [Identify, mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), Clear]),
            (&require, VISIT,            [Identify, required,            required,            required,            invalid(true),       invalid(true),       reload]),
            (&require, FETCH,            [Identify, required,            required,            required,            invalid(false),      invalid(false),      invalid(false)]),
            (&require_issue, VISIT,      [Identify, mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), invalid(true), invalid(true),       reload]),
            (&require_issue, FETCH,      [Identify, required,            required,            required,            invalid(false),      invalid(false),      invalid(false)]),
            (&require_issue_pass, VISIT, [Identify, mint(Failure::Refuse), mint(Failure::Refuse), mint(Failure::Refuse), invalid(true), invalid(true),       reload]),
            (&require_redirect, VISIT,   [Identify, Redirect("/hello"),  Redirect("/hello"),  Redirect("/hello"),  invalid(true),       invalid(true),       reload]),
            (&require_redirect, FETCH,   [Identify, required,            required,            required,            invalid(false),      invalid(false),      invalid(false)]),
            (&require, PREFLIGHT,        [Pass,     Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
            (&issue,   PREFLIGHT,        [Pass,     Pass,                Pass,                Pass,                Pass,                Pass,                Pass]),
        ];
        for (rules, facts, expected) in table {
            for (reading, expected) in READINGS.into_iter().zip(expected) {
                assert_eq!(decide(rules, reading, *facts), *expected, "{rules:?} {reading:?} {facts:?}");
            }
            // With a session, the gate looks at nothing else.
            let looked_at = Facts { preflight: facts.preflight, ..Facts::default() };
            assert_eq!(decide(rules, Reading::Valid, looked_at), decide(rules, Reading::Valid, *facts), "{facts:?}");
            // The two share a column.
            let [revoked, forged] = [Reading::Revoked, Reading::Forged].map(|reading| decide(rules, reading, *facts));
            assert_eq!(revoked, forged, "{rules:?} {facts:?}");
        }
    }

    /// Arrivals: the marker came, and the session did not. Without the marker, or with a Lax cookie, which has none, the
    /// table above holds whoever led here.
    #[test]
    fn every_row_of_an_arrival() {
        use Decision::{Pass, Redirect, Reload};
        use Initiator::{Foreign, Own, Unknown};
        let rules = |policy, on_missing| rules(policy, on_missing, OnMintFailure::Pass);
        let issue = rules(Policy::Issue, OnMissing::Refuse);
        let require = rules(Policy::Require, OnMissing::Refuse);
        let require_issue = rules(Policy::Require, OnMissing::Issue);
        let require_redirect = rules(Policy::Require, OnMissing::Redirect("/hello".to_owned()));
        let mint = Decision::Mint { otherwise: OnMintFailure::Pass };
        let mint_or_503 = Decision::Mint { otherwise: OnMintFailure::Refuse };
        let required = Decision::Refuse { code: Code::SessionRequired, takes: Takes::Nothing };
        let first = Reload(Hop::Arrived(1));
        let second = Reload(Hop::Arrived(2));

        #[rustfmt::skip]
        let table: &[(Initiator, Hop, [Decision<'_>; 4])] = &[
            //                          issue  require   or issue     or redirect
            (Foreign, Hop::None,       [Pass,  first,    first,       first]),
            (Foreign, Hop::Arrived(1), [Pass,  second,   second,      second]),
            (Foreign, Hop::Arrived(5), [Pass,  required, required,    required]),
            (Foreign, Hop::Cleared,    [Pass,  required, required,    required]),
            (Unknown, Hop::None,       [first, first,    first,       first]),
            (Unknown, Hop::Arrived(1), [mint,  required, mint_or_503, Redirect("/hello")]),
            (Unknown, Hop::Cleared,    [mint,  required, mint_or_503, Redirect("/hello")]),
            (Own,     Hop::None,       [mint,  required, mint_or_503, Redirect("/hello")]),
            (Own,     Hop::Arrived(1), [mint,  required, mint_or_503, Redirect("/hello")]),
        ];
        let policies = [&issue, &require, &require_issue, &require_redirect];
        for (initiator, hop, expected) in table {
            let arrival = Facts { initiator: *initiator, withheld: true, hop: *hop, ..VISIT };
            for (rules, expected) in policies.iter().zip(expected) {
                assert_eq!(decide(rules, Reading::Absent, arrival), *expected, "{rules:?} {arrival:?}");

                let unmarked = Facts { withheld: false, ..arrival };
                assert_eq!(decide(rules, Reading::Absent, unmarked), decide(rules, Reading::Absent, VISIT));
                for reading in READINGS.into_iter().filter(|reading| *reading != Reading::Absent) {
                    let decision = decide(rules, reading, Facts { hop: Hop::None, ..arrival });
                    assert_eq!(decision, decide(rules, reading, VISIT), "a cookie that came is read as it is");
                }
            }
            // What would not mint anyway need not arrive.
            let elsewhere = Facts { visit: false, ..arrival };
            assert_eq!(decide(&issue, Reading::Absent, elsewhere), Pass, "{elsewhere:?}");
            // What is no page cannot be reloaded, and still nothing is minted over a session that may be there.
            let no_page = Facts { reloads: false, ..arrival };
            if is_withheld(arrival) {
                assert_eq!(decide(&issue, Reading::Absent, no_page), Pass, "{no_page:?}");
                for rules in [&require, &require_issue, &require_redirect] {
                    assert_eq!(decide(rules, Reading::Absent, no_page), required, "{rules:?} {no_page:?}");
                }
            }
        }
    }

    #[test]
    fn twins_are_cleared_once_and_then_refused() {
        let require = rules(Policy::Require, OnMissing::Issue, OnMintFailure::Refuse);
        let refused = |takes| Decision::Refuse { code: Code::SessionInvalid, takes };
        for (hop, expected) in [
            (Hop::None, Decision::Reload(Hop::Cleared)),
            (Hop::Arrived(1), Decision::Reload(Hop::Cleared)),
            (Hop::Cleared, refused(Takes::Twins)),
        ] {
            assert_eq!(decide(&require, Reading::Conflict, Facts { hop, ..VISIT }), expected, "{hop:?}");
            assert_eq!(decide(&require, Reading::Conflict, Facts { hop, ..FETCH }), refused(Takes::Nothing), "{hop:?}");
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
                let lets_in = matches!(
                    decision,
                    Decision::Pass | Decision::Clear | Decision::Mint { otherwise: OnMintFailure::Pass }
                );
                assert!(!lets_in, "{rules:?} {reading:?} {facts:?}");
                assert_eq!(decision == Decision::Identify, *reading == Reading::Valid);
            }
        }
    }
}
