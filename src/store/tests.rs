use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::secret::SecretText;

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// One process: what it knows, and the hand that changes it, without the thread.
struct Process {
    known: Arc<ArcSwap<Known>>,
    keeper: Keeper,
    clock: Arc<ManualClock>,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let known = Arc::<ArcSwap<Known>>::default();
        let place = Place::Folder(folder.to_owned());
        let keeper = Keeper::open(&place, Arc::clone(&known), Arc::clone(&clock) as _).unwrap();
        Self { known, keeper, clock }
    }

    fn revoke(&mut self, revocations: &[Revocation]) -> Result<(), RevokeError> {
        let (orders, mut outcomes): (Vec<_>, Vec<_>) = revocations
            .iter()
            .map(|revocation| {
                let (done, outcome) = oneshot::channel();
                (Order { revocation: revocation.clone(), done }, outcome)
            })
            .unzip();
        self.keeper.carry_out(orders);
        outcomes.iter_mut().try_for_each(|outcome| outcome.try_recv().unwrap())
    }

    fn knows(&self, id: &str) -> bool {
        self.known.load().contain(&issued(id, NOW))
    }
}

fn issued(id: &str, issued_at: Timestamp) -> Session {
    Session {
        id: id.to_owned(),
        token: SecretText::new("token".to_owned()),
        organization_id: "org".to_owned(),
        issued_at,
        expires_at: issued_at.plus(HOUR),
    }
}

fn one(id: &str) -> Revocation {
    Revocation::of(&issued(id, NOW))
}

fn journal(folder: &Path) -> PathBuf {
    folder.join("revocations.journal")
}

#[test]
fn what_was_revoked_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Process::start(folder.path());
    first.revoke(&[one("a"), one("b\n\"c")]).unwrap();
    first.revoke(&[Revocation::IssuedBefore(NOW.plus(HOUR))]).unwrap();
    drop(first);
    let second = Process::start(folder.path());
    assert!(second.knows("a") && second.knows("b\n\"c"));
    assert!(second.known.load().contain(&issued("other", NOW)), "issued before the moment");
    assert!(!second.known.load().contain(&issued("other", NOW.plus(HOUR))), "issued at the moment");
}

#[test]
fn nobody_else_may_look_into_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state");
    Process::start(&folder).revoke(&[one("a")]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&journal(&folder))), (0o700, 0o600));
}

#[test]
fn a_torn_last_line_costs_nothing_but_itself() {
    let folder = tempfile::tempdir().unwrap();
    Process::start(folder.path()).revoke(&[one("a"), one("b")]).unwrap();
    let whole = fs::read(journal(folder.path())).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // Cut of its end alone, the line says all it has to say.
    for length in first..whole.len() - 1 {
        fs::write(journal(folder.path()), &whole[..length]).unwrap();
        let mut next = Process::start(folder.path());
        assert!(next.knows("a"), "cut at {length}");
        assert!(!next.knows("b"), "cut at {length}");
        next.revoke(&[one("c")]).unwrap();
        drop(next);
        let last = Process::start(folder.path());
        assert!(last.knows("a") && !last.knows("b") && last.knows("c"), "cut at {length}");
    }
}

#[test]
fn a_damaged_line_in_the_middle_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    Process::start(folder.path()).revoke(&[one("aaaa"), one("bbbb"), one("cccc")]).unwrap();
    let text = fs::read_to_string(journal(folder.path())).unwrap();
    fs::write(journal(folder.path()), text.replace("bbbb", "bbba")).unwrap();
    let next = Process::start(folder.path());
    assert!(next.knows("aaaa") && next.knows("cccc") && !next.knows("bbbb") && !next.knows("bbba"));
}

#[test]
fn two_processes_follow_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut old, mut new) = (Process::start(folder.path()), Process::start(folder.path()));
    old.revoke(&[one("a")]).unwrap();
    new.revoke(&[one("b")]).unwrap();
    assert!(new.knows("a"), "whoever writes reads first");
    assert!(!old.knows("b"), "not before it looks");
    old.keeper.look();
    assert!(old.knows("b"));
}

