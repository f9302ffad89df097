//! The ring file: what is accepted can be written and read again as the same ring, also after it was rotated, promoted
//! and retired, and nothing that is said of a broken one tells a secret.

#![no_main]

use std::path::Path;
use std::time::Duration;

use guestpass::clock::Timestamp;
use guestpass::keys::{self, RingRecord, State};
use guestpass::random::SystemRandom;
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_100);

/// The secrets of the corpus.
const SECRETS: [&str; 2] =
    ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="];

fuzz_target!(|text: &str| {
    let ring = match keys::parse(Path::new("keys.toml"), text) {
        Ok(ring) => ring,
        Err(error) => {
            let (said, shown) = (error.to_string(), format!("{error:?}"));
            assert!(SECRETS.iter().all(|secret| !said.contains(secret) && !shown.contains(secret)), "{said}");
            return;
        }
    };
    assert_sound(&ring);
    assert_sound(&ring.at(NOW));
    assert_eq!(ring.at(NOW).at(NOW), ring.at(NOW));

    // One key more, whatever the ring was like, and it signs at once.
    let mut rotated = ring.clone();
    if rotated.rotate(Duration::ZERO, &SystemRandom, NOW).is_ok() {
        assert_eq!(rotated.keys().count(), ring.keys().count() + 1);
        assert_sound(&rotated);
    }
    let mut promoted = ring.clone();
    if promoted.promote(NOW).is_ok() {
        assert_sound(&promoted);
    }
    for key in ring.keys() {
        let mut retired = ring.clone();
        if retired.retire(key.id().as_str(), true, NOW).is_ok() {
            assert_sound(&retired);
        }
    }
});

/// One key signs, at most one is the next, no two share an id; and written and read again it is the same.
fn assert_sound(ring: &RingRecord) {
    let count = |is_one: fn(&State) -> bool| ring.keys().filter(|key| is_one(&key.state())).count();
    assert_eq!(count(|state| *state == State::Signing), 1);
    assert!(count(|state| matches!(state, State::Staged { .. })) <= 1);
    let ids: Vec<_> = ring.keys().map(keys::KeyRecord::id).collect();
    assert!(ids.iter().enumerate().all(|(place, id)| !ids[..place].contains(id)));
    let _ = ring.ring();
    let _ = ring.rotation_due(keys::Config::ROTATE_EVERY);
    let written = keys::text(ring);
    let read = keys::parse(Path::new("keys.toml"), &written);
    assert_eq!(read.as_ref().ok(), Some(ring), "written as:\n{}", *written);
}
