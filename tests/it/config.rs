//! Every mistake in a configuration is said at once, each at its line, and the annotated example shows every key.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use guestpass::clock::Timestamp;
use guestpass::config::{self, Loaded, Place, Problem, Severity};
use proptest::test_runner::Config as ProptestConfig;
use rcgen::{CertificateParams, KeyPair};

/// What certificates are held against, so that no test ends with the calendar.
const NOW: &str = "2026-11-22T14:20:00Z";

const SECRET: &str = "an example of a secret with more than 32 bytes";

/// A folder with the files that fixtures name.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (site, site_key) = certificate(2030);
        let (_, other_key) = certificate(2030);
        let (expired, expired_key) = certificate(2025);
        fs::create_dir(path.join("certs")).unwrap();
        for (name, text) in [
            ("certs/site.pem", &site),
            ("certs/site.key", &site_key),
            ("other.key", &other_key),
            ("expired.pem", &expired),
            ("expired.key", &expired_key),
            ("nonsense.pem", &"no PEM at all".to_owned()),
            ("page.html", &"<h1>{status}</h1>".to_owned()),
            ("short.txt", &"short\n".to_owned()),
            ("secret.txt", &format!("{SECRET}\r\n")),
        ] {
            fs::write(path.join(name), text).unwrap();
        }
        fs::write(path.join("binary.txt"), [0xff; 48]).unwrap();
        ring(path, "ring.toml", "YW4gZXhhbXBsZSBvZiBhIHNlY3JldCB3aXRoIG1vcmUgdGhhbiAzMiBieXRlcw==");
        ring(path, "encoding.toml", "an example of a secret that is no base64 whatsoever");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Parses `text` as if it stood in this folder, in an environment with what nearly every file needs, `variables`
    /// over it. An empty variable is as good as none.
    fn parse(&self, text: &str, variables: &[(&str, &str)]) -> Loaded {
        let usual = [
            ("GENESYS_CLIENT_ID", "client"),
            ("GENESYS_CLIENT_SECRET", "secret"),
            ("GENESYS_ORGANIZATION_ID", "organization"),
            ("HMAC_SECRET", SECRET),
        ];
        let folder = self.path().display().to_string();
        let env = |name: &str| {
            let found = variables.iter().chain(&usual).find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.replace("{folder}", &folder))
        };
        config::parse("proxy.toml", text, self.path(), &env, Timestamp::from_rfc3339(NOW).unwrap())
    }
}

