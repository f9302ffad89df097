use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::cookie::{Key, KeyId, KeyRing, Protection};
use crate::secret::{SecretBytes, SecretText};
use crate::session::{Session, Source};

struct House {
    folder: TempDir,
    config: Config,
    clock: Arc<ManualClock>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            path: folder.path().join("audit/session.log"),
            mode: Mode::Required,
            compliance: Some("GDPR, Art. 30".to_owned()),
            client_address: ClientAddress::Truncated,
            max_size: 1024 * 1024,
            keep: 3,
        };
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)));
        Self { folder, config, clock }
    }

    fn start(&self) -> Audit {
        self.start_with(ring("a", "b").into())
    }

    fn start_with(&self, ring: SharedRing) -> Audit {
        Audit::start(self.config.clone(), ring, Arc::clone(&self.clock) as _).unwrap()
    }

    /// A trail of one process that handed out `count` sessions.
    fn with_sessions(count: usize) -> Self {
        let house = Self::new();
        house.hand_out(count);
        house
    }

    fn hand_out(&self, count: usize) {
        let audit = self.start();
        (0..count).for_each(|number| mint(&audit, &format!("session-{number}")).unwrap());
    }

    fn segments(&self) -> Vec<PathBuf> {
        list(&self.config.path).unwrap()
    }

    fn verify(&self) -> Report {
        verify_all(&self.config.path, &[key("a"), key("b")], None).unwrap()
    }

    /// The one thing that is wrong.
    fn flaw(&self) -> String {
        let mut flaws = self.verify().flaws;
        assert_eq!(flaws.len(), 1, "{flaws:?}");
        flaws.remove(0).to_string()
    }
}

fn ring(signing: &str, verifying: &str) -> KeyRing {
    KeyRing::new(key(signing), vec![key(verifying)]).unwrap()
}

fn key(id: &str) -> Key {
    Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(vec![id.as_bytes()[0]; 32]))
}

/// Hands a session out as the gate does.
fn mint(audit: &Audit, id: &str) -> Result<(), Unrecorded> {
    let session = Session {
        id: id.to_owned(),
        token: SecretText::new("t0ken-that-nobody-may-see-in-a-log".to_owned()),
        organization_id: "org".to_owned(),
        issued_at: Timestamp::from_seconds(1_790_000_000),
        expires_at: Timestamp::from_seconds(1_790_003_600),
    };
    let (key_id, waited) = (key("a").id(), Duration::from_micros(1_234_567));
    let event =
        Event::Minted { session: &session, key_id, protection: Protection::Signed, waited, source: Source::Direct };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(audit.record(&event, None))?;
    audit.notice(&event, None);
    Ok(())
}

fn lines(segment: &Path) -> Vec<String> {
    fs::read_to_string(segment).unwrap().lines().map(str::to_owned).collect()
}

