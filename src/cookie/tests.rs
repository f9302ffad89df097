use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::COOKIE;
use proptest::prelude::*;

use super::*;
use crate::random::SystemRandom;
use crate::secret::{SecretBytes, SecretText};

const NAME: &str = "genesys_session";
const NOW: Timestamp = Timestamp::from_seconds(1_790_000_100);

fn key(id: &str, fill: u8) -> Key {
    Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(vec![fill; 32]))
}

fn jar_with(config: Config, signing: Key, verifying: Vec<Key>) -> Jar {
    Jar::new(config, Arc::new(KeyRing::new(signing, verifying).unwrap()), "org".to_owned(), Arc::new(SystemRandom))
}

fn jar() -> Jar {
    jar_with(Config::default(), key("a", 1), vec![key("b", 2)])
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

fn written(jar: &Jar, session: &Session) -> String {
    let header = jar.write(session, "shop.example", NOW).unwrap().session;
    let text = header.to_str().unwrap();
    text.split_once(';').unwrap().0.split_once('=').unwrap().1.to_owned()
}

fn cookies(headers: &[String]) -> HeaderMap {
    headers.iter().map(|text| (COOKIE, HeaderValue::from_str(text).unwrap())).collect()
}

fn reading(jar: &Jar, header: &str) -> Reading {
    jar.read(&cookies(&[header.to_owned()]), NOW).reading()
}

#[test]
fn several_cookies_make_one_reading() {
    let jar = jar();
    let good = written(&jar, &session("one"));
    let longer = written(&jar, &Session { expires_at: Timestamp::from_seconds(1_790_009_000), ..session("one") });
    let other = written(&jar, &session("two"));
    let expired = {
        let ended = Session { expires_at: Timestamp::from_seconds(1_790_000_050), ..session("old") };
        let early = Timestamp::from_seconds(1_789_999_000);
        let header = jar.write(&ended, "h", early).unwrap().session;
        header.to_str().unwrap().split([';', '=']).nth(1).unwrap().to_owned()
    };
    let outdated = written(&jar_with(Config::default(), key("z", 3), vec![]), &session("three"));
    let forged = written(&jar_with(Config::default(), key("a", 3), vec![]), &session("four"));
    let malformed = "x".to_owned();
    #[rustfmt::skip]
    let table: &[(&[&str], Reading)] = &[
        (&[], Reading::Absent),
        (&[&malformed], Reading::Malformed),
        (&[&malformed, &forged], Reading::Forged),
        (&[&forged, &outdated, &malformed], Reading::Outdated),
        (&[&outdated, &expired, &forged], Reading::Expired),
        (&[&expired, &good, &malformed, &forged, &outdated], Reading::Valid),
        (&[&good, &longer, &good], Reading::Valid),
        (&[&good, &other], Reading::Conflict),
        (&[&good, &expired, &other, &good], Reading::Conflict),
    ];
    for (values, expected) in table {
        let pairs: Vec<String> = values.iter().map(|value| format!("{NAME}={value}")).collect();
        let together = jar.read(&cookies(&[format!("a=b; {}; c=d", pairs.join("; "))]), NOW);
        let apart = jar.read(&cookies(&pairs), NOW);
        assert_eq!(together.reading(), *expected, "{pairs:?}");
        assert_eq!(apart, together, "one header or several");
        assert_eq!(together.session().is_some(), *expected == Reading::Valid);
    }
    let latest = jar.read(&cookies(&[format!("{NAME}={good}; {NAME}={longer}; {NAME}={good}")]), NOW);
    assert_eq!(latest.into_session().unwrap().expires_at.seconds(), 1_790_009_000, "the latest end decides");
}

#[test]
fn a_session_that_was_taken_back_is_none_and_hides_nobodys() {
    let jar = jar();
    let (good, gone) = (written(&jar, &session("good")), written(&jar, &session("gone")));
    let forged = written(&jar_with(Config::default(), key("a", 3), vec![]), &session("gone"));
    for (values, expected) in [
        (vec![&gone], Reading::Revoked),
        (vec![&forged, &gone], Reading::Revoked),
        (vec![&gone, &good], Reading::Valid),
        (vec![&good, &gone], Reading::Valid),
    ] {
        let pairs: Vec<String> = values.iter().map(|value| format!("{NAME}={value}")).collect();
        let verdict = jar.read_unless(&cookies(&pairs), NOW, |session| session.id == "gone");
        assert_eq!(verdict.reading(), expected, "{pairs:?}");
        assert_eq!(
            verdict.session().map(|session| session.id.as_str()),
            (expected == Reading::Valid).then_some("good")
        );
    }
}

#[test]
fn the_deciding_key_is_named_only_if_it_is_in_the_ring() {
    let jar = jar();
    let by_previous = written(&jar_with(Config::default(), key("b", 2), vec![]), &session("one"));
    let verdict = jar.read(&cookies(&[format!("{NAME}=x; {NAME}={by_previous}")]), NOW);
    assert_eq!(verdict.key_id().unwrap().as_str(), "b");
    let by_stranger = written(&jar_with(Config::default(), key("z", 2), vec![]), &session("one"));
    assert_eq!(jar.read(&cookies(&[format!("{NAME}={by_stranger}")]), NOW).key_id(), None);
}

#[test]
fn a_cookie_is_written_with_its_attributes() {
    let header = jar().write(&session("one"), "shop.example", NOW).unwrap().session;
    let text = header.to_str().unwrap();
    let (pair, attributes) = text.split_once("; ").unwrap();
    assert!(pair.starts_with("genesys_session=v1.a."), "{pair}");
    assert_eq!(
        attributes,
        "HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=3470; Expires=Mon, 21 Sep 2026 15:12:50 GMT"
    );
    assert!(header.is_sensitive());
    assert_eq!(
        jar().expire("shop.example").session,
        "genesys_session=; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    );
}

#[test]
fn a_domain_is_written_only_where_the_host_lies_under_it() {
    let config = Config {
        domain: Some(".Shop.Example".to_owned()),
        same_site: SameSite::Lax,
        path: "/app".to_owned(),
        ..Config::default()
    };
    let jar = jar_with(config, key("a", 1), vec![]);
    for (host, under) in [
        ("shop.example", true),
        ("www.shop.example", true),
        ("notshop.example", false),
        ("example", false),
        ("", false),
    ] {
        for header in [jar.write(&session("one"), host, NOW).unwrap().session, jar.expire(host).session] {
            let text = header.to_str().unwrap();
            assert_eq!(text.contains("; Domain=shop.example;"), under, "{host}: {text}");
            assert_eq!(text.contains("Domain"), under, "{host}: {text}");
            assert!(text.contains("; SameSite=Lax; Secure; Path=/app; "), "{text}");
        }
    }
}

#[test]
fn a_session_near_its_end_is_not_written() {
    let at = |left: u64| NOW.plus(Duration::from_secs(left));
    for (left, writes) in [(0, false), (1, false), (30, false), (31, true)] {
        let result = jar().write(&Session { expires_at: at(left), ..session("one") }, "h", NOW);
        assert_eq!(result.is_ok(), writes, "{left} s: {result:?}");
    }
    let half_a_second = Session { expires_at: Timestamp::from_millis(NOW.millis() + 30_500), ..session("one") };
    assert!(jar().write(&half_a_second, "h", NOW).is_err(), "Max-Age=0 would delete");
    let past = jar().write(&Session { expires_at: Timestamp::from_seconds(5), ..session("one") }, "h", NOW);
    assert!(matches!(past, Err(Unwritable::TooShort { .. })));
}

#[test]
fn a_session_without_an_end_stays_within_the_calendar() {
    let endless = Session { expires_at: Timestamp::from_millis(u64::MAX), ..session("one") };
    let header = jar().write(&endless, "h", NOW).unwrap().session;
    assert!(header.to_str().unwrap().ends_with("; Expires=Fri, 31 Dec 9999 23:59:59 GMT"));
    assert_eq!(reading(&jar(), &format!("{NAME}={}", written(&jar(), &endless))), Reading::Valid);
}

#[test]
fn a_cookie_that_browsers_would_drop_is_an_error() {
    let with_token = |length: usize| Session { token: SecretText::new("x".repeat(length)), ..session("one") };
    let fits = (1..4096).take_while(|length| jar().write(&with_token(*length), "h", NOW).is_ok()).count();
    let largest = jar().write(&with_token(fits), "h", NOW).unwrap().session;
    assert!((4092..4096).contains(&largest.len()), "{}", largest.len());
    let error = jar().write(&with_token(fits + 1), "h", NOW).unwrap_err();
    assert!(matches!(error, Unwritable::TooLarge { size: 4096..4100, limit: 4096 }), "{error}");
    assert_eq!(reading(&jar(), &format!("{NAME}={}", written(&jar(), &with_token(fits)))), Reading::Valid);
}

#[test]
fn prefixed_names_work() {
    for name in ["__Host-genesys_session", "__Secure-s"] {
        let jar = jar_with(Config { name: name.to_owned(), ..Config::default() }, key("a", 1), vec![]);
        let SetCookies { session: header, marker, .. } = jar.write(&session("one"), "h", NOW).unwrap();
        assert_eq!(jar.set_by(&header), Some(name));
        // Browsers want these of a name with a prefix, and the companions' names have it as well.
        let hop = jar.remember(Hop::Cleared, "h", NOW);
        for companion in [marker.unwrap(), hop] {
            let text = companion.to_str().unwrap();
            assert!(
                text.starts_with(name) && text.contains("; Secure; Path=/; ") && !text.contains("Domain"),
                "{text}"
            );
        }
        let pair = header.to_str().unwrap().split_once(';').unwrap().0.to_owned();
        assert_eq!(reading(&jar, &pair), Reading::Valid);
        assert_eq!(reading(&jar, &pair.to_lowercase()), Reading::Absent, "a name's case is part of it");
    }
}

#[test]
#[should_panic(expected = "no header can hold")]
fn a_name_that_no_header_can_hold_is_found_at_the_start() {
    let _ = jar_with(Config { name: "a;b".to_owned(), ..Config::default() }, key("a", 1), vec![]);
}

#[test]
fn claims_are_shown_without_a_key_but_not_believed() {
    let value = written(&jar_with(Config::default(), key("unknown", 9), vec![]), &session("one"));
    let Peek { key_id, session: shown, .. } = peek(value.as_bytes(), NAME, None).unwrap();
    assert_eq!((key_id.as_str(), shown), ("unknown", Some(session("one"))));
    assert_eq!(jar().judge(value.as_bytes(), NOW).1, Some(Flaw::UnknownKey(key_id)));
    assert_eq!(peek(b"v1.a", NAME, None).unwrap_err(), Flaw::Parts);
}

fn any_session() -> impl Strategy<Value = Session> {
    (".{0,60}", ".{0,200}", 0..1_790_000_100_u64, 1_790_000_200..u64::MAX / 1000).prop_map(
        |(id, token, issued, expires)| Session {
            id,
            token: SecretText::new(token),
            organization_id: "org".to_owned(),
            issued_at: Timestamp::from_seconds(issued),
            expires_at: Timestamp::from_seconds(expires),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(session in any_session()) {
        for jar in [jar(), sealing()] {
            let verdict = jar.read(&cookies(&[format!("{NAME}={}", written(&jar, &session))]), NOW);
            prop_assert_eq!(verdict.reading(), Reading::Valid);
            prop_assert_eq!(verdict.into_session(), Some(session.clone()));
        }
    }

    #[test]
    fn no_bytes_at_all_make_the_reader_stumble(value in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_ne!(jar().judge(&value, NOW).0.reading(), Reading::Valid);
    }
}

fn sealing() -> Jar {
    jar_with(Config { protection: Protection::Sealed, ..Config::default() }, key("a", 1), vec![key("b", 2)])
}

#[test]
fn both_forms_are_read_whatever_is_written() {
    for (writer, version) in [(jar(), "v1.a."), (sealing(), "e1.a.")] {
        let value = written(&writer, &session("one"));
        assert!(value.starts_with(version), "{value}");
        for reader in [jar(), sealing()] {
            let verdict = reader.read(&cookies(&[format!("{NAME}={value}")]), NOW);
            assert_eq!(verdict.into_session(), Some(session("one")), "{version}");
        }
    }
}

#[test]
fn a_sealed_value_says_nothing_of_the_session() {
    let value = written(&sealing(), &session("one"));
    let decoded: Vec<u8> =
        value.split('.').skip(2).flat_map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    for word in ["a token", "\"sid\":"] {
        assert!(!decoded.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
    let closed = peek(value.as_bytes(), NAME, None).unwrap();
    assert_eq!((closed.protection, closed.session), (Protection::Sealed, None));
    let opened = peek(value.as_bytes(), NAME, Some(&KeyRing::new(key("a", 1), vec![]).unwrap())).unwrap();
    assert_eq!(opened.session, Some(session("one")));
}

#[test]
fn a_marker_stands_beside_a_strict_cookie_and_ends_with_it() {
    let marker = jar().write(&session("one"), "shop.example", NOW).unwrap().marker.unwrap();
    assert_eq!(
        marker,
        "genesys_session_seen=1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=3470; \
         Expires=Mon, 21 Sep 2026 15:12:50 GMT"
    );
    let gone = jar().expire("shop.example").marker.unwrap();
    assert!(gone.to_str().unwrap().starts_with("genesys_session_seen=; HttpOnly; SameSite=Lax;"), "{gone:?}");
    assert!(gone.to_str().unwrap().contains("; Max-Age=0; "), "{gone:?}");
    for same_site in [SameSite::Lax, SameSite::None] {
        let jar = jar_with(Config { same_site, ..Config::default() }, key("a", 1), vec![]);
        assert_eq!(jar.write(&session("one"), "h", NOW).unwrap().marker, None);
        assert_eq!(jar.expire("h").marker, None);
        assert!(!jar.is_marked(&cookies(&["genesys_session_seen=1".to_owned()])), "there it means nothing");
    }
    assert!(jar().is_marked(&cookies(&["a=1; genesys_session_seen=1".to_owned()])));
    assert!(!jar().is_marked(&cookies(&["genesys_session_seen=; seen=1".to_owned()])));
}

#[test]
fn a_hop_is_remembered_for_ten_seconds() {
    let hop = jar().remember(Hop::Arrived(1), "shop.example", NOW);
    assert_eq!(
        hop,
        "genesys_session_hop=1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=10; \
         Expires=Mon, 21 Sep 2026 14:15:10 GMT"
    );
    let sent = |text: &str| jar().hop(&cookies(&[text.to_owned()]));
    assert_eq!(sent("genesys_session_hop=1"), Hop::Arrived(1));
    assert_eq!(sent("genesys_session_hop=1; genesys_session_hop=c"), Hop::Cleared);
    assert_eq!(sent("hop=1"), Hop::None);
}

#[test]
fn all_three_of_our_cookies_are_taken_out_and_known_when_an_upstream_sets_them() {
    let mut headers =
        cookies(&["a=1; genesys_session=x; genesys_session_seen=1;  b=\"2\"; genesys_session_hop=1".to_owned()]);
    jar().strip(&mut headers);
    assert_eq!(headers[COOKIE], "a=1;  b=\"2\"");
    for name in ["genesys_session", "genesys_session_seen", "genesys_session_hop"] {
        assert_eq!(jar().set_by(&HeaderValue::from_str(&format!("{name}=x; Path=/")).unwrap()), Some(name));
    }
    assert_eq!(jar().set_by(&HeaderValue::from_static("genesys_session_seen2=1")), None);
}

#[test]
fn the_payload_is_not_looked_at_before_the_tag() {
    let jar = jar();
    for claims in ["", "null", "{}", "\u{0}", r#"{"sid":"x","tok":"x","org":"elsewhere","iat":0,"exp":0}"#] {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(claims);
        let value = format!("v1.a.{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode([0; 32]));
        assert_eq!(jar.judge(value.as_bytes(), NOW).1, Some(Flaw::Tag), "{claims}");
    }
}
