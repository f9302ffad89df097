use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::cookie::KeyId;
use crate::keys::{self, Change, Known, RingRecord, Source};
use crate::random::SystemRandom;

const DAY: Duration = Duration::from_secs(86_400);

struct House {
    _folder: TempDir,
    path: PathBuf,
    clock: Arc<ManualClock>,
    config: Config,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let clock = Arc::new(ManualClock::at(Timestamp::from_rfc3339("2026-11-22T00:00:00Z").unwrap()));
        keys::create(&path, "a test", &RingRecord::generate(&SystemRandom, clock.now())).unwrap();
        let config = Config {
            source: Source::File(path.clone()),
            rotate_every: Some(Config::ROTATE_EVERY),
            stage_for: Config::STAGE_FOR,
        };
        Self { _folder: folder, path, clock, config }
    }

    fn keeper(&self) -> Keeper {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Keeper::open(self.path.clone(), &self.config, clock, Arc::new(SystemRandom)).unwrap()
    }

    fn signing(&self, keeper: &Keeper) -> KeyId {
        keeper.ring().load().signing(self.clock.now()).id()
    }

    fn rotate(&self) -> KeyId {
        let rotate = |ring: &mut RingRecord| ring.rotate(Duration::ZERO, &SystemRandom, self.clock.now());
        keys::change(&self.path, "a test", rotate).unwrap()
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_change_is_seen_at_the_next_look_and_once() {
    let house = House::new();
    let mut keeper = house.keeper();
    assert_eq!(keeper.look(false), Looked::Unchanged);
    let id = house.rotate();
    assert_ne!(house.signing(&keeper), id);
    assert_eq!(keeper.look(false), Looked::Read);
    assert_eq!(house.signing(&keeper), id);
    assert_eq!(keeper.look(false), Looked::Unchanged);
    assert_eq!(keeper.look(true), Looked::Read, "whoever asks is answered");
}

#[test]
fn a_broken_ring_is_reported_once_and_the_last_good_one_stays() {
    let house = House::new();
    let mut keeper = house.keeper();
    let first = house.signing(&keeper);
    let good = text(&house.path);
    let broken = good.replace("state = \"signing\"", "state = \"sleeping\"");
    let remove: &dyn Fn() = &|| fs::remove_file(&house.path).unwrap();
    let breaks: [(&str, &dyn Fn()); 4] = [
        ("not the form of one", &|| fs::write(&house.path, &broken).unwrap()),
        ("cut short", &|| fs::write(&house.path, &good[..good.len() / 2]).unwrap()),
        ("open to others", &|| house.set_mode(0o644)),
        ("gone", remove),
    ];
    for (what, break_it) in breaks {
        break_it();
        assert_eq!(keeper.look(false), Looked::Broken, "{what}");
        assert_eq!(keeper.look(false), Looked::Unchanged, "{what}: once");
        assert_eq!(house.signing(&keeper), first, "{what}");
        house.clock.advance(100 * DAY);
        assert_eq!(keeper.look(false), Looked::Unchanged, "{what}: what cannot be read is not rotated");
        fs::write(&house.path, good.replace("2026-11-22", &house.clock.now().to_string()[..10])).unwrap();
        house.set_mode(0o600);
        assert_eq!(keeper.look(false), Looked::Read, "{what}: and it recovers");
    }
}

#[test]
fn an_old_key_is_rotated_as_by_command() {
    let house = House::new();
    let mut keeper = house.keeper();
    let first = house.signing(&keeper);
    house.clock.advance(Config::ROTATE_EVERY - Duration::from_millis(1));
    assert_eq!(keeper.look(false), Looked::Unchanged);
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(keeper.look(false), Looked::Rotated);
    assert_eq!(keeper.look(false), Looked::Unchanged);
    assert_eq!((house.signing(&keeper), keeper.ring().load().keys().count()), (first, 2));
    house.clock.advance(Config::STAGE_FOR);
    assert_ne!(house.signing(&keeper), first, "it takes over without being looked at");
}

#[test]
fn of_several_processes_one_rotates() {
    let house = House::new();
    let mut keepers = [house.keeper(), house.keeper(), house.keeper()];
    house.clock.advance(Config::ROTATE_EVERY);
    let looked: Vec<_> = keepers.iter_mut().map(|keeper| keeper.look(false)).collect();
    assert_eq!(looked, [Looked::Rotated, Looked::Read, Looked::Read]);
    assert_eq!(keys::read(&house.path).unwrap().keys().count(), 2);

    // The same when each has looked before any has written.
    house.clock.advance(Config::ROTATE_EVERY);
    let rotated: Vec<_> = keepers.iter_mut().map(Keeper::rotate).collect();
    assert_eq!(rotated, [true, false, false]);
    assert_eq!(keys::read(&house.path).unwrap().keys().count(), 3);
}

#[test]
fn whoever_finds_the_ring_locked_tries_again_later() {
    let house = House::new();
    let mut keeper = house.keeper();
    house.clock.advance(Config::ROTATE_EVERY);
    let during = keys::change(&house.path, "a test", |_| Ok(keeper.look(false))).unwrap();
    assert_eq!(during, Looked::Unchanged);
    assert_eq!(keeper.look(false), Looked::Unchanged, "not at once");
    house.clock.advance(RETRY);
    assert_eq!(keeper.look(false), Looked::Rotated);
}

#[test]
fn a_process_that_may_only_read_leaves_the_ring_as_it_is() {
    let house = House::new();
    let mut keeper = house.keeper();
    house.set_mode(0o400);
    house.clock.advance(Config::ROTATE_EVERY);
    assert_eq!(keeper.look(false), Looked::Read);
    house.clock.advance(OVERDUE);
    assert_eq!(keeper.look(false), Looked::Unchanged);
    assert!(keeper.has_complained);
    assert_eq!(keys::read(&house.path).unwrap().keys().count(), 1);
}

#[test]
fn without_rotation_a_key_becomes_as_old_as_it_likes() {
    let mut house = House::new();
    house.config.rotate_every = None;
    let mut keeper = house.keeper();
    house.clock.advance(1000 * DAY);
    assert_eq!(keeper.look(false), Looked::Unchanged);
    assert_eq!(keys::read(&house.path).unwrap().keys().count(), 1);
}

#[test]
fn what_is_different_about_the_ring_is_told_once() {
    let house = House::new();
    let mut keeper = house.keeper();
    let first = house.signing(&keeper);
    let mut known = Known::of(&keeper.ring.load(), house.clock.now());
    let mut changes = |keeper: &Keeper| known.changes(&keeper.ring.load(), house.clock.now());
    assert_eq!(changes(&keeper), []);

    let stage = |ring: &mut RingRecord| ring.rotate(Config::STAGE_FOR, &SystemRandom, house.clock.now());
    let second = keys::change(&house.path, "a test", stage).unwrap();
    keeper.look(true);
    assert_eq!(changes(&keeper), [], "it only verifies");
    house.clock.advance(Config::STAGE_FOR);
    assert_eq!(keeper.look(false), Looked::Unchanged);
    assert_eq!(changes(&keeper), [Change::Rotated { from: first, to: second }], "by the clock alone");
    assert_eq!(changes(&keeper), []);

    let retire = |ring: &mut RingRecord| ring.retire(first.as_str(), true, house.clock.now());
    keys::change(&house.path, "a test", retire).unwrap();
    keeper.look(true);
    assert_eq!(changes(&keeper), [Change::Retired(first)]);
    assert_eq!(changes(&keeper), []);
}
