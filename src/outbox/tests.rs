use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::courier::Failure;
use super::journal::{Settled, Waiting};
use super::queue::Queue;
use super::*;
use crate::clock::ManualClock;
use crate::cookie::{Key, KeyId};
use crate::random::SystemRandom;
use crate::secret::{SecretBytes, SecretText};
use crate::session::{Session, Source};
use crate::store::Revocation;

const NOW: Timestamp = Timestamp::from_seconds(1_795_357_200); // 2026-11-22T14:20:00Z

fn config(folder: &Path, url: String) -> Config {
    Config {
        folder: folder.to_owned(),
        url,
        secret: SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        ca: None,
        timeout: Duration::from_secs(5),
        give_up_after: Duration::from_secs(3_600),
    }
}

/// With this key signing.
fn in_use(id: &str) -> InUse {
    InUse {
        ring: Key::new(key(id), &SecretBytes::new(vec![7; 32])).into(),
        protection: Protection::Signed,
        rotate_every: Some(Duration::from_secs(90 * 86_400)),
    }
}

fn session(id: &str) -> Session {
    Session {
        id: id.to_owned(),
        token: SecretText::new("t0ken-that-nobody-may-see".to_owned()),
        organization_id: "org".to_owned(),
        issued_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(3_600)),
    }
}

fn key(id: &str) -> KeyId {
    KeyId::parse(id.as_bytes()).unwrap()
}

fn minted(session: &Session) -> Event<'_> {
    let (waited, source) = (Duration::from_millis(5), Source::Direct);
    Event::Minted { session, key_id: key("k1"), protection: Protection::Sealed, waited, source }
}

fn message(id: &str, subject: &str) -> Message {
    Message { id: id.to_owned(), subject: subject.to_owned(), body: format!("{{\"event\":\"{id}\"}}"), since: NOW }
}

fn waiting(number: u64, subject: &str) -> Waiting {
    Waiting { number, message: message(&format!("m{number}"), subject) }
}

mod messages {
    use super::*;

    fn of(event: &Event<'_>) -> Message {
        Message::of(event, &in_use("k1"), NOW).unwrap()
    }

    #[test]
    fn each_event_says_what_is_truly_in_use_and_no_token() {
        let session = session("s-1");
        let message = of(&minted(&session));
        assert_eq!(
            message.body,
            "{\"event\":\"session.created\",\"sessionId\":\"s-1\",\"timestamp\":\"2026-11-22T14:20:00.000Z\",\
             \"keyRotationMatrix\":{\"algorithm\":\"AES-256-GCM\",\"keyVersion\":\"k1\",\"rotationPolicy\":\"90d\"},\
             \"expirationDirective\":\"2026-11-22T15:20:00.000Z\"}"
        );
        let revocation = Revocation::of(&session);
        let revoked = of(&Event::Revoked { revocation: &revocation });
        assert_eq!(
            revoked.body,
            "{\"event\":\"session.revoked\",\"sessionId\":\"s-1\",\"timestamp\":\"2026-11-22T14:20:00.000Z\",\
             \"keyRotationMatrix\":{\"algorithm\":\"HMAC-SHA256\",\"keyVersion\":\"k1\",\"rotationPolicy\":\"90d\"},\
             \"expirationDirective\":\"2026-11-22T14:20:00.000Z\"}"
        );
        assert_eq!(message.subject, revoked.subject, "so that they go out in order");
        let rotated = of(&Event::KeyRotated { from: key("k1"), to: key("k2") });
        for part in ["\"keyVersion\":\"k2\"", "\"previousKeyVersion\":\"k1\"", "2026-11-23T15:20:00.000Z"] {
            assert!(rotated.body.contains(part), "{part} in {}", rotated.body);
        }
        let retired = of(&Event::KeyRetired { key_id: key("k0") });
        assert!(retired.body.contains("\"retiredKeyVersion\":\"k0\""), "{}", retired.body);
        assert!([message, revoked, rotated, retired].iter().all(|message| !message.body.contains("t0ken")));
    }

    #[test]
    fn an_id_depends_on_what_happened_and_not_on_who_tells_of_it_when() {
        let rotated = |from, to, signing: &str, seconds| {
            let in_use = InUse { protection: Protection::Sealed, ..in_use(signing) };
            let event = Event::KeyRotated { from: key(from), to: key(to) };
            Message::of(&event, &in_use, NOW.plus(Duration::from_secs(seconds))).unwrap().id
        };
        assert_eq!(rotated("k1", "k2", "k1", 0), rotated("k1", "k2", "k2", 3));
        assert_ne!(rotated("k1", "k2", "k1", 0), rotated("k2", "k3", "k1", 0));
        let (one, two) = (session("s-1"), session("s-2"));
        assert_ne!(of(&minted(&one)).id, of(&minted(&two)).id);
        let revocation = Revocation::of(&one);
        assert_ne!(of(&minted(&one)).id, of(&Event::Revoked { revocation: &revocation }).id);
    }
}

