//! The commands that ask the running proxy: how they reach it, and what they say when they do not.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use toml::Table;

use crate::harness::{ANYWHERE, Machine, Plan, Visitor, eventually};

const TOKEN: &str = "a-token-of-the-tests";

/// A machine with a key ring, and an operator's listener at a port that was free a moment ago, since the commands must
/// find it in the file.
async fn machine(ip: &str, names: Option<&[&str]>, is_ca: IsCa, folder: &Path) -> Machine {
    let port = TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap().port();
    let keys: Table = "file = 'keys.toml'".parse().unwrap();
    let plan = Plan::default().set("keys", keys).set("admin.address", format!("{ip}:{port}")).set("admin.token", TOKEN);
    let plan = match names {
        Some(names) => plan.set("admin.tls", certificate(names, is_ca, folder)),
        None => plan,
    };
    let machine = Machine::planned(plan).await;
    assert_eq!(machine.says(&["keys", "new", "keys.toml"]).0, Some(0));
    machine
}

/// One that vouches for itself.
fn certificate(names: &[&str], is_ca: IsCa, folder: &Path) -> Table {
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    let (chain, path) = (folder.join("operator.pem"), folder.join("operator.key"));
    fs::write(&chain, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&path, key.serialize_pem()).unwrap();
    format!("chain = '{}'\nkey = '{}'", chain.display(), path.display()).parse().unwrap()
}

/// How many cookies were verified with the first key, as `keys list` says.
fn verified(machine: &Machine) -> String {
    let (code, said) = machine.says(&["keys", "list"]);
    assert_eq!(code, Some(0), "{said}");
    let mut lines = said.lines();
    let column = lines.next().unwrap().find("cookies verified").unwrap();
    lines.next().unwrap()[column..].split(' ').next().unwrap().to_owned()
}

/// A visitor comes twice, is counted, and is thrown out.
async fn is_reached(machine: &Machine) {
    assert_eq!(verified(machine), "-", "nobody runs yet");
    let (code, said) = machine.says(&["sessions", "revoke", "some-session"]);
    assert!(code == Some(1) && said.contains("does not answer"), "{said}");

    let (_program, address) = machine.run();
    let mut visitor = Visitor::over_http1(address);
    visitor.visit("/").await;
    assert_eq!(verified(machine), "0");
    assert_eq!(visitor.visit("/account/").await.status, 200);
    assert_eq!(verified(machine), "1");
    let (code, said) = machine.says(&["sessions", "revoke", &machine.genesys.sessions()[0].id]);
    assert!(code == Some(0) && said.starts_with("revoked session "), "{said}");
    assert_eq!(visitor.visit("/account/").await.status, 403);
}

#[tokio::test]
async fn the_proxy_is_reached_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    is_reached(&machine("127.0.0.1", None, IsCa::NoCa, folder.path()).await).await;
}

#[tokio::test]
async fn the_commands_spoke_no_tls_to_a_listener_that_speaks_nothing_else() {
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    for (ip, names, is_ca) in [
        ("127.0.0.1", ["localhost", "127.0.0.1"], IsCa::ExplicitNoCa),
        // As `openssl req -x509` makes them.
        ("127.0.0.1", ["shop.example", "www.shop.example"], authority),
        ("0.0.0.0", ["*.shop.example", "shop.example"], IsCa::NoCa),
    ] {
        let folder = tempfile::tempdir().unwrap();
        is_reached(&machine(ip, Some(&names), is_ca, folder.path()).await).await;
    }
}

#[tokio::test]
async fn the_operators_certificate_stayed_the_old_one_when_its_files_were_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machine("127.0.0.1", Some(&["old.example"]), IsCa::NoCa, folder.path()).await;
    let (_program, _) = machine.run();
    assert_eq!(verified(&machine), "0");
    // The commands believe the certificate in the file alone, and ask for one of its names.
    certificate(&["new.example"], IsCa::NoCa, folder.path());
    eventually("the new one is shown", || verified(&machine) == "0").await;
}

#[tokio::test]
async fn a_proxy_that_hangs_holds_no_list_up() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machine("127.0.0.1", None, IsCa::NoCa, folder.path()).await;
    let text = fs::read_to_string(machine.path("proxy.toml")).unwrap();
    let config: Table = text.parse().unwrap();
    let address: SocketAddr = config["admin"]["address"].as_str().unwrap().parse().unwrap();
    // It accepts, since the system does, and says nothing.
    let _mute = TcpListener::bind(address).unwrap();
    let began = Instant::now();
    assert_eq!(verified(&machine), "-");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
