use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::random::SystemRandom;

const STAGE_FOR: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);

/// Chance that always falls the same way.
#[derive(Debug)]
struct Stuck;

impl Random for Stuck {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }
}

/// A ring and the time.
struct Life {
    ring: RingRecord,
    clock: ManualClock,
}

impl Life {
    fn begin() -> Self {
        let clock = ManualClock::at(Timestamp::from_rfc3339("2026-11-22T00:00:00Z").unwrap());
        Self { ring: RingRecord::generate(&SystemRandom, clock.now()), clock }
    }

    fn rotate(&mut self, stage_for: Duration) -> Result<String, Error> {
        self.ring.rotate(stage_for, &SystemRandom, self.clock.now()).map(|id| id.to_string())
    }

    fn promote(&mut self) -> Result<String, Error> {
        self.ring.promote(self.clock.now()).map(|id| id.to_string())
    }

    fn retire(&mut self, id: &str, force: bool) -> Result<String, Error> {
        self.ring.retire(id, force, self.clock.now()).map(|id| id.to_string())
    }

    /// What a process signs with that has read the ring as it is written now.
    fn signs(&self) -> String {
        self.ring.ring().signing(self.clock.now()).id().to_string()
    }

    fn verifies(&self, id: &str) -> bool {
        self.ring.ring().find(KeyId::parse(id.as_bytes()).unwrap()).is_some()
    }

    fn state(&self, id: &str) -> State {
        let ring = self.ring.at(self.clock.now());
        ring.keys().find(|key| key.id().as_str() == id).unwrap().state()
    }
}

#[test]
fn a_staged_key_verifies_at_once_and_takes_over_by_the_clock() {
    let mut life = Life::begin();
    let first = life.signs();
    let second = life.rotate(STAGE_FOR).unwrap();
    let signs_from = life.clock.now().plus(STAGE_FOR);
    assert_eq!(life.state(&second), State::Staged { signs_from });
    assert!(life.verifies(&second) && life.signs() == first);
    life.clock.advance(STAGE_FOR - Duration::from_millis(1));
    assert_eq!(life.signs(), first);
    life.clock.advance(Duration::from_millis(1));
    assert_eq!(life.signs(), second, "nobody has written anything");
    assert!(life.verifies(&first));
    assert_eq!(life.state(&second), State::Signing);
    assert_eq!(life.state(&first), State::Verifying { safe_from: Some(signs_from.plus(LONGEST_SESSION + LATECOMERS)) });
}

#[test]
fn the_key_before_may_be_retired_when_its_last_session_is_over() {
    let mut life = Life::begin();
    let first = life.signs();
    let second = life.rotate(STAGE_FOR).unwrap();
    assert!(matches!(life.retire(&first, true), Err(Error::StillSigns(_))), "not even by force");
    life.clock.advance(STAGE_FOR);
    assert!(matches!(life.retire(&second, true), Err(Error::StillSigns(_))), "it has taken over");
    life.clock.advance(LONGEST_SESSION + LATECOMERS - Duration::from_millis(1));
    assert!(matches!(life.retire(&first, false), Err(Error::TooEarly { .. })));
    life.clock.advance(Duration::from_millis(1));
    life.retire(&first, false).unwrap();
    assert_eq!(life.state(&first), State::Retired);
    assert!(!life.verifies(&first) && life.signs() == second);
    assert!(matches!(life.retire(&first, false), Err(Error::RetiredAlready(_))));
    assert!(matches!(life.retire("k9", true), Err(Error::UnknownKey(_))));
}

#[test]
fn force_retires_a_key_that_visitors_still_need() {
    let mut life = Life::begin();
    let first = life.signs();
    life.rotate(Duration::ZERO).unwrap();
    life.retire(&first, true).unwrap();
    assert!(!life.verifies(&first));
}

#[test]
fn one_key_is_staged_at_a_time() {
    let mut life = Life::begin();
    let first = life.signs();
    assert!(matches!(life.promote(), Err(Error::NothingStaged { .. })));
    let second = life.rotate(STAGE_FOR).unwrap();
    for stage_for in [STAGE_FOR, Duration::ZERO] {
        assert!(matches!(life.rotate(stage_for), Err(Error::StagedAlready { .. })));
    }
    life.retire(&second, false).unwrap();
    let third = life.rotate(STAGE_FOR).unwrap();
    assert_eq!(life.promote().unwrap(), third);
    assert_eq!(life.signs(), third);
    let until = life.clock.now();
    assert_eq!(life.state(&first), State::Verifying { safe_from: Some(until.plus(LONGEST_SESSION + LATECOMERS)) });
    assert!(matches!(life.promote(), Err(Error::NothingStaged { .. })));
}