mod journals {
    use super::*;

    fn opened() -> (TempDir, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        (folder, journal)
    }

    #[test]
    fn what_was_written_is_there_after_a_restart_and_numbers_never_come_again() {
        let (folder, mut journal) = opened();
        journal.write(&[&message("a", "x"), &message("b", "y")], &[]).unwrap();
        journal.write(&[], &[Settled::Delivered(1), Settled::Delivered(2)]).unwrap();
        drop(journal);
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.write(&[&message("c", "x")], &[]).unwrap();
        assert_eq!(journal.waiting_behind(0, 9).unwrap(), [Waiting { number: 3, message: message("c", "x") }]);
        assert_eq!(journal.count().unwrap().oldest, Some(NOW));
    }

    #[test]
    fn only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, mut journal) = opened();
        journal.write(&[&message("a", "x")], &[]).unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        }
    }

    #[test]
    fn two_processes_write_into_it_and_see_each_other() {
        let (folder, mut journal) = opened();
        let mut other = Journal::open(folder.path()).unwrap();
        let before = journal.others_wrote().unwrap();
        other.write(&[&message("a", "x")], &[]).unwrap();
        assert_ne!(journal.others_wrote().unwrap(), before);
        journal.write(&[&message("b", "x")], &[Settled::Delivered(1)]).unwrap();
        assert_eq!(other.waiting_behind(0, 9).unwrap(), [Waiting { number: 2, message: message("b", "x") }]);
    }

    #[test]
    fn dead_letters_are_listed_revived_and_dropped() {
        let (folder, mut journal) = opened();
        journal.write(&[&message("a", "x"), &message("b", "y"), &message("c", "z")], &[]).unwrap();
        let given_up = |number| Settled::GivenUp { number, died: NOW, why: "no answer".to_owned() };
        journal.write(&[], &[given_up(1), given_up(2), given_up(3)]).unwrap();
        let mut letters = Letters::open(folder.path()).unwrap().unwrap();
        assert_eq!(letters.count().unwrap(), 3);
        assert_eq!(letters.list(2).unwrap().iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((letters.list(1).unwrap()[0].event.as_str(), letters.list(1).unwrap()[0].died), ("a", NOW));
        let later = NOW.plus(Duration::from_secs(9));
        let ids = |ids: &[&str]| Which::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(letters.retry(&ids(&["b", "nobody"]), later).unwrap(), 1);
        let revived = Waiting { number: 4, message: Message { since: later, ..message("b", "y") } };
        assert_eq!(journal.waiting_behind(0, 9).unwrap(), [revived]);
        assert_eq!(letters.drop(&ids(&["a"])).unwrap(), 1);
        assert_eq!(letters.retry(&Which::All, later).unwrap(), 1);
        assert_eq!((letters.count().unwrap(), journal.count().unwrap().waiting), (0, 2));
        assert!(Letters::open(Path::new("nowhere")).unwrap().is_none());
    }

    #[test]
    fn of_too_many_dead_letters_the_oldest_go() {
        let (_folder, mut journal) = opened();
        let messages: Vec<_> = (0..5).map(|number| message(&number.to_string(), "x")).collect();
        journal.write(&messages.iter().collect::<Vec<_>>(), &[]).unwrap();
        let given_up = |number| Settled::GivenUp { number, died: NOW, why: String::new() };
        journal.write(&[], &(1..=5).map(given_up).collect::<Vec<_>>()).unwrap();
        assert_eq!(journal.forget_oldest_dead(2).unwrap(), 3);
        assert_eq!(journal.forget_oldest_dead(2).unwrap(), 0);
        assert_eq!(journal.dead(9).unwrap()[0].message.id, "3");
    }

    #[test]
    fn room_is_given_back() {
        let (folder, mut journal) = opened();
        let large = Message { body: "x".repeat(4_000), ..message("a", "x") };
        journal.write(&vec![&large; 500], &[]).unwrap();
        let size = || {
            let files = std::fs::read_dir(folder.path()).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
        };
        assert!(size() > 2_000_000);
        journal.write(&[], &(1..=500).map(Settled::Delivered).collect::<Vec<_>>()).unwrap();
        journal.shrink().unwrap();
        drop(journal);
        assert!(size() < 100_000, "{}", size());
    }

    #[test]
    fn a_newer_ones_is_not_touched() {
        let (folder, journal) = opened();
        drop(journal);
        rusqlite::Connection::open(journal::path(folder.path()))
            .unwrap()
            .pragma_update(None, "user_version", 9)
            .unwrap();
        let refused = Journal::open(folder.path()).unwrap_err();
        assert!(matches!(refused, JournalError::Version(9)), "{refused}");
    }
}