fn certificate(until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn ring(folder: &Path, name: &str, secret: &str) {
    use std::os::unix::fs::PermissionsExt;

    let path = folder.join(name);
    let text =
        format!("[[key]]\nid = \"k1\"\nsecret = \"{secret}\"\ncreated = 2026-11-22T00:00:00Z\nstate = \"signing\"\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A fixture: what it is to be parsed as, and what is to be found.
struct Fixture {
    name: String,
    text: String,
    variables: Vec<(String, String)>,
    expected: Vec<String>,
}

/// The fixtures of a kind. The first comments of each say what is expected, as [`line`] writes it, and what stands in
/// the environment: `# env NAME=value`.
fn fixtures(kind: &str) -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config").join(kind);
    let fixtures: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fixture(&entry.unwrap().path())).collect();
    assert!(!fixtures.is_empty());
    fixtures
}

fn fixture(path: &Path) -> Fixture {
    let text = fs::read_to_string(path).unwrap();
    let mut fixture = Fixture {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        text,
        variables: Vec::new(),
        expected: Vec::new(),
    };
    for comment in fixture.text.lines().map_while(|line| line.strip_prefix("# ")) {
        if let Some(variable) = comment.strip_prefix("env ") {
            let (name, value) = variable.split_once('=').unwrap();
            fixture.variables.push((name.to_owned(), value.to_owned()));
        } else {
            fixture.expected.push(comment.to_owned());
        }
    }
    fixture
}

/// `error 12 limits.headers: …`, with the variable's name or `-` where there is no line.
fn line(problem: &Problem, folder: &Path) -> String {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = match &problem.place {
        Place::Line { number, .. } => number.to_string(),
        Place::Variable(name) => name.clone(),
        Place::File(_) => "-".to_owned(),
    };
    let title = problem.title.replace(&folder.display().to_string(), "{folder}");
    format!("{severity} {place} {}: {title}", problem.key)
}

fn check(kind: &str) {
    let folder = Folder::new();
    for Fixture { name, text, variables, expected } in fixtures(kind) {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let loaded = folder.parse(&text, &variables);
        let found: Vec<_> = loaded.problems.iter().map(|problem| line(problem, folder.path())).collect();
        assert_eq!(found, expected, "{kind}/{name}:\n{}", loaded.problems.render(false));
        assert_eq!(loaded.config.is_some(), kind == "accept", "{kind}/{name}");
        let helped = |problem: &Problem| problem.help.is_some() || problem.key.is_empty() || problem.key == "keys.file";
        assert!(loaded.problems.iter().all(helped), "every problem says what would be right: {kind}/{name}");
    }
}

#[test]
fn what_is_right_is_accepted_with_its_warnings() {
    check("accept");
}

#[test]
fn every_mistake_is_refused_at_its_line() {
    check("refuse");
}

#[test]
fn a_problem_looks_like_a_compilers_message() {
    let text = "[[listen]]\naddress = \"127.0.0.1:80\"\ntls = false\n\
                [limits]\nheader_timout = \"15s\"\nkeep_alive = \"75\"\n\
                [[upstream]]\nname = \"site\"\nservers = [\"http://127.0.0.1:3000\"]\n";
    let rendered = Folder::new().parse(text, &[("GENESYS_REGION_FILE", "/does/not/exist")]).problems.render(false);
    let expected = r#"error: unknown key `limits.header_timout`
 --> proxy.toml:5:1
  |
5 | header_timout = …
  | ^^^^^^^^^^^^^ there is no such key
  |
  = help: did you mean `header_timeout`?

error: `limits.keep_alive` is not a duration
 --> proxy.toml:6:14
  |
6 | keep_alive = "75"
  |              ^^^^ expected a number and its unit
  |
  = help: write a whole number and its unit: "250ms", "30s", "10m", "1h" or "90d"

error: the file /does/not/exist of GENESYS_REGION_FILE cannot be read
--> environment variable GENESYS_REGION_FILE
 = help: the system says: No such file or directory (os error 2)

3 errors
"#;
    assert_eq!(rendered, expected);
}

#[test]
fn no_secret_is_ever_printed() {
    const WORD: &str = "hunter2";
    let folder = Folder::new();
    for text in [
        "[keys]\nsecret = \"hunter2\"",
        "[keys]\nsecret = \"hunter2 and more, so that it is long enough\" # once hunter2\nfile = \"ring.toml\"",
        "[keys]\nsecret = \"hunter2",
        "[keys]\nsecret = hunter2",
        "[keys]\nsecret = \"a\\qhunter2\"",
        "[keys]\nsecret = \"\"\"\nhunter2 \\q\n\"\"\"",
        "[keys]\nsecret = '''\nhunter2\n''' x",
        "[keys]\nsecret = [\"hunter2\"]",
        "[keys]\nsecret = { hunter2 = \"hunter2\" }",
        "[keys]\nsecert = \"hunter2\"",
        "[keys]\nsecret = \"hunter2\"\nsecret = \"hunter2\"",
        "keys = { secret = \"hunter2\", fil = \"hunter2\" }",
        "keys = { secret = \"hunter2\", file = }",
        "keys.secret = \"hunter2\" \"\"",
        "HMAC_SECRET = \"hunter2\"",
        "[genesys]\nclient_secret = 'hunter2' oops",
        "[[genesys]]\nclient_secret = 'hunter2'",
        "[genesys]\nclient.secret = 'hunter2'",
        "[genesis]\nclient_id = 'hunter2'",
        "[genesys]\nbase_url = 'https://user:hunter2@api.example'",
        "[genesys]\ntoken_url = 'https://user:hunter2@api.example",
        "[[upstream]]\nservers = ['https://user:hunter2@site.example']",
        "[keys]# secret = \"hunter2\"",
        "[genesys.client_secret]\nx = 'hunter2'",
    ] {
        let loaded = folder.parse(text, &[("HMAC_SECRET", ""), ("GENESYS_CLIENT_SECRET", "")]);
        assert!(loaded.problems.any_error(), "{text}");
        for shown in [loaded.problems.render(false), loaded.problems.render(true), format!("{:?}", loaded.problems)] {
            assert!(!shown.contains(WORD), "{text}\ngave\n{shown}");
        }
    }
    for variable in ["HMAC_SECRET", "HMAC_SECRET_PREVIOUS", "GENESYS_CLIENT_SECRET"] {
        let loaded = folder.parse("", &[(variable, WORD)]);
        assert!(!loaded.problems.render(false).contains(WORD), "{variable}");
    }
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// One slip of the keyboard anywhere in a file with secrets.
    #[test]
    fn a_slip_of_the_keyboard_neither_panics_nor_shows_a_secret(
        at in 0.0..1.0,
        slip in "[\\[\\]\"'=#.,{}\\\\\n\t a-zé🍪]?",
        overwrite: bool,
    ) {
        let text = "[keys]\nsecret = \"hunter2 is a secret of more than 32 bytes\" # hunter2, of course\n\
                    [genesys]\nclient_id = \"é\"\nclient_secret = 'hunter2'\nregion = \"us-east-1\"\n\
                    scopes = [\n  \"é🍪\",\n]\n\
                    [limits]\nheaders = 100\n";
        let characters: Vec<char> = text.chars().collect();
        let at = (at * characters.len() as f64) as usize;
        let rest = &characters[at + usize::from(overwrite)..];
        let text: String = characters[..at].iter().copied().chain(slip.chars()).chain(rest.iter().copied()).collect();
        let loaded = config::parse("proxy.toml", &text, Path::new(""), &|_| None, Timestamp::from_seconds(0));
        let rendered = loaded.problems.render(false);
        proptest::prop_assert!(loaded.problems.any_error());
        proptest::prop_assert!(!rendered.contains("hunter2"), "{}\ngave\n{}", text, rendered);
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let folder = Folder::new();
    let text = "[[listen]]\naddress = \"127.0.0.1:80\"\ntls = false\n\
                [[upstream]]\nname = \"site\"\nservers = [\"http://[::1]:3000\"]\n\
                [genesys]\nregion = \"file\"\nclient_id = \"file\"\nscopes = [\"a\"]\norganization_id = 7\n";
    let variables = [
        ("GENESYS_BASE_URL", "http://127.0.0.1:9/"),
        ("GENESYS_CLIENT_ID", "environment"),
        ("GENESYS_SCOPES", "webmessaging:session:create, other"),
        ("HMAC_SECRET", ""),
        ("HMAC_SECRET_FILE", "{folder}/secret.txt"),
    ];
    let loaded = folder.parse(text, &variables);
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.problems.render(false)));
    assert_eq!(config.genesys.region, "file", "no variable, no change");
    assert_eq!(config.genesys.client_id, "environment");
    assert_eq!(config.genesys.organization_id, "organization", "what the file says wrong does not matter then");
    assert_eq!(config.genesys.scopes, ["webmessaging:session:create", "other"]);
    assert_eq!(config.genesys.token_url, "http://127.0.0.1:9/oauth/token");
    let guestpass::keys::Source::Secret { current, .. } = config.keys.source else { panic!("a secret was set") };
    assert_eq!(current.expose(), SECRET.as_bytes(), "one newline at the end is cut");
    assert_eq!(config.upstreams[0].servers[0].to_string(), "[::1]:3000");
}

