use tempfile::TempDir;

use super::*;

/// Chance that always falls the same way, so that keys count up.
#[derive(Debug)]
struct Stuck;

impl Random for Stuck {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

struct Shell {
    _folder: TempDir,
    ring: Ring,
    now: Timestamp,
}

impl Shell {
    /// With a ring that was just made.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ring = Ring { path: folder.path().join("keys.toml"), stage_for: Config::STAGE_FOR, admin: None };
        let shell = Self { _folder: folder, ring, now: Timestamp::from_rfc3339("2026-11-22T00:00:00Z").unwrap() };
        let said = shell.says(&Action::New { ring: shell.ring.path.clone(), from_secret: false });
        assert_eq!(
            said,
            "keys.toml has one key, k202611-000000, which signs\nlet `file` in [keys] of proxy.toml name it\n"
        );
        shell
    }

    fn says(&self, action: &Action) -> String {
        let said = self.ring.act(action, &Stuck, self.now).unwrap_or_else(|error| format!("error: {error}\n"));
        said.replace(&self.ring.path.display().to_string(), "keys.toml")
    }

    fn retire(&self, id: &str, force: bool) -> String {
        self.says(&Action::Retire { id: id.to_owned(), force })
    }
}

#[test]
fn a_ring_is_led_through_its_life() {
    let mut shell = Shell::new();
    shell.now = shell.now.plus(Duration::from_secs(3600));
    assert_eq!(
        shell.says(&Action::Rotate { now: false }),
        "k202611-000001 verifies from now on, and signs from 2026-11-22T01:10:00.000Z (in 10 min 0 s)\n"
    );
    assert_eq!(
        shell.says(&Action::List),
        "\
key             age        state                                                          cookies verified  may be retired
k202611-000000  1 h 0 min  signs                                                          -                 no: it signs
k202611-000001  0 s        verifies, signs from 2026-11-22T01:10:00.000Z (in 10 min 0 s)  -                 yes
"
    );
    assert_eq!(shell.says(&Action::Promote), "k202611-000001 signs from now on\n");
    shell.now = shell.now.plus(Duration::from_secs(86_400 + 600));
    assert_eq!(shell.says(&Action::Rotate { now: true }), "k202611-000002 signs from now on\n");
    assert_eq!(
        shell.says(&Action::List),
        "\
key             age      state     cookies verified  may be retired
k202611-000000  1 d 1 h  verifies  -                 yes
k202611-000001  1 d 0 h  verifies  -                 from 2026-11-24T01:20:00.000Z (in 1 d 0 h)
k202611-000002  0 s      signs     -                 no: it signs
"
    );
    assert_eq!(
        shell.retire("k202611-000000", false),
        "k202611-000000 is retired: its cookies are outdated from now on\n"
    );
    assert!(shell.says(&Action::List).contains("k202611-000000  1 d 1 h  retired   -                 is\n"));
}

#[test]
fn what_would_do_harm_is_refused_with_the_reason() {
    let shell = Shell::new();
    let refused = |action: &Action| shell.says(action).strip_prefix("error: ").unwrap().to_owned();
    let new = Action::New { ring: shell.ring.path.clone(), from_secret: false };
    assert_eq!(refused(&new), "keys.toml exists already, and a key ring is never overwritten\n");
    assert!(refused(&Action::Promote).starts_with("no key is staged: k202611-000000 signs"));
    assert!(shell.retire("k202611-000000", true).contains("signs, and a ring must have a key that does"));
    assert!(shell.retire("k1\u{1b}[2J", true).contains("no key \"k1\\u{1b}[2J\""));
    shell.says(&Action::Rotate { now: false });
    assert!(refused(&Action::Rotate { now: true }).starts_with("k202611-000001 is staged already"));
    shell.says(&Action::Promote);
    let early = "error: visitors may have cookies under k202611-000000 until 2026-11-23T00:10:00.000Z";
    assert!(shell.retire("k202611-000000", false).starts_with(early));
    assert!(shell.retire("k202611-000000", true).contains("is retired"));
}
