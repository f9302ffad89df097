//! The visitor's address behind a load balancer that forwards TCP, by the PROXY protocol: in the access log and at the
//! site.

use std::net::SocketAddr;
use std::process::Command;

use guestpass::demo::site::{Settings, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::front::{Front, free_address, stands};
use crate::harness::program::Program;
use crate::harness::{ANYWHERE, Visitor, raw};

const TRUST: &str = "trust.proxies = [\"127.0.0.1/32\"]";
const GET: &str = "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nSec-Fetch-Mode: cors\r\n\
                   X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_site_and_the_log_learn_whom_the_proxy_announces() {
    let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
    let listeners = [
        ", proxy_protocol = \"require\"",
        ", proxy_protocol = \"accept\", tls = false",
        ", proxy_protocol = \"require\", redirect_to_https = true",
    ];
    let front = Front::of(site.address(), &listeners, TRUST);
    let four = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n".to_vec();
    let mut six = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    six.extend([[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat());
    six.extend([0xdc, 4, 1, 0xbb]);

    for (header, client, forwarded) in [(four, "192.0.2.1", "192.0.2.1"), (six, "2001:db8::1", "\"[2001:db8::1]\"")] {
        for (listener, expected) in [(0, "HTTP/1.1 200"), (1, "HTTP/1.1 200"), (2, "HTTP/1.1 308")] {
            let mut tcp = TcpStream::connect(front.addresses[listener]).await.unwrap();
            tcp.write_all(&header).await.unwrap();
            let answer = if listener == 0 {
                raw::exchange_on(raw::secure(tcp, &["http/1.1"]).await, GET.as_bytes()).await
            } else {
                raw::exchange_on(tcp, GET.as_bytes()).await
            };
            assert!(answer.starts_with(expected), "{listener}: {answer}");
        }
        let seen = site.seen().split_off(site.seen().len() - 2);
        for seen in seen {
            assert_eq!(seen.headers["x-forwarded-for"], client, "what the client says itself is no proxy's word");
            assert_eq!(seen.headers["x-real-ip"], client);
            assert!(seen.headers["forwarded"].to_str().unwrap().starts_with(&format!("for={forwarded};")));
        }
        front.program.says_so_often(&format!("\"client\":\"{client}\""), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_header_nobody_is_served_where_it_is_required() {
    let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
    let front = Front::of(site.address(), &[", proxy_protocol = \"require\", tls = false"], TRUST);
    for start in ["", "PROXY TCP4 192.0.2.1\r\n", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"] {
        let mut tcp = TcpStream::connect(front.addresses[0]).await.unwrap();
        // It may be closed before all is sent.
        let _ = tcp.write_all(format!("{start}{GET}").as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{start:?}: {}", String::from_utf8_lossy(&answer));
    }
    assert!(site.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs haproxy"]
async fn haproxy_announces_its_clients_in_either_version() {
    let site = Site::start(ANYWHERE, Settings::recording()).unwrap();
    let front = Front::of(site.address(), &[", proxy_protocol = \"require\""], TRUST);
    for version in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options ssl,cert-cn,crc32c,unique-id"] {
        let (_haproxy, address) = haproxy(front.addresses[0], version).await;
        // Another address of the loopback than the one that HAProxy connects from.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.7:0".parse().unwrap()).unwrap();
        let tcp = socket.connect(address).await.unwrap();
        let answer = raw::exchange_on(raw::secure(tcp, &["http/1.1"]).await, GET.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{version}: {answer}");
        assert_eq!(site.seen().pop().unwrap().headers["x-forwarded-for"], "127.0.0.7", "{version}");

        let over_http2 = Visitor::over_http2(address);
        let asked = over_http2.request(http::Method::POST, "/").send().await.unwrap();
        assert_eq!(asked.status(), 200, "{version}");
        assert_eq!(site.seen().pop().unwrap().headers["x-forwarded-for"], "127.0.0.1", "{version}");
    }
    front.program.says_so_often("\"client\":\"127.0.0.7\"", 3);
}

async fn haproxy(server: SocketAddr, version: &str) -> (Program, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let configuration = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         frontend visitors\n  bind {address}\n  unique-id-format %pid-%rt\n  default_backend guestpass\n\
         backend guestpass\n  server one {server} {version}\n"
    );
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let program = Program::start(command);
    stands(address).await;
    (program, address)
}
