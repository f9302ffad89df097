//! Whatever the program says, it never tells a secret: not at its most talkative, and not in what is printed for
//! debugging.

use std::path::Path;
use std::time::Duration;

use guestpass::clock::SystemClock;
use guestpass::clock::Timestamp;
use guestpass::config;
use guestpass::demo::certificate;
use guestpass::demo::genesys::{self, DEMO_CLIENT, DEMO_ORGANIZATION, Faults, Malformation, Simulator, Trouble};
use guestpass::demo::site::{Settings, Site};
use guestpass::secret::SecretText;

use crate::harness::program::{self, Program};
use crate::harness::{ANYWHERE, Visitor, eventually};

const CLIENT_SECRET: &str = "the-client's-secret-of-this-test";
const HMAC_SECRET: &str = "the-signing-secret-of-this-test, and its tail";

fn text(genesys: &str, site: &str) -> String {
    format!(
        r#"
        listen = [{{ address = "127.0.0.1:0" }}]
        tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
        upstream = [{{ name = "site", servers = ["http://{site}"] }}]
        log.level = "trace"
        [genesys]
        base_url = "{genesys}"
        client_id = "{DEMO_CLIENT}"
        client_secret = "{CLIENT_SECRET}"
        organization_id = "{DEMO_ORGANIZATION}"
        [keys]
        secret = "{HMAC_SECRET}"
        "#
    )
}

#[tokio::test]
async fn at_its_most_talkative_the_program_tells_none() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
    let settings = genesys::Settings { client_secret: SecretText::new(CLIENT_SECRET.to_owned()), ..Default::default() };
    let genesys = Simulator::start(ANYWHERE, settings).await.unwrap();
    certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, text(&genesys.base_url(), &site.address().to_string())).unwrap();
    let mut program = Program::start(program::command(folder.path(), &["run"]));
    let address = program.says("listening address=").trim().parse().unwrap();

    let mut cookies = Vec::new();
    for mut visitor in [Visitor::over_http1(address), Visitor::over_http2(address)] {
        visitor.visit("/?password=hunter2").await;
        visitor.visit("/again?password=hunter2").await;
        cookies.extend(visitor.cookie);
    }
    // An answer that cannot be used is spoken of, and a token stands in it.
    genesys.set_faults(Faults::always(Trouble::Malformed(Malformation::Past)));
    Visitor::over_http1(address).visit("/?password=hunter2").await;
    let all_is_logged = || program.said().lines().filter(|line| line.contains("\"request_id\"")).count() == 5;
    eventually("five requests are logged", all_is_logged).await;
    program.signal("TERM");
    assert!(program.ends_within(Duration::from_secs(5)).success());

    let (said, complained) = (program.said(), program.complained());
    assert!(complained.contains("DEBUG") || complained.contains("TRACE"), "it was to be talkative: {complained}");
    let sessions = genesys.sessions();
    assert_eq!((cookies.len(), sessions.len()), (2, 3));
    let tokens = sessions.iter().map(|session| session.token.expose());
    let cookies = cookies.iter().map(String::as_str);
    for secret in [CLIENT_SECRET, HMAC_SECRET, "hunter2"].into_iter().chain(tokens).chain(cookies) {
        assert!(!said.contains(secret), "{secret} on standard output:\n{said}");
        assert!(!complained.contains(secret), "{secret} on standard error:\n{complained}");
    }
}

#[test]
fn the_configuration_tells_none_when_it_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
    let text = text("http://127.0.0.1:1", "127.0.0.1:2");
    let printed = |folder: &Path| format!("{:?}", config::parse("proxy.toml", &text, folder, &|_| None, now()));
    let good = printed(folder.path());
    assert!(good.contains(DEMO_CLIENT), "{good}");
    // Without the certificate there are problems to print.
    for printed in [good, printed(&folder.path().join("nowhere"))] {
        assert!(!printed.contains(CLIENT_SECRET) && !printed.contains(HMAC_SECRET), "{printed}");
        let numbers = format!("{:?}", &HMAC_SECRET.as_bytes()[..8]);
        assert!(!printed.contains(numbers.trim_matches(['[', ']'])), "{printed}");
    }
}

fn now() -> Timestamp {
    Timestamp::from_rfc3339("2026-11-22T14:20:00Z").unwrap()
}
