//! A cookie is read as the golden rows say, and whatever else is made of one is not valid.

#![expect(clippy::unwrap_used, reason = "a test that cannot get ready has failed")]

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use guestpass::clock::Timestamp;
use guestpass::cookie::{Config, Jar, Key, KeyId, KeyRing, Protection, Reading};
use guestpass::random::{Random, SystemRandom};
use guestpass::secret::{SecretBytes, SecretText};
use guestpass::session::Session;
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use proptest::prelude::*;
use serde::Deserialize;

const NAME: &str = "genesys_session";
const NOW: Timestamp = Timestamp::from_seconds(1_790_000_100);

#[derive(Deserialize)]
struct Golden {
    keys: Vec<GoldenKey>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct GoldenKey {
    id: String,
    secret: String,
}

#[derive(Deserialize)]
struct Row {
    what: String,
    now: u64,
    name: String,
    organization: String,
    value: String,
    reading: String,
    session: Option<Claims>,
}

#[derive(Deserialize)]
struct Claims {
    sid: String,
    tok: String,
    org: String,
    iat: u64,
    exp: u64,
}

impl Claims {
    fn session(&self) -> Session {
        Session {
            id: self.sid.clone(),
            token: SecretText::new(self.tok.clone()),
            organization_id: self.org.clone(),
            issued_at: Timestamp::from_seconds(self.iat),
            expires_at: Timestamp::from_seconds(self.exp),
        }
    }
}

impl Golden {
    fn read() -> Self {
        serde_json::from_str(include_str!("../fixtures/cookies/v1.json")).unwrap()
    }

    fn ring(&self) -> Arc<KeyRing> {
        let mut keys = self.keys.iter().map(|key| {
            let secret = SecretBytes::new(BASE64_STANDARD.decode(&key.secret).unwrap());
            Key::new(KeyId::parse(key.id.as_bytes()).unwrap(), &secret)
        });
        Arc::new(KeyRing::new(keys.next().unwrap(), keys.collect()).unwrap())
    }
}

impl Row {
    fn jar(&self, ring: &Arc<KeyRing>) -> Jar {
        jar(&self.name, Arc::clone(ring), &self.organization)
    }
}

fn jar(name: &str, ring: Arc<KeyRing>, organization: &str) -> Jar {
    protected(Protection::Signed, name, ring, organization)
}

fn protected(protection: Protection, name: &str, ring: Arc<KeyRing>, organization: &str) -> Jar {
    let config = Config { name: name.to_owned(), protection, ..Config::default() };
    Jar::new(config, ring, organization.to_owned(), Arc::new(SystemRandom))
}

/// A jar with one key that signs and one that still verifies.
static JAR: LazyLock<Jar> = LazyLock::new(|| jar(NAME, ring("a", 1, vec![key("b", 2)]), "org"));

/// The same, writing the sealed form.
static SEALING: LazyLock<Jar> =
    LazyLock::new(|| protected(Protection::Sealed, NAME, ring("a", 1, vec![key("b", 2)]), "org"));

fn key(id: &str, fill: u8) -> Key {
    Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(vec![fill; 32]))
}

fn ring(id: &str, fill: u8, verifying: Vec<Key>) -> Arc<KeyRing> {
    Arc::new(KeyRing::new(key(id, fill), verifying).unwrap())
}

fn session(id: &str) -> Session {
    Session {
        id: id.to_owned(),
        token: SecretText::new("a token".to_owned()),
        organization_id: "org".to_owned(),
        issued_at: Timestamp::from_seconds(1_790_000_000),
        expires_at: Timestamp::from_seconds(1_790_003_600),
    }
}

/// The value alone of what the jar sets.
fn written(jar: &Jar, session: &Session) -> String {
    let header = jar.write(session, "shop.example", NOW).unwrap().session;
    let pair = header.to_str().unwrap().split(';').next().unwrap();
    pair.split_once('=').unwrap().1.to_owned()
}

fn judged(jar: &Jar, value: &[u8]) -> Reading {
    jar.judge(value, NOW).0.reading()
}

/// The rows were made by another program, from the description of the cookie alone.
#[test]
fn golden_cookies_are_read_as_they_always_were() {
    let golden = Golden::read();
    let ring = golden.ring();
    for row in &golden.rows {
        let now = Timestamp::from_seconds(row.now);
        let (verdict, flaw) = row.jar(&ring).judge(row.value.as_bytes(), now);
        assert_eq!(verdict.reading().as_str(), row.reading, "{}: {flaw:?}", row.what);
        assert_eq!(verdict.session().cloned(), row.session.as_ref().map(Claims::session), "{}", row.what);

        let header = format!("first=1; {}={}; last=2", row.name, row.value);
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&header).unwrap())]);
        assert_eq!(row.jar(&ring).read(&headers, now), verdict, "{}", row.what);
    }
    for word in ["valid", "expired", "outdated", "forged", "malformed"] {
        assert!(golden.rows.iter().any(|row| row.reading == word), "a row for {word}");
    }
}

#[test]
fn what_is_written_for_a_golden_session_is_the_golden_value() {
    let golden = Golden::read();
    let first = &golden.rows[0];
    let expected = first.session.as_ref().map(Claims::session).unwrap();
    assert_eq!(written(&first.jar(&golden.ring()), &expected), first.value);
}

/// The nonce of a golden row instead of chance.
#[derive(Debug)]
struct Known(Vec<u8>);

