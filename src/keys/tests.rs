use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;

const NOW: Timestamp = Timestamp::from_seconds(1_795_357_200);
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

struct RingOnDisk {
    _folder: TempDir,
    path: PathBuf,
}

fn ring(text: &str) -> RingOnDisk {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    RingOnDisk { _folder: folder, path }
}

fn entry(id: &str, secret: &str, state: &str) -> String {
    format!("[[key]]\nid = \"{id}\"\nsecret = \"{secret}\"\ncreated = 2026-11-22T00:00:00Z\nstate = \"{state}\"\n")
}

/// A key that takes over.
fn next(id: &str) -> String {
    entry(id, SECRET, "verifying") + "signs_from = 2026-11-22T00:10:00Z\n"
}

/// What loading that text says, without the folder's name.
fn refusal(text: &str) -> String {
    let ring = ring(text);
    let message = load(&Source::File(ring.path.clone())).unwrap_err().to_string();
    message.replace(&ring.path.display().to_string(), "keys.toml")
}

fn secret(fill: u8, length: usize) -> SecretBytes {
    SecretBytes::new(vec![fill; length])
}

fn ids(ring: &KeyRing) -> Vec<String> {
    ring.keys().map(|key| key.id().to_string()).collect()
}

#[test]
fn a_ring_file_gives_its_signing_and_verifying_keys() {
    let text = entry("old", SECRET, "verifying") + &entry("new", SECRET, "signing") + &entry("gone", SECRET, "retired");
    let on_disk = ring(&text);
    let loaded = load(&Source::File(on_disk.path)).unwrap();
    assert_eq!(loaded.signing(NOW).id().as_str(), "new");
    assert_eq!(ids(&loaded), ["new", "old"], "a retired key is not accepted");
}

#[test]
fn a_staged_key_of_a_ring_file_takes_over_by_itself() {
    let on_disk = ring(&(entry("old", SECRET, "signing") + &next("new")));
    let loaded = load(&Source::File(on_disk.path)).unwrap();
    let signing = |time| loaded.signing(Timestamp::from_rfc3339(time).unwrap()).id().to_string();
    assert_eq!(signing("2026-11-22T00:09:59Z"), "old");
    assert_eq!(signing("2026-11-22T00:10:00Z"), "new");
    assert_eq!(ids(&loaded), ["old", "new"]);
}

#[test]
fn what_is_wrong_with_a_ring_file_is_said_with_its_line() {
    let good = entry("a", SECRET, "signing");
    let unknown_member = good.clone() + "colour = \"red\"\n";
    #[rustfmt::skip]
    let table = [
        (String::new(), "no key of keys.toml signs: exactly one must have"),
        (entry("a", SECRET, "verifying"), "no key of keys.toml signs"),
        (good.clone() + &entry("b", SECRET, "signing"), "keys.toml:6: key \"b\" signs, and so does a"),
        (good.clone() + &entry("a", SECRET, "verifying"), "keys.toml:6: key \"a\" stands there twice"),
        (good.clone() + &entry("a", SECRET, "retired"), "keys.toml:6: key \"a\" stands there twice"),
        (entry("a.b", SECRET, "signing"), "keys.toml:1: key \"a.b\" has no legal id: 1 to 16"),
        (entry("a", "c2hvcnQ=", "signing"), "keys.toml:1: key \"a\" has a secret of 5 bytes, and 32"),
        (entry("a", SECRET.trim_end_matches('='), "signing"), "keys.toml:1: key \"a\" has a secret that is no base64"),
        (good.replace("T00:00:00Z", ""), "keys.toml:1: key \"a\" has no legal created"),
        (good.clone() + "signs_from = 2026-11-22T00:00:00Z\n", "keys.toml:1: key \"a\" has signs_from, which is for"),
        (good.clone() + &next("b") + &next("c"), "keys.toml:12: key \"c\" has signs_from, and so has b"),
        (good.clone() + &next("b").replace("T00:00:00Z\nstate", "T00:00:00Z\nsigned_until = 2026-11-22\nstate"),
            "keys.toml:6: key \"b\" has no legal signed_until"),
        (good.clone() + &next("b").replace("0:10:00Z", "0:10:00"), "keys.toml:6: key \"b\" has no legal signs_from"),
        (entry("a", SECRET, "active"), "keys.toml:5: unknown variant `active`"),
        (unknown_member, "keys.toml:6: unknown field `colour`"),
        (good.replace("id = \"a\"\n", ""), "keys.toml:1: missing field `id`"),
        (good.replace("= \"a\"", "= \"a"), "keys.toml:2: "),
    ];
    for (text, expected) in table {
        let message = refusal(&text);
        assert!(message.starts_with(expected), "{message:?} is to begin with {expected:?}");
    }
}

#[test]
fn no_message_quotes_the_secret() {
    let broken = entry("a", SECRET, "signing").replace("=\"\ncreated", "=\ncreated");
    for text in [broken, entry("a", &format!("!{SECRET}"), "signing")] {
        let message = refusal(&text);
        assert!(!message.contains(&SECRET[..8]), "{message}");
    }
}

#[test]
fn a_ring_file_that_others_may_read_is_refused_with_the_cure() {
    let on_disk = ring(&entry("a", SECRET, "signing"));
    for mode in [0o640, 0o604, 0o620, 0o644] {
        std::fs::set_permissions(&on_disk.path, std::fs::Permissions::from_mode(mode)).unwrap();
        let message = load(&Source::File(on_disk.path.clone())).unwrap_err().to_string();
        assert!(message.contains(&format!("mode {mode:04o}")), "{message}");
        assert!(message.contains(&format!("`chmod 600 {}`", on_disk.path.display())), "{message}");
    }
    std::fs::set_permissions(&on_disk.path, std::fs::Permissions::from_mode(0o400)).unwrap();
    assert!(load(&Source::File(on_disk.path)).is_ok());
}

#[test]
fn a_ring_file_that_is_not_there_is_named() {
    let error = load(&Source::File(PathBuf::from("/nowhere/keys.toml"))).unwrap_err();
    assert_eq!(error.to_string(), "the key ring /nowhere/keys.toml cannot be read");
}

#[test]
fn a_secret_makes_a_ring_of_one_under_an_id_of_its_own() {
    let current = SecretBytes::new(b"0123456789abcdef0123456789abcdef".to_vec());
    let loaded = load(&Source::Secret { current: current.clone(), previous: None }).unwrap();
    // printf 'guestpass kid0123456789abcdef0123456789abcdef' | sha256sum | cut -c1-8
    assert_eq!(ids(&loaded), ["env-2570c0b9"]);

    let loaded = load(&Source::Secret { current: secret(1, 32), previous: Some(current.clone()) }).unwrap();
    assert_ne!(loaded.signing(NOW).id().as_str(), "env-2570c0b9");
    assert_eq!(ids(&loaded)[1], "env-2570c0b9");

    let twice = Source::Secret { current: current.clone(), previous: Some(current) };
    assert_eq!(ids(&load(&twice).unwrap()), ["env-2570c0b9"]);
}

#[test]
fn a_secret_that_could_be_guessed_is_refused() {
    let short = load(&Source::Secret { current: secret(1, 31), previous: None }).unwrap_err().to_string();
    assert!(short.starts_with("HMAC_SECRET has 31 bytes, and 32"), "{short}");
    let source = Source::Secret { current: secret(1, 32), previous: Some(secret(2, 5)) };
    let short = load(&source).unwrap_err().to_string();
    assert!(short.starts_with("HMAC_SECRET_PREVIOUS has 5 bytes"), "{short}");
}