#[test]
fn a_key_that_was_entered_by_hand_is_not_retired_on_a_guess() {
    let mut life = Life::begin();
    let first = life.signs();
    life.rotate(Duration::ZERO).unwrap();
    for key in &mut life.ring.keys {
        key.signed_until = None;
    }
    life.clock.advance(100 * DAY);
    assert_eq!(life.state(&first), State::Verifying { safe_from: None });
    assert!(matches!(life.retire(&first, false), Err(Error::LastSignedUnknown(_))));
    life.rotate(STAGE_FOR).unwrap();
    let safe_from = Some(life.clock.now().plus(LONGEST_SESSION + LATECOMERS));
    assert_eq!(life.state(&first), State::Verifying { safe_from }, "that it did not sign then is written down");
}

#[test]
fn a_rotation_is_due_when_the_youngest_key_is_old() {
    let mut life = Life::begin();
    let made = life.clock.now();
    assert_eq!(life.ring.rotation_due(90 * DAY), made.plus(90 * DAY));
    life.clock.advance(90 * DAY);
    life.rotate(STAGE_FOR).unwrap();
    assert_eq!(life.ring.rotation_due(90 * DAY), made.plus(180 * DAY), "the staged one counts");
}

#[test]
fn ids_name_the_month_and_never_meet_again() {
    let now = Timestamp::from_rfc3339("2026-11-22T00:00:00Z").unwrap();
    let mut ring = RingRecord::generate(&Stuck, now);
    for _ in 0..2 {
        ring.rotate(Duration::ZERO, &Stuck, now).unwrap();
    }
    ring.retire("k202611-ffffff", true, now).unwrap();
    ring.rotate(Duration::ZERO, &Stuck, now).unwrap();
    let ids: Vec<_> = ring.keys().map(|key| key.id().to_string()).collect();
    assert_eq!(ids, ["k202611-ffffff", "k202611-000000", "k202611-000001", "k202611-000002"]);
}

#[test]
fn each_key_has_a_secret_of_its_own() {
    let mut life = Life::begin();
    life.rotate(Duration::ZERO).unwrap();
    let secrets: Vec<_> = life.ring.keys().map(|key| key.secret.clone()).collect();
    assert!(secrets[0] != secrets[1] && secrets.iter().all(|secret| secret.expose().len() == SECRET_LENGTH));
    assert!(!format!("{:?}", life.ring).contains("secret: ["));
}

#[derive(Clone, Debug)]
enum Step {
    Rotate {
        at_once: bool,
    },
    Promote,
    /// The key at this place, counted around.
    Retire {
        place: usize,
    },
    Wait {
        minutes: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(|at_once| Step::Rotate { at_once }),
        Just(Step::Promote),
        (0..8_usize).prop_map(|place| Step::Retire { place }),
        // Around the time of staging, and around that of the longest session.
        (0..15_u64).prop_map(|minutes| Step::Wait { minutes }),
        (1400..1500_u64).prop_map(|minutes| Step::Wait { minutes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever follows every step, and a process that signs all the time.
    #[test]
    fn whatever_is_done_one_key_signs_and_no_cookie_is_dropped(steps in prop::collection::vec(step(), 1..40)) {
        let mut life = Life::begin();
        let mut last_signed: BTreeMap<String, Timestamp> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Rotate { at_once } => drop(life.rotate(if at_once { Duration::ZERO } else { STAGE_FOR })),
                Step::Promote => drop(life.promote()),
                Step::Retire { place } => {
                    let ids: Vec<_> = life.ring.keys().map(|key| key.id().to_string()).collect();
                    drop(life.retire(&ids[place % ids.len()], false));
                }
                Step::Wait { minutes } => {
                    let wait = Duration::from_secs(60 * minutes);
                    let switch = life.ring.staged().map(|(_, from)| from.since(life.clock.now()));
                    let first = switch.filter(|switch| !switch.is_zero() && *switch <= wait).unwrap_or(wait);
                    // The last moment before another key signs.
                    let last = first.saturating_sub(Duration::from_millis(1));
                    life.clock.advance(last);
                    last_signed.insert(life.signs(), life.clock.now());
                    life.clock.advance(wait - last);
                }
            }
            let now = life.clock.now();
            last_signed.insert(life.signs(), now);
            let signing = life.ring.keys().filter(|key| key.role == Role::Signing).count();
            let staged = life.ring.keys().filter(|key| matches!(key.role, Role::Staged { .. })).count();
            prop_assert!(signing == 1 && staged <= 1);
            let ring = life.ring.ring();
            for (id, at) in last_signed.iter().filter(|(_, at)| now < at.plus(LONGEST_SESSION)) {
                let found = ring.find(KeyId::parse(id.as_bytes()).unwrap());
                prop_assert!(found.is_some(), "{} signed at {} and is gone at {}", id, at, now);
            }
            let settled = life.ring.at(now).ring();
            prop_assert_eq!(settled.signing(now).id().to_string(), life.signs(), "the record says the same");
        }
    }
}
