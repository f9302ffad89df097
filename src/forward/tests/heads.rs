//! What the site is told and what the client is.

use http::HeaderValue;
use http_body_util::{Empty, Full};
use tokio::io::AsyncWriteExt;

use super::super::*;
use super::harness::*;
use crate::clock::Timestamp;
use crate::secret::SecretText;
use crate::session::Session;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn with_context<B>(mut request: Request<B>, change: impl FnOnce(&mut Context)) -> Request<B> {
    let mut context = context();
    change(&mut context);
    request.extensions_mut().insert(Arc::new(context));
    request
}

fn line<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

#[tokio::test]
async fn the_site_sees_the_target_as_received_and_what_we_add() {
    let (site, mut heads) = listening(OK).await;
    let forward = forward(site);
    for (received, sent) in [
        ("/a%2Fb//c/./%7e?q=1&&x=%zz?", "/a%2Fb//c/./%7e?q=1&&x=%zz?"),
        ("/?", "/?"),
        ("http://shop.example/abs?x", "/abs?x"),
        ("http://shop.example", "/"),
        ("*", "*"),
    ] {
        let mut request = request("OPTIONS", received, Empty::new());
        request.headers_mut().insert("host", HeaderValue::from_static("shop.example"));
        request.headers_mut().insert("x-own", HeaderValue::from_bytes("kept \u{e9}".as_bytes()).unwrap());
        assert_eq!(text(ask(&forward, request).await.into_body()).await, "ok");
        let head = heads.recv().await.unwrap();
        assert_eq!(head.lines().next().unwrap(), format!("OPTIONS {sent} HTTP/1.1"));
        assert_eq!(
            sorted_lines(&head),
            [
                "forwarded: for=192.0.2.7;host=shop.example;proto=https",
                "host: shop.example",
                "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "via: 1.1 guestpass",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: shop.example",
                "x-forwarded-port: 443",
                "x-forwarded-proto: https",
                "x-own: kept \u{e9}",
                "x-real-ip: 192.0.2.7",
                "x-request-id: r1",
            ]
        );
    }
}

#[tokio::test]
async fn an_ipv6_visitor_on_a_port_is_quoted() {
    let (site, mut heads) = listening(OK).await;
    let forward = forward(site);
    let request = with_context(get("/"), |context| {
        context.client = "2001:db8::1".parse().unwrap();
        context.authority = "shop.example:8443".to_owned();
        context.port = 8443;
    });
    ask(&forward, request).await;
    let head = heads.recv().await.unwrap();
    assert_eq!(line(&head, "forwarded"), ["for=\"[2001:db8::1]\";host=\"shop.example:8443\";proto=https"]);
    assert_eq!(line(&head, "x-forwarded-for"), ["2001:db8::1"]);
    assert_eq!(line(&head, "host"), ["shop.example:8443"]);
}

