use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::fingerprint::Fingerprint;
use crate::random::SystemRandom;

const WHO: &str = "a test";

fn now() -> Timestamp {
    Timestamp::from_rfc3339("2026-11-22T00:00:00.250Z").unwrap()
}

/// A folder with a ring file.
fn made() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    create(&path, WHO, &RingRecord::generate(&SystemRandom, now())).unwrap();
    (folder, path)
}

fn rotate(path: &Path) -> Result<KeyId, Error> {
    change(path, WHO, |ring| ring.rotate(Duration::ZERO, &SystemRandom, now()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let (_folder, path) = made();
    let stage = |ring: &mut RingRecord| ring.rotate(Duration::from_secs(600), &SystemRandom, now());
    let staged = change(&path, WHO, stage).unwrap();
    change(&path, WHO, |ring| ring.retire(staged.as_str(), false, now())).unwrap();
    rotate(&path).unwrap();
    change(&path, WHO, stage).unwrap();
    let ring = read(&path).unwrap();
    assert_eq!(ring.keys().count(), 4);
    assert_eq!(parse(&path, &wire::text(&ring)).unwrap(), ring);
}

#[test]
fn a_secret_that_stands_in_a_wrong_place_is_not_repeated() {
    let secret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let right = [("id", "\"k1\""), ("state", "\"signing\""), ("created", "2026-11-22T00:00:00Z"), ("secret", "\"x\"")];
    let mut messages = Vec::new();
    for (wrong, _) in right {
        let value = |name, right: &str| if name == wrong { format!("\"{secret}\"") } else { right.to_owned() };
        let lines: Vec<String> =
            right.iter().map(|(name, right)| format!("{name} = {}\n", value(*name, right))).collect();
        // The secret itself is right where it is: what is wrong then is a name.
        let more = if wrong == "secret" { format!("\"{secret}\" = 1\n") } else { String::new() };
        let error = parse(Path::new("keys.toml"), &format!("[[key]]\n{}{more}", lines.concat())).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        messages.push(error.to_string());
    }
    assert!(messages[0].starts_with("keys.toml:1: key \"…\" "), "{messages:?}");
    assert!(messages[1].contains("unknown variant `…`, expected one of `signing`"), "{messages:?}");
    assert!(messages[3].contains("unknown field `…`, expected one of `id`"), "{messages:?}");
}

#[test]
fn a_new_ring_is_its_owners_alone_and_overwrites_nothing() {
    let (folder, path) = made();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let other = RingRecord::generate(&SystemRandom, now());
    assert!(matches!(create(&path, WHO, &other), Err(Error::Exists(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(names(&folder), ["keys.toml", "keys.toml.lock"]);
    assert_eq!(mode(&folder.path().join("keys.toml.lock")), 0o600);
}

#[test]
fn where_there_is_no_folder_no_ring_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let made = create(&folder.path().join("none/keys.toml"), WHO, &RingRecord::generate(&SystemRandom, now()));
    assert!(matches!(made, Err(Error::Write { .. })));
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let (folder, path) = made();
    let before = Fingerprint::of(&path);
    let failed = change(&path, WHO, |ring| {
        ring.rotate(Duration::ZERO, &SystemRandom, now())?;
        ring.promote(now())
    });
    assert!(matches!(failed, Err(Error::NothingStaged { .. })));
    assert_eq!(Fingerprint::of(&path), before);
    assert_eq!(names(&folder), ["keys.toml", "keys.toml.lock"]);
}

#[test]
fn what_a_killed_writer_left_behind_is_neither_read_nor_in_the_way() {
    let (folder, path) = made();
    // Killed between writing and renaming: the new file stands there, cut short or whole, and so does its lock file.
    let left = folder.path().join("keys.toml.new");
    for leftover in ["[[key]]\nid = \"k", &fs::read_to_string(&path).unwrap()] {
        fs::write(&left, leftover).unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o400)).unwrap();
        fs::write(folder.path().join("keys.toml.lock"), "somebody (process 1)").unwrap();
        let before = read(&path).unwrap();
        rotate(&path).unwrap();
        assert!(!left.exists());
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read(&path).unwrap().keys().count(), before.keys().count() + 1);
    }
}

#[test]
fn whoever_holds_the_lock_is_named() {
    let (_folder, path) = made();
    let during = change(&path, "somebody", |_| Ok(rotate(&path).unwrap_err().to_string())).unwrap();
    let holder = format!("is being changed by somebody (process {}): try again", std::process::id());
    assert!(during.contains(&holder), "{during}");
    rotate(&path).unwrap();
}

#[test]
fn of_many_writers_at_once_none_undoes_anothers_work() {
    const WRITERS: usize = 8;
    let (_folder, path) = made();
    let together = Barrier::new(WRITERS);
    let writer = || {
        together.wait();
        loop {
            match rotate(&path) {
                Ok(id) => return id,
                Err(Error::Locked { .. }) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    };
    let ids: Vec<KeyId> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(writer)).collect();
        // Whoever reads meanwhile finds a whole ring.
        for _ in 0..200 {
            read(&path).unwrap();
        }
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let ring = read(&path).unwrap();
    assert_eq!(ring.keys().count(), WRITERS + 1);
    assert!(ids.iter().all(|id| ring.keys().any(|key| key.id == *id)));
}

#[test]
fn a_link_stays_a_link() {
    let (folder, path) = made();
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    rotate(&link).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(read(&path).unwrap().keys().count(), 2);
    assert!(matches!(create(&link, WHO, &read(&path).unwrap()), Err(Error::Exists(_))));
}

#[test]
fn a_ring_that_is_not_to_be_written_is_left_alone() {
    let (_folder, path) = made();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let before = Fingerprint::of(&path);
    assert!(matches!(rotate(&path), Err(Error::ReadOnly { .. })));
    assert_eq!(Fingerprint::of(&path), before);
}

#[test]
fn a_ring_that_others_may_read_is_not_rotated_either() {
    let (_folder, path) = made();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(rotate(&path), Err(Error::Exposed { mode: 0o640, .. })));
}

#[test]
fn a_replaced_an_edited_and_a_relinked_file_each_look_different() {
    let (folder, path) = made();
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut seen = vec![Fingerprint::of(&link)];
    rotate(&path).unwrap();
    seen.push(Fingerprint::of(&link));
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"# a remark\n").unwrap();
    seen.push(Fingerprint::of(&link));
    fs::remove_file(&link).unwrap();
    seen.push(Fingerprint::of(&link));
    let other = folder.path().join("other.toml");
    create(&other, WHO, &read(&path).unwrap()).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    seen.push(Fingerprint::of(&link));
    let distinct = seen.iter().enumerate().all(|(place, one)| !seen[..place].contains(one));
    assert!(distinct, "{seen:?}");
}