fn put(segment: &Path, lines: &[String]) {
    fs::write(segment, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[test]
fn a_line_says_what_happened_and_no_secret() {
    let house = House::with_sessions(1);
    let text = fs::read_to_string(&house.segments()[0]).unwrap();
    assert!(!text.contains("t0ken"), "{text}");
    let minted: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    let expected = [
        ("sequence", serde_json::json!(2)),
        ("timestamp", "2026-09-21T14:13:20.000Z".into()),
        ("event", "session.minted".into()),
        ("sessionId", "session-0".into()),
        ("latencyMs", serde_json::json!(1234.567)),
        ("keyVersion", "a".into()),
        ("source", "direct".into()),
        ("compliance", "GDPR, Art. 30".into()),
        ("auditKey", "a".into()),
    ];
    for (name, value) in expected {
        assert_eq!(minted[name], value, "{name} in {text}");
    }
}

#[test]
fn a_trail_runs_on_across_processes_and_files() {
    let mut house = House::new();
    house.hand_out(3);
    house.hand_out(2);
    let report = house.verify();
    assert_eq!(report.flaws, []);
    let counted: Vec<_> = report.segments.iter().map(|it| (it.lines, it.head.map(|head| head.0))).collect();
    assert_eq!(counted, [(4, Some(4)), (3, Some(7))]);
    assert_eq!(fs::read_link(&house.config.path).unwrap(), Path::new("session-000002.log"), "for whoever follows it");

    house.config.max_size = 1;
    house.hand_out(5);
    let report = house.verify();
    assert_eq!(report.flaws, []);
    assert_eq!(report.segments.len(), house.config.keep, "the oldest are gone");
    assert_eq!(report.notes.len(), 1, "and that is said: {:?}", report.notes);
    assert_eq!(
        report.segments.last().unwrap().head.unwrap().0,
        7 + 1 + 5 * 2,
        "an opening, and each line with one of its own"
    );
}

#[test]
fn two_processes_at_once_write_files_of_their_own() {
    let house = House::new();
    let before = house.start();
    mint(&before, "one").unwrap();
    let after = house.start();
    mint(&before, "two").unwrap();
    mint(&after, "three").unwrap();
    drop((before, after));
    let report = house.verify();
    assert_eq!(report.flaws, []);
    assert_eq!(report.segments.iter().map(|it| it.lines).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn a_line_torn_by_a_crash_is_no_tampering_and_is_told_at_the_next_start() {
    let house = House::with_sessions(3);
    let segment = house.segments().remove(0);
    let torn = b"{\"sequence\":5,\"timest";
    OpenOptions::new().append(true).open(&segment).unwrap().write_all(torn).unwrap();
    let report = house.verify();
    assert_eq!(report.flaws, []);
    assert!(report.notes[0].what.contains("as after a crash"), "{:?}", report.notes);

    house.hand_out(1);
    let opening = lines(&house.segments()[1]).remove(0);
    assert!(opening.contains("\"log.recovered\"") && opening.contains("\"bytes\":21"), "{opening}");
    let report = house.verify();
    assert_eq!(report.flaws, []);
    assert!(report.notes[0].what.contains("recovered"), "{:?}", report.notes);

    OpenOptions::new().append(true).open(&segment).unwrap().write_all(b"x").unwrap();
    assert_eq!(house.verify().flaws.len(), 1, "what was put there later is not what the crash has left");
}

#[test]
fn a_cut_tail_is_found_by_the_head_by_the_next_file_and_by_what_was_kept_elsewhere() {
    let house = House::with_sessions(3);
    let segment = house.segments().remove(0);
    let whole = lines(&segment);
    let kept = house.verify().segments[0].head.unwrap();

    put(&segment, &whole[..2]);
    let flaws = house.verify().flaws;
    assert_eq!(flaws.len(), 1);
    assert!(flaws[0].what.contains("the end was cut"), "{flaws:?}");
    fs::remove_file(head::path(&segment)).unwrap();
    assert!(house.verify().flaws[0].what.contains("head is missing"));

    house.hand_out(1);
    fs::remove_file(&segment).unwrap();
    let rest = verify(&house.segments(), &[key("a")], Some(kept)).unwrap();
    assert_eq!(rest.flaws.len(), 1, "{:?}", rest.flaws);
    assert_eq!(rest.flaws[0].segment, "--head");
}

#[test]
fn a_whole_file_in_the_middle_is_missed() {
    let house = House::with_sessions(1);
    house.hand_out(1);
    house.hand_out(1);
    let segments = house.segments();
    fs::remove_file(&segments[1]).unwrap();
    let flaws: Vec<_> = house.verify().flaws.iter().map(Flaw::to_string).collect();
    assert_eq!(
        flaws,
        [
            "session-000003.log: it continues session-000002.log, which is missing",
            "session-000002.log: it was taken away"
        ]
    );
}

#[test]
fn a_whole_file_at_either_end_is_missed() {
    let house = House::with_sessions(1);
    house.hand_out(1);
    house.hand_out(1);
    let segments = house.segments();
    let newest = fs::read(&segments[2]).unwrap();
    fs::remove_file(&segments[2]).unwrap();
    assert_eq!(house.flaw(), "session-000003.log: it was taken away: its head still stands there");
    fs::write(&segments[2], newest).unwrap();
    segment::remove(&segments[0]).unwrap();
    assert_eq!(house.flaw(), "session-000001.log: it was taken away");
}

#[test]
fn a_head_made_unreadable_does_not_bring_the_older_one_back() {
    let house = House::with_sessions(3);
    let segment = house.segments().remove(0);
    let (whole, head) = (lines(&segment), fs::read(head::path(&segment)).unwrap());
    let newer = if head[..512].windows(12).any(|it| it == b"\"sequence\":4") { 0 } else { 512 };
    let other = 512 - newer;
    let mut spoilt = head.clone();
    spoilt[newer..newer + 512].fill(b' ');
    let mut doubled = head.clone();
    doubled.copy_within(other..other + 512, newer);
    for changed in [&spoilt, &doubled, &head[other..other + 512].to_vec()] {
        fs::write(head::path(&segment), changed).unwrap();
        put(&segment, &whole);
        assert_eq!(house.verify().flaws, [], "as after a crash: the lines are there");
        put(&segment, &whole[..3]);
        assert!(house.flaw().contains("its head was changed"));
    }
}

#[test]
fn a_key_that_was_given_up_is_no_good_for_another_end() {
    let house = House::new();
    let audit = house.start_with(ring("a", "b").into());
    mint(&audit, "one").unwrap();
    drop(audit);
    let audit = house.start_with(ring("b", "a").into());
    (0..3).for_each(|number| mint(&audit, &number.to_string()).unwrap());
    drop(audit);
    let segment = house.segments().remove(1);
    let mut forged = lines(&segment)[..2].to_vec();
    assert!(forged[1].contains("\"auditKey\":\"b\"") && house.verify().flaws.is_empty());
    let json = forged[1].split_once(",\"chain\"").unwrap().0.replace("\"sequence\":4", "\"sequence\":5") + "}";
    let json = json.replace("\"auditKey\":\"b\"", "\"auditKey\":\"a\"");
    let (line, link) = Link::said_by(&forged[1]).unwrap().close(&json, &key("a"));
    forged.push(line);
    put(&segment, &forged);
    let end = head::Head { segment: "session-000002.log".to_owned(), sequence: 5, link };
    head::HeadFile::create(&segment, &end, &key("a")).unwrap().write(&end, &key("a")).unwrap();
    assert_eq!(
        house.flaw(),
        "session-000002.log:3: it is under the key `a` again, which had been given up: it may be forged"
    );
}

#[test]
fn a_ring_that_goes_back_does_not_take_the_trail_along() {
    let house = House::new();
    let shared = SharedRing::from(ring("a", "b"));
    let audit = house.start_with(shared.clone());
    mint(&audit, "one").unwrap();
    shared.replace(ring("b", "a"));
    mint(&audit, "two").unwrap();
    shared.replace(ring("a", "b"));
    mint(&audit, "three").unwrap();
    drop(audit);
    assert_eq!(house.verify().flaws, []);
    let keys: Vec<_> = lines(&house.segments()[0]).iter().map(|line| line.contains("\"auditKey\":\"b\"")).collect();
    assert_eq!(keys, [false, false, true, true]);
}

#[test]
fn half_a_line_of_a_process_that_lives_is_not_torn() {
    let house = House::new();
    let audit = house.start();
    mint(&audit, "one").unwrap();
    let segment = house.segments().remove(0);
    OpenOptions::new().append(true).open(&segment).unwrap().write_all(b"{\"sequ").unwrap();
    house.hand_out(1);
    let opening = lines(&house.segments()[1]).remove(0);
    assert!(opening.contains("\"log.opened\"") && opening.contains("\"ended\":false"), "{opening}");
    assert_eq!(house.verify().flaws, []);
}

#[test]
fn restarts_pushed_out_what_had_happened() {
    let mut house = House::with_sessions(1);
    house.config.keep = 2;
    (0..10).for_each(|_| drop(house.start()));
    assert_eq!(house.segments().len(), 1 + 10, "short ones take no room from a full one");
    assert_eq!(house.verify().flaws, []);
}

#[test]
fn what_another_process_writes_is_not_taken_away() {
    let mut house = House::new();
    (house.config.keep, house.config.max_size) = (2, 1);
    let before = house.start();
    house.hand_out(3);
    assert_eq!(house.segments().len(), 1 + 4, "nothing behind it either, since that would be a gap");
    mint(&before, "one").unwrap();
    drop(before);
    house.hand_out(1);
    assert_eq!(house.segments().len(), 2);
    assert_eq!(house.verify().flaws, []);
}

#[test]
fn a_link_that_was_planted_is_not_followed() {
    let house = House::with_sessions(1);
    let victim = house.folder.path().join("victim");
    fs::write(&victim, "dear").unwrap();
    let next = house.config.path.with_file_name("session-000002.log");
    for planted in [next.clone(), head::path(&next), head::path(&next).with_extension("new")] {
        std::os::unix::fs::symlink(&victim, planted).unwrap();
    }
    house.hand_out(1);
    assert_eq!(fs::read_to_string(victim).unwrap(), "dear");
}

#[test]
fn a_file_that_was_taken_away_is_written_no_more() {
    let house = House::new();
    let audit = house.start();
    mint(&audit, "one").unwrap();
    segment::remove(&house.segments()[0]).unwrap();
    mint(&audit, "two").unwrap();
    let segment = house.segments().remove(0);
    assert!(fs::read_to_string(segment).unwrap().contains("\"two\""), "where somebody finds it");
    assert!(!house.verify().flaws.is_empty());
}

#[test]
fn a_line_without_end_takes_no_memory_and_is_found() {
    let house = House::with_sessions(1);
    let segment = house.segments().remove(0);
    let mut text = lines(&segment);
    text.insert(1, "x".repeat(3 * lines::LONGEST));
    put(&segment, &text);
    assert_eq!(house.flaw(), "session-000001.log:2: it is longer than any line of an audit log");
}

#[test]
fn refusals_by_the_thousand_push_nothing_else_out() {
    let house = House::new();
    let audit = house.start();
    mint(&audit, "one").unwrap();
    for _ in 0..5_000 {
        audit.notice(&Event::MintLimited, None);
    }
    mint(&audit, "two").unwrap();
    audit.flush();
    let text = fs::read_to_string(&house.segments()[0]).unwrap();
    let count = |event: &str| text.matches(&format!("\"event\":\"{event}\"")).count();
    assert_eq!((count("session.minted"), count("session.refused"), count("log.omitted")), (2, 300, 1));
    assert!(text.contains("\"omitted\":4700"), "{text}");
    drop(audit);
    assert_eq!(house.verify().flaws, []);
}

#[test]
fn forged_cookies_by_the_thousand_keep_nobody_from_a_session() {
    let house = House::new();
    // Nobody takes anything out of the queue.
    let (orders, _queue) = sync_channel(QUEUE);
    let health = Arc::<Health>::default();
    let (config, clock) = (house.config.clone(), Arc::clone(&house.clock) as _);
    let budget = Budget::default();
    let audit = Audit { config, clock, health: Arc::clone(&health), budget, orders: Some(orders), writer: None };
    for _ in 0..QUEUE {
        // As if each had its own budget.
        let _ = audit.send(audit.draft(&Event::MintLimited, None).unwrap(), None);
    }
    assert_eq!(health.lost(), (QUEUE - UNAWAITED) as u64);
    let (done, _outcome) = oneshot::channel();
    let draft = audit.draft(&Event::MintLimited, None).unwrap();
    assert!(audit.send(draft, Some(done)).is_ok());
}

#[test]
fn a_line_under_another_key_is_not_believed() {
    let house = House::with_sessions(2);
    let report = verify(&house.segments(), &[key("b")], None).unwrap();
    assert_eq!(report.flaws.len(), 3 + 1, "each line, and the head: {:?}", report.flaws);
}

#[test]
fn what_cannot_be_written_is_nobodys_session_and_is_told_when_it_can_be_again() {
    let mut house = House::new();
    let audit = house.start();
    mint(&audit, "one").unwrap();
    drop(audit);
    // Each line wants a file of its own, and there is no folder any more to make one in.
    house.config.max_size = 1;
    let audit = house.start();
    mint(&audit, "two").unwrap();
    let folder = house.config.path.parent().unwrap();
    let elsewhere = house.folder.path().join("elsewhere");
    fs::rename(folder, &elsewhere).unwrap();
    fs::write(folder, "no folder").unwrap();
    assert_eq!(mint(&audit, "three").unwrap_err().by, "the audit log");
    let health = audit.health();
    assert!(health.is_failing() && health.lost() == 1);
    fs::remove_file(folder).unwrap();
    fs::rename(&elsewhere, folder).unwrap();
    mint(&audit, "four").unwrap();
    assert!(!health.is_failing());
    drop(audit);
    assert_eq!(house.verify().flaws, []);
    let all: String = house.segments().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(all.contains("\"log.gap\"") && all.contains("\"lost\":1"), "{all}");
    assert!(!all.contains("three"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_a_line_is_found_with_its_number(
        place in 0_usize..8, other in 0_usize..8, at in 0.0_f64..1.0, how in 0..4,
    ) {
        let house = House::with_sessions(7);
        let segment = house.segments().remove(0);
        let mut text = lines(&segment);
        prop_assert_eq!(text.len(), 8);
        let first = match how {
            0 => {
                let byte = (at * text[place].len() as f64) as usize;
                let changed = if text[place].as_bytes()[byte] == b'0' { "1" } else { "0" };
                text[place].replace_range(byte..=byte, changed);
                place
            }
            1 => { text.remove(place); place }
            2 => { text.swap(place, other); place.min(other) }
            _ => { let line = text[other].clone(); text.insert(place, line); place }
        };
        put(&segment, &text);
        let flaws = house.verify().flaws;
        if how == 2 && place == other {
            prop_assert_eq!(flaws, []);
            return Ok(());
        }
        prop_assert!(!flaws.is_empty());
        // A line that stands twice in a row is only seen to be one too many at the second.
        let number = flaws.iter().filter_map(|flaw| flaw.line).min();
        let one_late = how == 3 && place == other;
        let expected = first + 1 + usize::from(one_late);
        let past_the_end = expected > text.len();
        prop_assert!(past_the_end || number == Some(expected), "{:?} instead of {}", flaws, expected);
    }
}