#[test]
fn what_has_ended_is_forgotten_and_the_journal_shrinks_under_its_followers() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, mut follower) = (Process::start(folder.path()), Process::start(folder.path()));
    let many: Vec<_> = (0..3_000).map(|number| one(&format!("session-{number}"))).collect();
    writer.revoke(&many).unwrap();
    assert!(writer.knows("session-0") && writer.knows("session-2999"));
    let before = fs::metadata(journal(folder.path())).unwrap().len();
    writer.clock.advance(HOUR);
    let late = Revocation::of(&issued("late", NOW.plus(HOUR)));
    follower.revoke(std::slice::from_ref(&late)).unwrap();
    writer.keeper.look();
    assert!(!writer.knows("session-0") && writer.knows("late"), "another's line survives the compaction");
    assert_eq!(writer.known.load().len(), 1);
    let after = fs::metadata(journal(folder.path())).unwrap().len();
    assert!(after < 1_000 && before > 100_000, "{before} {after}");

    // The follower still holds the file that was replaced.
    writer.revoke(&[one("x")]).unwrap();
    follower.keeper.look();
    assert!(follower.knows("x"));
    follower.revoke(&[one("y")]).unwrap();
    writer.keeper.look();
    assert!(writer.knows("y"), "and writes into the one that is there");
}

#[test]
fn all_issued_before_a_moment_stay_revoked_for_the_longest_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path());
    let moment = NOW.plus(HOUR);
    process.revoke(&[Revocation::IssuedBefore(moment), Revocation::IssuedBefore(NOW)]).unwrap();
    let reaches = |process: &Process| process.known.load().contain(&issued("any", NOW));
    process.clock.advance(HOUR + LONGEST_SESSION - Duration::from_secs(1));
    process.keeper.look();
    assert!(reaches(&process), "the later moment counts");
    process.clock.advance(Duration::from_secs(61));
    process.keeper.look();
    assert!(!reaches(&process));
}

#[test]
fn a_full_disk_is_an_error_and_what_is_known_stays() {
    let folder = tempfile::tempdir().unwrap();
    symlink("/dev/full", journal(folder.path())).unwrap();
    let mut process = Process::start(folder.path());
    let refused = process.revoke(&[one("a")]).unwrap_err();
    assert!(matches!(refused, RevokeError::Unwritten { .. }), "{refused}");
    assert!(!process.knows("a"), "what would be forgotten is not in force");
    fs::remove_file(journal(folder.path())).unwrap();
    process.revoke(&[one("b")]).unwrap();
    assert!(Process::start(folder.path()).knows("b"), "once there is room");
}

#[test]
fn a_journal_that_somebody_took_away_is_written_anew_with_all_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path());
    process.revoke(&[one("a")]).unwrap();
    fs::remove_file(journal(folder.path())).unwrap();
    process.keeper.look();
    assert!(process.knows("a"));
    process.revoke(&[one("b")]).unwrap();
    let next = Process::start(folder.path());
    assert!(next.knows("a") && next.knows("b"));
}

#[test]
fn whoever_holds_the_lock_for_good_does_not_hold_us() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path());
    let lock = fs::File::create(folder.path().join("revocations.lock")).unwrap();
    lock.lock().unwrap();
    assert!(process.revoke(&[one("a")]).is_err());
    lock.unlock().unwrap();
    process.revoke(&[one("a")]).unwrap();
}

#[tokio::test]
async fn the_store_in_memory_revokes_too() {
    let store = Store::open(&Place::Memory, Arc::new(ManualClock::at(NOW))).unwrap();
    assert!(!store.is_revoked(&issued("a", NOW)));
    store.revoke(one("a")).await.unwrap();
    assert!(store.is_revoked(&issued("a", NOW)) && !store.is_revoked(&issued("b", NOW)));
}

#[tokio::test]
async fn many_at_once_are_all_answered_and_all_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Folder(folder.path().to_owned());
    let store = Store::open(&place, Arc::new(ManualClock::at(NOW))).unwrap();
    let ids: Vec<_> = (0..500).map(|number| format!("session-{number}")).collect();
    let all = futures_util::future::join_all(ids.iter().map(|id| store.revoke(one(id)))).await;
    assert!(all.iter().all(Result::is_ok));
    let next = Process::start(folder.path());
    assert!(ids.iter().all(|id| next.knows(id)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_line_says_what_was_written_and_a_changed_one_nothing(
        id in ".*",
        millis in 0..253_402_300_799_999_u64,
        flip in any::<prop::sample::Index>(),
    ) {
        let revocation = Revocation::Session { id, until: Timestamp::from_millis(millis) };
        let line = wire::write(&revocation);
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(wire::read(line.trim_end().as_bytes()), Some(revocation));
        let mut damaged = line.trim_end().as_bytes().to_vec();
        let place = flip.index(damaged.len());
        damaged[place] ^= 1;
        prop_assert_eq!(wire::read(&damaged), None);
    }
}
