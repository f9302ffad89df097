use super::*;
use crate::cookie::Key;
use crate::secret::SecretText;

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

fn key(id: &str, fill: u8) -> Key {
    Key::new(KeyId::parse(id.as_bytes()).unwrap(), &SecretBytes::new(vec![fill; 32]))
}

fn known(organization: Option<&str>) -> Known {
    let ring = KeyRing::new(key("new", 1), vec![key("old", 2)]).unwrap();
    Known { ring: Some(Arc::new(ring)), organization: organization.map(str::to_owned) }
}

/// A `Set-Cookie` line for a session of an hour, made under `key`.
fn line(key: Key) -> String {
    protected(key, Protection::Signed)
}

fn protected(key: Key, protection: Protection) -> String {
    let ring = Arc::new(KeyRing::new(key, vec![]).unwrap());
    let session = Session {
        id: "session-1\u{1b}[2J".to_owned(),
        token: SecretText::new("swordfish".to_owned()),
        organization_id: "org".to_owned(),
        issued_at: NOW,
        expires_at: NOW.plus(Duration::from_secs(3600)),
    };
    let config = cookie::Config { protection, ..cookie::Config::default() };
    let jar = Jar::new(config, ring, "org".to_owned(), Arc::new(SystemRandom));
    format!("Set-Cookie: {}", jar.write(&session, "h", NOW).unwrap().session.to_str().unwrap())
}

fn report(text: &str, known: &Known, seconds_later: u64) -> Report {
    inspect(&find(text, None, USUAL_NAME), known, NOW.plus(Duration::from_secs(seconds_later)), false)
}

#[test]
fn the_cookie_is_found_in_whatever_was_pasted() {
    let found = |text| {
        let found = find(text, None, USUAL_NAME);
        (found.name, found.value)
    };
    let default = "genesys_session";
    assert_eq!(found("v1.a.b.c"), (default, "v1.a.b.c"));
    assert_eq!(found(" v1.a.b.c==\n"), (default, "v1.a.b.c=="));
    assert_eq!(found("other=v1.a.b.c"), ("other", "v1.a.b.c"));
    assert_eq!(found("e1.a.b.c=="), (default, "e1.a.b.c=="));
    assert_eq!(found("set-cookie: genesys_session=v1.a.b.c; Path=/; Secure"), (default, "v1.a.b.c"));
    assert_eq!(found("Cookie: a=1; genesys_session=v1.a.b.c; z=2"), (default, "v1.a.b.c"));
    assert_eq!(found("nonsense"), (default, "nonsense"));
    let head = "HTTP/2 200\r\ncontent-type: text/html; charset=utf-8\r\nset-cookie: cart=7; Path=/\r\n\
                set-cookie: genesys_session=v1.a.b.c; Secure\r\n\r\n";
    assert_eq!(found(head), (default, "v1.a.b.c"));
    let jar = "# Netscape HTTP Cookie File\n\n#HttpOnly_localhost\tFALSE\t/\tTRUE\t1\tgenesys_session\tv1.a.b.c\n";
    assert_eq!(found(jar), (default, "v1.a.b.c"));
    assert_eq!(find("Cookie: a=1; pass=v1.a.b.c", None, "pass"), Found { name: "pass", value: "v1.a.b.c" });
    assert_eq!(find("a=1; b=2", Some("b"), USUAL_NAME), Found { name: "b", value: "2" });
    assert_eq!(find("é", Some("b"), USUAL_NAME), Found { name: "b", value: "é" });
}

#[test]
fn a_good_cookie_is_described_without_its_token() {
    let report = report(&line(key("new", 1)), &known(Some("org")), 60);
    assert_eq!(
        report.to_string(),
        "name          genesys_session\n\
         reads as      valid\n\
         because       its signature is right and its time is not over\n\
         key           new, which signs\n\
         session       session-1\\u{1b}[2J\n\
         organization  org\n\
         issued        2026-09-21T14:13:20.000Z (1 min 0 s ago)\n\
         valid until   2026-09-21T15:13:20.000Z (in 59 min 0 s)\n\
         token         not shown, 9 characters: --show-token shows it\n\
         note          a signed cookie hides nothing: whoever has it can read all of this, and the token\n"
    );
    assert_eq!(report.exit_code(), ExitCode::SUCCESS);
    let pasted = line(key("new", 1));
    let shown = inspect(&find(&pasted, None, USUAL_NAME), &known(None), NOW, true).to_string();
    assert!(shown.contains("token         swordfish\n"), "{shown}");
    assert!(shown.contains("organization  org (not compared: none is known here)\n"), "{shown}");
}

