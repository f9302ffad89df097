//! What is no request never reaches the site, and what is one reaches it as we write it: a corpus of requests, sent raw
//! over TLS to the program.

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};
use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use serde_json::Value;

use crate::harness::program::{self, Program};
use crate::harness::recorder::Recorder;
use crate::harness::{eventually, raw};

/// A line of `tests/fixtures/http1/requests.txt`, which says what its parts are.
#[derive(Debug)]
struct Case {
    number: usize,
    line: &'static str,
    answers: Vec<&'static str>,
    reason: &'static str,
    bytes: Vec<u8>,
}

impl Case {
    fn all() -> Vec<Self> {
        let lines = include_str!("../fixtures/http1/requests.txt").lines();
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).enumerate();
        lines
            .map(|(number, line)| {
                let [answers, reason, text, _] = line.split(" | ").collect::<Vec<_>>().try_into().unwrap();
                let bytes = bytes(&text.replace("/@", &format!("/c{number}-")));
                Self { number, line, answers: answers.split(' ').collect(), reason, bytes }
            })
            .collect()
    }

    fn is_good(&self) -> bool {
        self.answers.iter().all(|answer| *answer == "200")
    }

    /// How many requests the site sees whole, with the one behind it.
    fn served(&self) -> usize {
        self.answers.iter().filter(|answer| **answer == "200").count() + usize::from(self.is_good())
    }

    fn sent(&self) -> Vec<u8> {
        let behind = format!("GET /c{}-behind HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", self.number);
        [&self.bytes[..], behind.as_bytes()].concat()
    }
}

/// The program in front of a recorder, on open paths: no Genesys stands behind it, and none is needed.
fn running(recorder: &Recorder) -> (tempfile::TempDir, Program, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
    let text = format!(
        r#"
        listen = [{{ address = "127.0.0.1:0" }}]
        tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
        genesys = {{ base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }}
        upstream = [{{ name = "site", servers = ["http://{}"] }}]
        route = [{{ path = "/**", session = "open" }}]
        log.access = "access.log"
        "#,
        recorder.address
    );
    std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
    let mut command = program::command(folder.path(), &["run"]);
    command.env("HMAC_SECRET", "a secret of the environment, long enough");
    let program = Program::start(command);
    let address = program.says("listening address=").trim().parse().unwrap();
    (folder, program, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_site_sees_exactly_the_requests_that_were_legally_framed() {
    let recorder = Recorder::start().await;
    let (folder, _program, address) = running(&recorder);
    let cases = Case::all();
    assert!(cases.iter().filter(|case| !case.is_good()).count() >= 150);

    // `exchange` fails where the connection stays open.
    let answers: Vec<String> = stream::iter(&cases)
        .map(|case| async { raw::exchange(address, &case.sent()).await })
        .buffered(16)
        .collect()
        .await;
    let read_log = || std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    let lines: usize = cases.iter().map(|case| case.answers.len() + usize::from(case.is_good())).sum();
    eventually("each has its line", || read_log().lines().count() >= lines).await;
    let log: Vec<Value> = read_log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests = recorder.requests();

    let mut wrong = Vec::new();
    for (case, answer) in cases.iter().zip(&answers) {
        let mut expected: Vec<&str> = case.answers.iter().map(|status| status.trim_end_matches('~')).collect();
        expected.extend(case.is_good().then_some("200"));
        let statuses = statuses(answer);
        let seen = requests.iter().filter(|request| request.target.contains(&format!("/c{}-", case.number)));
        let (whole, begun): (Vec<_>, Vec<_>) = seen.partition(|request| request.whole);
        let reason = last_request_id(answer)
            .and_then(|id| log.iter().find(|line| line["request_id"] == id))
            .map_or("", |line| line["reason"].as_str().unwrap_or("-"));
        let may_begin = case.answers.contains(&"400~");
        if statuses != expected
            || whole.len() != case.served()
            || begun.len() > usize::from(may_begin)
            || reason != case.reason
        {
            wrong.push(format!("{}\n  {statuses:?} {reason:?} whole {whole:?} begun {begun:?}", case.line));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n{} are wrong", wrong.join("\n"), wrong.len());
    assert_eq!(log.len(), lines, "one line each");
    let whole = requests.iter().filter(|request| request.whole).count();
    assert_eq!(whole, cases.iter().map(Case::served).sum::<usize>(), "and nothing beside them");
    assert!(log.iter().all(|line| line["client"] == "127.0.0.1"));
    for request in &requests {
        assert_eq!(request.head.matches("\r\nhost: localhost").count(), 1, "{request:?}");
        assert!(request.trailers.is_empty() || request.trailers == "x-sum: 1", "{request:?}");
    }
}

fn statuses(answer: &str) -> Vec<&str> {
    let heads = answer.split("HTTP/1.").skip(1).filter_map(|head| head.get(2..5));
    heads.filter(|status| *status != "100").collect()
}

fn last_request_id(answer: &str) -> Option<&str> {
    answer.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).next_back()
}

fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, if *byte == b'\\' { rest.next() } else { None }) {
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'0')) => 0,
            (b'\\', Some(b'\\')) => b'\\',
            (b'\\', Some(b'x')) => {
                let digits: String = rest.by_ref().take(2).map(|digit| char::from(*digit)).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            (b'\\', other) => panic!("no such escape: {other:?}"),
            (byte, _) => *byte,
        });
    }
    bytes
}
