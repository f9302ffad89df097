//! Thousands of spellings of protected paths, as they are, over TLS, to the program itself: whatever stands behind it,
//! none leads to a protected page.

mod corpus;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use guestpass::demo::site::{Settings, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::front::{Front, free_address, stands};
use crate::harness::program::Program;
use crate::harness::{ANYWHERE, raw};

/// Stands in every protected page, and nowhere else.
const SECRET: &str = "for members only";

/// Requests that are on their way together. Their answers fit into the sockets' buffers, or nearly so.
const AT_ONCE: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_protected_path_reaches_the_site() {
    let spellings = corpus::protected();
    assert!(spellings.len() >= 3_000, "{}", spellings.len());
    let site = Site::start(ANYWHERE, Settings { remember: spellings.len(), ..Settings::default() }).unwrap();
    let front = Front::of(site.address(), &[""], "");

    let answers = ask(front.addresses[0], &spellings).await;
    for (spelling, (status, _)) in spellings.iter().zip(&answers) {
        assert!(matches!(status, 200 | 400 | 401), "{spelling:?}: {status}");
    }
    let seen: Vec<String> = site.seen().into_iter().map(|seen| seen.target).collect();
    for target in &seen {
        assert!(!corpus::could_be_protected(target), "{target:?} reached the site");
    }
    // Some lead out of `/account` again, however they are read, and so are the site's to answer.
    assert!(!seen.is_empty());
    let refused = |code: u16| answers.iter().filter(|(status, _)| *status == code).count();
    assert!(refused(401) > 100 && refused(400) > 1_000, "{} and {}", refused(401), refused(400));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ordinary_spellings_of_ordinary_sites_arrive_byte_for_byte() {
    let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
    let front = Front::of(site.address(), &[""], "");
    let ordinary: Vec<String> = corpus::ORDINARY.iter().map(|&path| path.to_owned()).collect();
    for (path, (status, _)) in ordinary.iter().zip(ask(front.addresses[0], &ordinary).await) {
        assert_eq!(status, 200, "{path}");
    }
    let seen: Vec<String> = site.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, ordinary);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx"]
async fn no_spelling_of_a_protected_path_gets_a_page_of_nginx() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["account", "Account", "ACCOUNT", "aCcOuNt"] {
        let pages = folder.path().join("pages").join(name);
        std::fs::create_dir_all(pages.join("orders")).unwrap();
        for page in ["index.html", "secret.html", "orders/index.html"] {
            std::fs::write(pages.join(page), SECRET).unwrap();
        }
    }
    std::fs::write(folder.path().join("pages/index.html"), "for everybody").unwrap();
    std::fs::create_dir(folder.path().join("pages/public")).unwrap();
    let address = free_address();
    let configuration = include_str!("../upstreams/nginx.conf")
        .replace("FOLDER", folder.path().to_str().unwrap())
        .replace("ADDRESS", &address.to_string());
    std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
    let _nginx = Program::start(nginx);
    stands(address).await;
    hides_its_secret(address, "/account/secret.html").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node"]
async fn no_spelling_of_a_protected_path_gets_a_page_of_a_node_js_server() {
    let mut node = Command::new("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/upstreams/server.mjs")).arg(SECRET);
    let node = Program::start(node);
    let address = node.says("listens on ").parse().unwrap();
    hides_its_secret(address, "/%61ccount%2Fsecret").await;
}

/// `open` is a spelling with which the server shows its secret to whoever asks it directly.
async fn hides_its_secret(server: SocketAddr, open: &str) {
    let direct = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{server}{open}"));
    assert!(direct.send().await.unwrap().text().await.unwrap().contains(SECRET), "the server has no secret to tell");

    let spellings = corpus::protected();
    let front = Front::of(server, &[""], "");
    let answers = ask(front.addresses[0], &spellings).await;
    let mut served = 0;
    for (spelling, (status, answer)) in spellings.iter().zip(answers) {
        assert!(!answer.contains(SECRET), "{spelling:?} got the page: {status}");
        served += usize::from(!matches!(status, 400 | 401));
    }
    assert!(served > 0, "the server was asked for nothing");
}

/// Asks for all of them, many at once on each connection, and goes on with a new one where that is closed. None is a
/// visit, so that no session is needed.
async fn ask(address: SocketAddr, targets: &[String]) -> Vec<(u16, String)> {
    let mut answers = Vec::with_capacity(targets.len());
    while answers.len() < targets.len() {
        let some = &targets[answers.len()..targets.len().min(answers.len() + AT_ONCE)];
        let requests: String = some
            .iter()
            .map(|target| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Mode: cors\r\n\r\n"))
            .collect();
        let mut stream = raw::connect(address, &["http/1.1"]).await;
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let mut got = 0;
        while got < some.len() {
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut bytes)).await;
            let ended = read.expect("an answer comes").map_or(true, |count| count == 0);
            while let Some((status, length)) = whole_answer(&bytes, ended) {
                let answer: Vec<u8> = bytes.drain(..length).collect();
                answers.push((status, String::from_utf8_lossy(&answer).into_owned()));
                got += 1;
            }
            if ended {
                break;
            }
        }
        assert!(got > 0, "no answer to {:?}", some[0]);
    }
    answers
}

/// Status and length of the answer that `bytes` begin with, once it is whole.
fn whole_answer(bytes: &[u8], ended: bool) -> Option<(u16, usize)> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap().to_ascii_lowercase();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let body = &bytes[head..];
    let length = if let Some(length) = field("content-length") {
        length.parse().unwrap()
    } else if field("transfer-encoding") == Some("chunked") {
        body.windows(5).position(|window| window == b"0\r\n\r\n")? + 5
    } else if matches!(status, 204 | 304) {
        0
    } else {
        ended.then_some(body.len())?
    };
    (body.len() >= length).then_some((status, head + length))
}