impl Random for Known {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

#[test]
fn what_is_sealed_for_a_golden_session_is_the_golden_value() {
    let golden = Golden::read();
    let first = golden.rows.iter().find(|row| row.value.starts_with("e1.")).unwrap();
    let nonce = BASE64_URL_SAFE_NO_PAD.decode(first.value.split('.').nth(2).unwrap()).unwrap();
    let config = Config { name: first.name.clone(), protection: Protection::Sealed, ..Config::default() };
    let jar = Jar::new(config, golden.ring(), first.organization.clone(), Arc::new(Known(nonce)));
    let expected = first.session.as_ref().map(Claims::session).unwrap();
    assert_eq!(written(&jar, &expected), first.value);
}

/// Every prefix, every suffix, every byte changed into every other, taken out, doubled or put in, and every join of the
/// head of one cookie with the tail of another.
#[test]
fn no_mutation_of_a_signed_cookie_is_valid() {
    no_mutation_is_valid(&JAR, &SEALING);
}

#[test]
fn no_mutation_of_a_sealed_cookie_is_valid() {
    no_mutation_is_valid(&SEALING, &JAR);
}

fn no_mutation_is_valid(jar: &Jar, other_form: &Jar) {
    let value = written(jar, &session("one")).into_bytes();
    let strangers =
        [written(jar, &session("two")), written(jar, &session("another")), written(other_form, &session("one"))];
    let strangers = strangers.map(String::into_bytes);
    let mut tried = 0;
    let mut refuse = |mutant: &[u8]| {
        assert_ne!(judged(jar, mutant), Reading::Valid, "{}", String::from_utf8_lossy(mutant));
        tried += 1;
    };
    for place in 0..value.len() {
        let (head, tail) = value.split_at(place);
        refuse(head);
        if place > 0 {
            refuse(tail);
        }
        for difference in 1..=255 {
            let mut mutant = value.clone();
            mutant[place] ^= difference;
            refuse(&mutant);
        }
        refuse(&[head, &tail[1..]].concat());
        refuse(&[head, &tail[..1], tail].concat());
        for byte in [b'A', b'.', b'=', b' ', b'"', 0, 0xff] {
            refuse(&[head, &[byte], tail].concat());
        }
        for stranger in &strangers {
            for cut in [place, place + 1] {
                let spliced = [head, &stranger[cut.min(stranger.len())..]].concat();
                // Two that only differ in what is cut off, or end alike by chance, are whole again.
                if spliced != *stranger && spliced != value {
                    refuse(&spliced);
                }
            }
        }
    }
    assert!(tried > 260 * value.len(), "{tried}");
    assert_eq!(judged(jar, &value), Reading::Valid, "the unchanged one is");
}

#[test]
fn no_cookie_under_another_key_or_another_name_is_valid() {
    for (form, version) in [(Protection::Signed, "v1"), (Protection::Sealed, "e1")] {
        let made = |name, ring| written(&protected(form, name, ring, "org"), &session("one"));
        assert_eq!(judged(&JAR, made(NAME, ring("a", 1, vec![])).as_bytes()), Reading::Valid);
        assert_eq!(judged(&JAR, made(NAME, ring("a", 9, vec![])).as_bytes()), Reading::Forged);
        let relabelled = made(NAME, ring("a", 1, vec![])).replacen(".a.", ".b.", 1);
        assert_eq!(judged(&JAR, relabelled.as_bytes()), Reading::Forged);
        let other_version = if version == "v1" { "e1" } else { "v1" };
        let relabelled = made(NAME, ring("a", 1, vec![])).replacen(version, other_version, 1);
        assert_eq!(judged(&JAR, relabelled.as_bytes()), Reading::Forged);
        assert_eq!(judged(&JAR, made(NAME, ring("c", 1, vec![])).as_bytes()), Reading::Outdated);
        for name in ["genesys_sessio", "genesys_session2", "Genesys_session", "g"] {
            assert_eq!(judged(&JAR, made(name, ring("a", 1, vec![])).as_bytes()), Reading::Forged, "{name}");
        }
    }
}

fn any_session() -> impl Strategy<Value = Session> {
    (".{0,60}", ".{0,200}", 1_790_000_200..1_900_000_000_u64).prop_map(|(id, token, expires)| Session {
        token: SecretText::new(token),
        expires_at: Timestamp::from_seconds(expires),
        ..session(&id)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_put_together_from_cookies_parts_is_valid(
        a in any_session(),
        b in any_session(),
        parts in prop::collection::vec((0..4_usize, 0..4_usize), 1..6),
    ) {
        let values = [written(&JAR, &a), written(&JAR, &b), written(&SEALING, &a), written(&SEALING, &b)];
        let split: Vec<Vec<&str>> = values.iter().map(|value| value.split('.').collect()).collect();
        let spliced = parts.iter().map(|(which, part)| split[*which][*part]).collect::<Vec<_>>().join(".");
        prop_assume!(!values.contains(&spliced));
        prop_assert_ne!(judged(&JAR, spliced.as_bytes()), Reading::Valid);
    }

    #[test]
    fn several_changes_at_once_are_no_better(
        session in any_session(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        for jar in [&*JAR, &*SEALING] {
            let value = written(jar, &session).into_bytes();
            let mut mutant = value.clone();
            for (place, byte) in &changes {
                let place = place.index(mutant.len());
                mutant[place] = *byte;
            }
            prop_assert_eq!(judged(jar, &mutant) == Reading::Valid, mutant == value);
        }
    }
}