mod queues {
    use super::*;

    /// Draws the longest wait.
    #[derive(Debug)]
    struct Patient;

    impl Random for Patient {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }
    }

    fn filled(subjects: &[&str], now: Instant) -> Queue {
        let mut queue = Queue::default();
        for (number, subject) in (1..).zip(subjects) {
            queue.add(waiting(number, subject), now);
        }
        queue
    }

    fn numbers(queue: &mut Queue, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| queue.next(now)).map(|waiting| waiting.number).collect()
    }

    #[test]
    fn of_each_subject_only_the_oldest_is_tried() {
        let now = Instant::now();
        let mut queue = filled(&["a", "a", "b", "a"], now);
        assert_eq!(numbers(&mut queue, now), [1, 3]);
        queue.failed(1, String::new(), None, now, &Patient);
        assert_eq!(numbers(&mut queue, now), [0; 0], "what failed waits, and so does what is behind it");
        queue.delivered(3, now);
        let wakes = queue.wakes().unwrap();
        assert_eq!(numbers(&mut queue, wakes), [1]);
        queue.delivered(1, now);
        assert_eq!(numbers(&mut queue, now), [2]);
        queue.delivered(2, now);
        assert_eq!(numbers(&mut queue, now), [4]);
        queue.delivered(4, now);
        assert_eq!(queue.wakes(), None);
    }

    #[test]
    fn so_many_are_under_way_at_once_and_of_a_receiver_that_is_down_one() {
        let now = Instant::now();
        let subjects: Vec<_> = (0..30).map(|number| number.to_string()).collect();
        let mut queue = filled(&subjects.iter().map(String::as_str).collect::<Vec<_>>(), now);
        assert_eq!(numbers(&mut queue, now), [1, 2, 3, 4, 5, 6, 7, 8]);
        (1..=8).for_each(|number| queue.failed(number, String::new(), None, now, &Patient));
        assert_eq!(queue.next(now), None, "there is a pause");
        let wakes = queue.wakes().unwrap();
        let wait = wakes - now;
        assert!((1..=30).contains(&(wait.as_secs() + 1)), "{wait:?}");
        assert_eq!(numbers(&mut queue, wakes), [9], "another one, since the first ones may be what is wrong");
        queue.delivered(9, wakes);
        assert_eq!(numbers(&mut queue, wakes).len(), 8, "it is back");
    }

    #[test]
    fn what_a_receiver_asks_for_holds_for_all() {
        let now = Instant::now();
        let mut queue = filled(&["a", "b"], now);
        queue.next(now).unwrap();
        queue.failed(1, String::new(), Some(Duration::from_secs(100)), now, &SystemRandom);
        assert_eq!(queue.wakes(), Some(now + Duration::from_secs(100)));
        assert_eq!(queue.next(now + Duration::from_secs(99)), None);
    }

    #[test]
    fn waits_grow_from_try_to_try() {
        let (start, mut waits) = (Instant::now(), Vec::new());
        let mut queue = filled(&["a"], start);
        let mut now = start;
        for _ in 0..4 {
            queue.next(now).unwrap();
            queue.failed(1, String::new(), None, now, &Patient);
            let wakes = queue.wakes().unwrap();
            waits.push((wakes - now).as_secs_f64().round());
            now = wakes;
        }
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0]);
    }

    #[test]
    fn what_is_too_old_is_given_up_unless_it_is_under_way() {
        let now = Instant::now();
        let mut queue = filled(&["a", "a", "b"], now);
        let later = NOW.plus(Duration::from_secs(1));
        queue.next(now).unwrap();
        let given_up: Vec<_> = queue.give_up(later, now).into_iter().map(|it| it.number).collect();
        assert_eq!(given_up, [2, 3]);
        queue.failed(1, "the receiver answered 500".to_owned(), None, now, &Patient);
        let given_up = queue.give_up(later, now);
        assert!(given_up[0].why.contains("500"), "{given_up:?}");
        assert_eq!((queue.wakes(), queue.give_up(later, now).len()), (None, 0));
        queue.add(waiting(7, "a"), now);
        assert_eq!(numbers(&mut queue, now), [7], "and nothing is left in its way");
    }

    #[test]
    fn of_too_many_the_oldest_are_given_up() {
        let now = Instant::now();
        let mut queue = Queue::default();
        (1..=100_003).for_each(|number| queue.add(waiting(number, "a"), now));
        let given_up: Vec<_> = queue.give_up(NOW, now).into_iter().map(|it| it.number).collect();
        assert_eq!(given_up, [1, 2, 3]);
        assert_eq!(numbers(&mut queue, now), [4]);
    }
}

mod couriers {
    use super::*;

