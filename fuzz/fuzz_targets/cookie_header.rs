//! The `Cookie` headers: every cookie of ours is found and judged, and taken out so that the others stay as they were.
//!
//! The input is a `Cookie` header a line, in which some bytes that no header can hold stand for good and bad values.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use guestpass::clock::Timestamp;
use guestpass::cookie::{Config, Hop, Jar, Key, KeyId, KeyRing, Reading, Verdict};
use guestpass::random::SystemRandom;
use guestpass::secret::{SecretBytes, SecretText};
use guestpass::session::Session;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

/// So short that a fuzzer comes upon it often.
const NAMES: [&[u8]; 3] = [b"s", b"s_seen", b"s_hop"];
const NOW: Timestamp = Timestamp::from_seconds(1_790_000_100);

struct Values {
    jar: Jar,
    /// What the bytes 1, 2, … stand for.
    values: Vec<Vec<u8>>,
}

static VALUES: LazyLock<Values> = LazyLock::new(|| {
    let key = Key::new(KeyId::parse(b"k").unwrap(), &SecretBytes::new(vec![7; 32]));
    let config = Config { name: "s".to_owned(), ..Config::default() };
    let jar = Jar::new(config, KeyRing::new(key, Vec::new()).unwrap(), "o".to_owned(), Arc::new(SystemRandom));
    let value = |id: &str, age: u64| {
        let issued_at = Timestamp::from_seconds(NOW.seconds() - age);
        let session = Session {
            id: id.to_owned(),
            token: SecretText::new("t".to_owned()),
            organization_id: "o".to_owned(),
            issued_at,
            expires_at: issued_at.plus(Duration::from_secs(3600)),
        };
        let written = jar.write(&session, "shop.example", issued_at).unwrap();
        let pair = written.session.to_str().unwrap().split(';').next().unwrap().to_owned();
        pair.split_once('=').unwrap().1.as_bytes().to_vec()
    };
    // Two sessions, the first one's again with less time left, one that has ended, and one that was forged.
    let mut values = vec![value("one", 0), value("two", 0), value("one", 1800), value("one", 7200), value("one", 0)];
    let last = values[4].len() - 2;
    values[4][last] ^= 1;
    Values { jar, values }
});

fuzz_target!(|input: &[u8]| {
    let Values { jar, values } = &*VALUES;
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(20) {
        let line: Vec<u8> = line
            .iter()
            .flat_map(|byte| {
                usize::from(*byte).checked_sub(1).and_then(|n| values.get(n)).cloned().unwrap_or(vec![*byte])
            })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            headers.append(COOKIE, value);
        }
    }
    headers.insert("x-other", HeaderValue::from_static("s=1; s_seen=1"));

    let found: Vec<Verdict> = jar.judge_each(&headers, NOW).map(|(verdict, _)| verdict).collect();
    let expected: Vec<Verdict> = pairs(&headers)
        .filter(|pair| name_of(pair) == Some(b"s"))
        .map(|pair| jar.judge(value_of(pair), NOW).0)
        .collect();
    assert_eq!(found, expected, "each of ours is judged, in its place");
    assert_reading(&jar.read(&headers, NOW), &found);

    let before = headers.clone();
    jar.strip(&mut headers);
    assert_stripped(&before, &headers);
    assert_eq!(jar.read(&headers, NOW).reading(), Reading::Absent);
    assert!(!jar.is_marked(&headers) && jar.hop(&headers) == Hop::None);
    let once = headers.clone();
    jar.strip(&mut headers);
    assert_eq!(headers, once, "there is nothing more to take");
});

fn assert_reading(read: &Verdict, all: &[Verdict]) {
    let good: Vec<&Session> = all.iter().filter_map(Verdict::session).collect();
    let expected = match good.first() {
        Some(first) if good.iter().all(|session| session.id == first.id) => Reading::Valid,
        Some(_) => Reading::Conflict,
        None => {
            use Reading::{Absent, Expired, Forged, Malformed, Outdated};
            let order = [Expired, Outdated, Forged, Malformed];
            order.into_iter().find(|one| all.iter().any(|verdict| verdict.reading() == *one)).unwrap_or(Absent)
        }
    };
    assert_eq!(read.reading(), expected);
    assert_eq!(read.session().is_some(), expected == Reading::Valid);
    let latest = good.iter().map(|session| session.expires_at).max();
    assert!(read.session().is_none_or(|session| Some(session.expires_at) == latest), "the one that lasts longest");
}

/// What is left and what was taken are all there was: the others' pairs are the same, in the same order, but for the
/// white space in front of a pair that has come to stand first.
fn assert_stripped(before: &HeaderMap, after: &HeaderMap) {
    let is_ours = |pair: &&[u8]| name_of(pair).is_some_and(|name| NAMES.contains(&name));
    assert!(!pairs(after).any(|pair| is_ours(&pair)), "ours are gone");
    assert_eq!(before.get("x-other"), after.get("x-other"));
    // An empty header is nobody's cookie, and may go with those of which nothing is left.
    let holds_something = |header: &&HeaderValue| !header.is_empty();
    let mut left = after.get_all(COOKIE).iter().filter(holds_something);
    for header in before.get_all(COOKIE).iter().filter(holds_something) {
        let all: Vec<&[u8]> = header.as_bytes().split(|byte| *byte == b';').collect();
        let mut kept: Vec<&[u8]> = all.iter().copied().filter(|pair| !is_ours(pair)).collect();
        if kept.len() == all.len() {
            assert_eq!(left.next(), Some(header), "not one byte of a header without ours is changed");
            continue;
        }
        let blank = kept.iter().take_while(|pair| pair.trim_ascii().is_empty()).count();
        kept.drain(..blank);
        if let Some(first) = kept.first_mut() {
            *first = first.trim_ascii_start();
            let expected = kept.join(&b';');
            assert_eq!(left.next().map(HeaderValue::as_bytes), Some(expected.as_slice()));
        }
    }
    assert_eq!(left.next(), None);
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(COOKIE).into_iter().flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
}

fn name_of(pair: &[u8]) -> Option<&[u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some(pair[..equals].trim_ascii())
}

fn value_of(pair: &[u8]) -> &[u8] {
    let equals = pair.iter().position(|byte| *byte == b'=').expect("it has a name");
    &pair[equals + 1..]
}