#[test]
fn relative_paths_start_at_the_files_folder() {
    let folder = Folder::new();
    let path = folder.path().join("other.toml");
    fs::write(&path, "refusal_page = \"page.html\"\n[log]\naccess = \"access.log\"\nlevel = \"never\"\n").unwrap();
    let loaded = config::load(&path, &|_| None, Timestamp::from_rfc3339(NOW).unwrap());
    let keys: BTreeSet<_> = loaded.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert!(!keys.contains("refusal_page") && keys.contains("log.level"), "{keys:?}");
    let missing = config::load(&folder.path().join("none.toml"), &|_| None, Timestamp::from_rfc3339(NOW).unwrap());
    assert!(missing.config.is_none() && missing.problems.any_error());
}

/// The annotated example with what is commented out put in: `#key = value`, while prose has a space behind its `#`.
fn annotated() -> Vec<String> {
    let text = include_str!("../../proxy.toml");
    let is_setting = |line: &str| line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    text.lines().map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line).to_owned()).collect()
}

#[test]
fn the_annotated_example_is_accepted() {
    let loaded = Folder::new().parse(include_str!("../../proxy.toml"), &[]);
    assert!(loaded.problems.is_empty() && loaded.config.is_some(), "{}", loaded.problems.render(false));
}

#[test]
fn the_annotated_example_shows_every_key_and_no_other() {
    let text = annotated().join("\n");
    let loaded = Folder::new().parse(&text, &[]);
    assert!(loaded.problems.is_empty(), "{}", loaded.problems.render(false));
    let document: toml::Table = text.parse().unwrap();
    let mut shown = BTreeSet::new();
    collect(&document, "", &mut shown);
    shown.remove("session.metadata.source");
    assert_eq!(shown, config::known_keys());
}

fn collect(table: &toml::Table, path: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(table) => collect(table, &path, keys),
            toml::Value::Array(items) => {
                items.iter().filter_map(|item| item.as_table()).for_each(|table| collect(table, &path, keys));
            }
            _ => {}
        }
        keys.insert(path);
    }
}

#[test]
fn each_default_that_the_annotated_example_shows_is_the_codes() {
    let folder = Folder::new();
    let lines = annotated();
    let whole = format!("{:?}", folder.parse(&lines.join("\n"), &[]).config.unwrap());
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let mut defaults = 0;
    for index in (0..lines.len()).filter(|&index| is_setting(&lines[index])) {
        let (setting, remark) = lines[index].split_once('#').unwrap_or((&lines[index], ""));
        if remark.contains("needed") || remark.contains("example") {
            continue;
        }
        let mut without = lines.clone();
        without.remove(index);
        let loaded = folder.parse(&without.join("\n"), &[]);
        let config = loaded.config.unwrap_or_else(|| panic!("{setting}: {}", loaded.problems.render(false)));
        assert_eq!(format!("{config:?}"), whole, "{setting}");
        defaults += 1;
    }
    assert!(defaults > 50, "only {defaults} defaults were looked at");
}