    /// What comes of it when the receiver answers with these bytes, and what it was sent. It closes when it is told to.
    async fn delivered(answer: &str, closes: bool) -> (Result<(), Failure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let config = Config { timeout: Duration::from_millis(300), ..config(Path::new("x"), url) };
        let courier = Courier::new(&config, Arc::new(ManualClock::at(NOW))).unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4_096];
            let mut length = 0;
            while !request[..length].ends_with(b"}") {
                length += stream.read(&mut request[length..]).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            request.truncate(length);
            ((!closes).then_some(stream), String::from_utf8(request).unwrap())
        };
        let (outcome, (_stream, request)) = tokio::join!(courier.deliver(message("msg_1", "x")), answering);
        (outcome, request)
    }

    #[tokio::test]
    async fn it_is_signed_and_sent_once_to_the_very_address() {
        let (outcome, request) = delivered("HTTP/1.1 204 No Content\r\n\r\n", false).await;
        assert_eq!(outcome, Ok(()));
        let body = "{\"event\":\"msg_1\"}";
        let secret = SigningSecret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_1", NOW.seconds(), body);
        for part in [
            "POST /hook?a=b HTTP/1.1\r\n",
            "content-type: application/json\r\n",
            "webhook-id: msg_1\r\n",
            "webhook-timestamp: 1795357200\r\n",
            &format!("webhook-signature: {signature}\r\n"),
            &format!("\r\n\r\n{body}"),
        ] {
            assert!(request.contains(part), "{part} in {request}");
        }
    }

    #[tokio::test]
    async fn nothing_but_a_whole_2xx_is_an_acceptance() {
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(65 * 1024));
        for (answer, closes, accepted) in [
            (endless.as_str(), false, false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, true),
            ("HTTP/1.1 202 Accepted\r\nconnection: close\r\n\r\nwell", true, true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", true, false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", false, false),
            ("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\n\r\n", true, false),
            ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", false, false),
            ("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", false, false),
            ("HTTP/1.1 20", true, false),
            ("", true, false),
            ("", false, false),
        ] {
            let (outcome, _) = delivered(answer, closes).await;
            assert_eq!(outcome.is_ok(), accepted, "{answer:?} {outcome:?}");
        }
    }

    #[tokio::test]
    async fn retry_after_is_heeded_of_429_and_503_and_is_never_long() {
        for (answer, wait) in [
            ("429 Too Many Requests\r\nretry-after: 7", Some(7)),
            ("503 Service Unavailable\r\nretry-after: 86400", Some(3_600)),
            ("503 Service Unavailable\r\nretry-after: Sun, 22 Nov 2026 14:20:07 GMT", Some(7)),
            ("503 Service Unavailable", None),
            ("500 Internal Server Error\r\nretry-after: 7", None),
        ] {
            let (outcome, _) = delivered(&format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n"), false).await;
            assert_eq!(outcome.unwrap_err().retry_after, wait.map(Duration::from_secs), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_failure_does_not_show_the_address() {
        let config = config(Path::new("x"), "http://127.0.0.1:1/hook?token=swordfish".to_owned());
        let courier = Courier::new(&config, Arc::new(ManualClock::at(NOW))).unwrap();
        let failure = courier.deliver(message("msg_1", "x")).await.unwrap_err();
        assert!(failure.why.contains("refused") && !failure.why.contains("swordfish"), "{failure:?}");
    }
}

mod recording {
    use super::*;

    fn outbox(folder: &Path) -> Outbox {
        // Nobody listens there.
        let config = config(folder, "http://127.0.0.1:1/".to_owned());
        let clock = Arc::new(ManualClock::at(NOW));
        Outbox::start(config, in_use("k1"), clock, Arc::new(SystemRandom), &runtime::Handle::current()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_at_once_are_all_on_disk_when_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(folder.path());
        let sessions: Vec<_> = (0..500).map(|number| session(&format!("s-{number}"))).collect();
        let events: Vec<_> = sessions.iter().map(minted).collect();
        let all = futures_util::future::join_all(events.iter().map(|event| outbox.record(event, None))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        let other = Journal::open(folder.path()).unwrap();
        assert_eq!(other.count().unwrap().waiting, 500);
        assert_eq!(outbox.health().unrecorded(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_somebody_else_does_not_let_us_write_is_not_recorded_and_later_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = outbox(folder.path());
        let session = session("s-1");
        let event = minted(&session);
        let other = rusqlite::Connection::open(journal::path(folder.path())).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = outbox.record(&event, None).await.unwrap_err();
        assert!(refused.to_string().contains("the outbox cannot be written"), "{refused}");
        assert!(outbox.health().is_unwritable() && outbox.health().unrecorded() == 1);
        other.execute_batch("ROLLBACK").unwrap();
        outbox.record(&event, None).await.unwrap();
        assert!(!outbox.health().is_unwritable());
    }
}