#[test]
fn what_is_wrong_is_said() {
    for (text, known, later, expected) in [
        (line(key("old", 2)), known(None), 0, "old, which verifies"),
        (line(key("gone", 3)), known(None), 0, "reads as      outdated\nbecause       its key gone is not in the ring"),
        (
            line(key("new", 3)),
            known(None),
            0,
            "reads as      forged\nbecause       its tag is not the one that the key makes of it under this cookie's",
        ),
        (line(key("new", 1)), known(Some("other")), 0, "reads as      outdated\nbecause       it is for another"),
        (
            line(key("new", 1)),
            known(None),
            9999,
            "reads as      expired\nbecause       it ended at 2026-09-21T15:13:20",
        ),
        (line(key("new", 1)).replace("session=", "other="), known(None), 0, "reads as      forged"),
        (
            "a name = value".to_owned(),
            known(None),
            0,
            "reads as      absent\nbecause       no cookie can have that name",
        ),
        ("nonsense".to_owned(), known(None), 0, "reads as      malformed\nbecause       it has not the four parts"),
        ("nonsense".to_owned(), Known::default(), 0, "reads as      malformed"),
    ] {
        let report = report(&text, &known, later);
        assert!(report.to_string().contains(expected), "{report} is to say {expected:?}");
        assert!(!report.to_string().contains("swordfish"));
        let valid = report.reading == Some(Reading::Valid);
        assert_eq!(report.exit_code(), if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
}

#[test]
fn without_a_key_the_claims_are_shown_as_unverified() {
    let report = report(&line(key("new", 1)), &Known::default(), 0);
    let text = report.to_string();
    assert!(text.contains("reads as      unverified\n") && text.contains("\nsession       session-1"), "{text}");
    assert!(!text.contains("swordfish"), "{text}");
    assert_eq!(report.exit_code(), ExitCode::from(UNVERIFIED));
}

#[test]
fn a_sealed_cookie_is_described_to_whoever_has_its_key() {
    let sealed = protected(key("new", 1), Protection::Sealed);
    let text = report(&sealed, &known(Some("org")), 60).to_string();
    assert!(text.contains("reads as      valid\n") && text.contains("\nsession       session-1"), "{text}");
    assert!(text.contains("token         not shown, 9 characters") && !text.contains("swordfish"), "{text}");
    assert!(text.ends_with("note          a sealed cookie cannot be read without its key\n"), "{text}");
    let shown = inspect(&find(&sealed, None, USUAL_NAME), &known(None), NOW, true).to_string();
    assert!(shown.contains("token         swordfish\n"), "{shown}");

    let over = report(&sealed, &known(None), 9999);
    assert_eq!(over.reading, Some(Reading::Expired));
    assert!(over.to_string().contains("\nsession       session-1"), "its key still opens it: {over}");
}

#[test]
fn a_sealed_cookie_stays_closed_without_its_key() {
    let sealed = protected(key("new", 1), Protection::Sealed);
    let without = report(&sealed, &Known::default(), 0).to_string();
    assert!(without.contains("reads as      unverified\n") && without.contains("\nkey           new\n"), "{without}");
    assert!(!without.contains("session-1") && !without.contains("\ntoken"), "{without}");

    let wrong = report(&protected(key("new", 3), Protection::Sealed), &known(None), 0);
    assert_eq!(wrong.reading, Some(Reading::Forged));
    assert!(!wrong.to_string().contains("session-1"), "{wrong}");
}

#[test]
fn spans_are_said_in_their_two_largest_units() {
    let said = |seconds| span(Duration::from_secs(seconds));
    assert_eq!([said(59), said(3599), said(3600), said(200_000)], ["59 s", "59 min 59 s", "1 h 0 min", "2 d 7 h"]);
}
