//! What is promised of sessions holds in a real browser: headless Chromium, driven by `tests/browser/test.mjs`, which
//! asserts on what Genesys, the jar and the page's script each saw.
//!
//! Here stands the town that it visits: the program itself twice, with a Strict and with a Lax cookie, one Genesys, and
//! a site whose pages do what pages do.

mod operator;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use guestpass::demo::genesys::{self, DEMO_CLIENT, DEMO_ORGANIZATION, DEMO_SECRET, Simulator};
use guestpass::demo::site::{self, Site};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::ANYWHERE;
use crate::harness::program::{self, Program};

/// In seconds: long enough for a slow machine, since a run takes some ten.
const PATIENCE: &str = "120";

/// `npm ci` in `tests/browser` brings the driver.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium, node and npm"]
async fn what_is_promised_of_sessions_holds_in_chromium() {
    let folder = tempfile::tempdir().unwrap();
    certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
    let genesys = Simulator::start(ANYWHERE, genesys::Settings::default()).await.unwrap();
    let echo = Site::start(ANYWHERE, site::Settings::default()).unwrap();
    let pages = pages().await;
    let start = |same_site| start(folder.path(), same_site, &genesys, &echo, pages);
    let ((_strict, strict, admin), (_lax, lax, _)) = (start("strict"), start("lax"));
    let world = json!({
        "strict": strict.port(),
        "lax": lax.port(),
        "admin": format!("http://{admin}"),
        "genesys": genesys.base_url(),
        "pages": format!("http://{pages}"),
        "certificate": folder.path().join("demo.pem"),
        "key": folder.path().join("demo.key"),
    });
    drive("test.mjs", &world);
}

/// The demo's page as somebody sees it, kept in `target/screenshots` to be looked at.
#[test]
#[ignore = "needs chromium, node and npm"]
fn the_demos_page_is_kept_in_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Program::start(program::command(folder.path(), &["demo", "--port", "0"]));
    let page = demo.says("guestpass, in front of the site   ");
    let pictures = kept();
    drive("screenshots.mjs", &json!({ "page": page, "folder": pictures }));
    for name in ["desktop", "phone", "dark", "account", "refused"] {
        let picture = std::fs::read(pictures.join(format!("{name}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name}");
    }
}

/// Runs a script of `tests/browser`, and shows what it says.
fn drive(script: &str, world: &Value) {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(folder.join("node_modules").is_dir(), "run `npm ci` in tests/browser first");
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PATIENCE, "node"]).arg(folder.join(script)).env("WORLD", world.to_string());
    let output = command.output().unwrap();
    let [said, complained] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    // What each case came to is kept beside the pictures.
    std::fs::create_dir_all(kept()).unwrap();
    std::fs::write(kept().join(format!("{script}.txt")), &*said).unwrap();
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots")
}

/// The program with cookies of that kind, where it listens, and where its operator is heard.
fn start(
    folder: &Path,
    same_site: &str,
    genesys: &Simulator,
    echo: &Site,
    pages: SocketAddr,
) -> (Program, SocketAddr, SocketAddr) {
    // A port that was free a moment ago: the program does not say which one it took.
    let admin = std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap();
    let text = format!(
        r#"
        workers = 2
        listen = [{{ address = "127.0.0.1:0" }}]
        tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
        cookie.same_site = "{same_site}"
        log.access = "off"
        store.path = "off"

        [genesys]
        base_url = "{genesys}"
        client_id = "{DEMO_CLIENT}"
        client_secret = "{DEMO_SECRET}"
        organization_id = "{DEMO_ORGANIZATION}"

        [admin]
        address = "{admin}"
        token = "a-token-of-the-tests"

        [[upstream]]
        name = "pages"
        servers = ["http://{pages}"]

        [[upstream]]
        name = "echo"
        servers = ["http://{echo}"]

        [[route]]
        path = "/echo"
        session = "require"
        upstream = "echo"

        [[route]]
        path = "/account/**"
        session = "require"
        upstream = "pages"

        [[route]]
        path = "/public/**"
        session = "open"
        upstream = "pages"

        [[route]]
        path = "/**"
        session = "issue"
        upstream = "pages"
        "#,
        genesys = genesys.base_url(),
        echo = echo.address(),
    );
    let file = format!("{same_site}.toml");
    std::fs::write(folder.join(&file), text).unwrap();
    let mut command = program::command(folder, &["run", "--config", &file]);
    command.env("HMAC_SECRET", "a secret of the environment, long enough");
    let program = Program::start(command);
    let address = program.says("listening address=").trim().parse().unwrap();
    (program, address, admin)
}

/// A site with a page at every path, which shows whether it was told a session. `/cached` may be kept by the browser,
/// `/worker.js` is a service worker that passes everything through, and `/seen` says what was asked for so far.
async fn pages() -> SocketAddr {
    let listener = TcpListener::bind(ANYWHERE).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<Vec<Value>>>::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            let service = service_fn(move |request| std::future::ready(page(&request, &seen)));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn page(request: &Request<Incoming>, seen: &Mutex<Vec<Value>>) -> Result<Response<String>, Infallible> {
    let field = |name| request.headers().get(name).map(|value| value.to_str().unwrap());
    let session = field("x-genesys-session-id").unwrap_or("nobody");
    let mut seen = seen.lock().unwrap();
    seen.push(json!({ "path": request.uri().path(), "purpose": field("sec-purpose").unwrap_or_default() }));
    let (content_type, body) = match request.uri().path() {
        "/worker.js" => ("text/javascript", include_str!("browser/worker.js").to_owned()),
        "/seen" => ("application/json", json!(*seen).to_string()),
        _ => ("text/html", format!("<!doctype html><title>page</title><p id=\"who\">{session}</p>")),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if request.uri().path() == "/cached" {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=600"));
    }
    Ok(response)
}