#[tokio::test]
async fn a_trusted_proxys_chain_is_extended_by_its_own_address() {
    let (site, mut heads) = listening(OK).await;
    let forward = forward(site);
    let mut request = with_context(get("/"), |context| {
        context.peer_is_trusted = true;
        context.client = "203.0.113.9".parse().unwrap();
        context.connection.peer = "[::ffff:10.0.0.1]:999".parse().unwrap();
    });
    for (name, value) in [
        ("x-forwarded-for", "198.51.100.4"),
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("x-forwarded-proto", "gopher"),
        ("x-real-ip", "198.51.100.4"),
        ("x-request-id", "theirs"),
        ("via", "1.1 edge"),
    ] {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    ask(&forward, request).await;
    let head = heads.recv().await.unwrap();
    assert_eq!(line(&head, "x-forwarded-for"), ["198.51.100.4, 203.0.113.9, 10.0.0.1"]);
    assert_eq!(line(&head, "forwarded"), ["for=203.0.113.9, for=10.0.0.1;host=shop.example;proto=https"]);
    assert_eq!(line(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(line(&head, "x-real-ip"), ["203.0.113.9"]);
    assert_eq!(line(&head, "x-request-id"), ["r1"], "the name that the access log has for it");
    assert_eq!(line(&head, "via"), ["1.1 edge", "1.1 guestpass"]);
}

#[tokio::test]
async fn identity_goes_up_only_with_a_session_and_the_token_only_where_it_may() {
    let session = Arc::new(Session {
        id: "s-1".to_owned(),
        token: SecretText::new("tok".to_owned()),
        organization_id: "o".to_owned(),
        issued_at: Timestamp::from_seconds(0),
        expires_at: Timestamp::from_millis(1_795_357_200_123),
    });
    for (forward_token, known) in [(false, false), (false, true), (true, true)] {
        let (mut site, mut heads) = listening(OK).await;
        site.forward_token = forward_token;
        let mut request = get("/");
        if known {
            request.extensions_mut().insert(Arc::clone(&session));
        }
        ask(&forward(site), request).await;
        let head = heads.recv().await.unwrap();
        let told = |yes: bool, value: &'static str| if yes { vec![value] } else { vec![] };
        assert_eq!(line(&head, "x-genesys-session-id"), told(known, "s-1"));
        assert_eq!(line(&head, "x-genesys-session-expires"), told(known, "2026-11-22T14:20:00.000Z"));
        assert_eq!(line(&head, "x-genesys-session-token"), told(forward_token, "tok"));
    }
}

#[tokio::test]
async fn the_upstreams_own_host_is_told_where_that_is_asked_or_there_is_none() {
    for (setting, authority) in [(HostHeader::Upstream, "shop.example"), (HostHeader::Preserve, "")] {
        let (mut site, mut heads) = listening(OK).await;
        site.host = setting;
        let own = format!("127.0.0.1:{}", port(&site));
        let mut request = with_context(get("/"), |context| context.authority = authority.to_owned());
        *request.version_mut() = http::Version::HTTP_10;
        ask(&forward(site), request).await;
        let head = heads.recv().await.unwrap();
        assert_eq!(line(&head, "host"), [own]);
        assert_eq!(line(&head, "via"), ["1.0 guestpass"]);
        assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_body_is_framed_whatever_the_method_and_version() {
    for (method, length, body, framing) in [
        ("POST", None, "", vec!["content-length: 0"]),
        ("GET", None, "", vec![]),
        ("GET", None, "abc", vec!["transfer-encoding: chunked"]),
        ("DELETE", Some("3"), "abc", vec!["content-length: 3"]),
        // HTTP/2's parser lets the same length pass twice.
        ("POST", Some("3"), "abc", vec!["content-length: 3"]),
    ] {
        let (site, mut heads) = listening(OK).await;
        let mut request = request(method, "/", Full::new(Bytes::from_static(body.as_bytes())));
        *request.version_mut() = http::Version::HTTP_2;
        if let Some(length) = length {
            request.headers_mut().insert("content-length", HeaderValue::from_static(length));
            if method == "POST" {
                request.headers_mut().append("content-length", HeaderValue::from_static(length));
            }
        }
        ask(&forward(site), request).await;
        let head = heads.recv().await.unwrap();
        let said: Vec<&str> =
            head.lines().filter(|l| l.starts_with("content-length") || l.starts_with("transfer-")).collect();
        assert_eq!(said, framing, "{method} {body:?}");
        assert_eq!(line(&head, "via"), ["2.0 guestpass"]);
    }
}

#[tokio::test]
async fn the_upstreams_connection_is_its_own_affair() {
    let (site, _) = answering(
        "HTTP/1.1 203 Well\r\nContent-Length: 0\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: x\r\nUpgrade: h2c\r\nX-Request-Id: theirs\r\nVia: 1.1 cache\r\nSet-Cookie: a=1\r\n\
         Set-Cookie: b=2\r\n\r\n",
    )
    .await;
    let response = ask(&forward(site), get("/")).await;
    let mut left: Vec<String> =
        response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "content-length: 0",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "via: 1.1 cache",
            "via: 1.1 guestpass",
            "x-request-id: theirs"
        ]
    );
    assert_eq!(response.status(), 203);
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_say_so_rightly() {
    for (method, answer, promised) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Some("content-length: 7")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        // A 304 may tell the length that a 200 would have (RFC 9110, section 8.6); hyper's server leaves it out.
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"x\"\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", None),
    ] {
        let (site, connections) = answering(answer).await;
        let front = front(forward(site)).await;
        let mut client = connect(front).await;
        // Twice, so that a body where none may be would show as a broken second answer.
        for _ in 0..2 {
            client.write_all(format!("{method} / HTTP/1.1\r\nHost: shop.example\r\n\r\n").as_bytes()).await.unwrap();
            let head = read_head(&mut client).await;
            assert_eq!(head.lines().next(), answer.lines().next(), "{method} {answer}");
            let framing: Vec<&str> =
                head.lines().filter(|l| l.starts_with("content-length") || l.starts_with("transfer-")).collect();
            assert_eq!(framing, promised.into_iter().collect::<Vec<_>>(), "{method} {answer}");
        }
        assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_request_that_nobody_placed_is_our_own_fault() {
    let (site, _) = answering(OK).await;
    let forward = forward(site);
    let mut nowhere = get("/");
    nowhere.extensions_mut().remove::<Arc<Context>>();
    assert_eq!(code(ask(&forward, nowhere).await).await, (500, "internal".to_owned()));
    let mut unmatched = get("/");
    unmatched.extensions_mut().remove::<Matched>();
    assert_eq!(code(ask(&forward, unmatched).await).await, (500, "internal".to_owned()));
}

#[test]
fn several_accept_lines_are_one_list() {
    let mut headers = HeaderMap::new();
    assert_eq!(accept(&headers), None);
    headers.append(ACCEPT, HeaderValue::from_static("text/html"));
    assert_eq!(accept(&headers).unwrap(), "text/html");
    headers.append(ACCEPT, HeaderValue::from_static("*/*"));
    assert_eq!(accept(&headers).unwrap(), "text/html, */*");
}
