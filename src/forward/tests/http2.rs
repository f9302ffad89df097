//! Upstreams that speak HTTP/2 or TLS.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderValue, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::super::*;
use super::harness::*;

type Frames = futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, io::Error>>>;

/// Serves what hyper can, answering as `/trailers`, `/cut`, `/early` or with what it was asked.
async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let answer = service_fn(|request: Request<Incoming>| async move {
        let path = request.uri().path().to_owned();
        let seen = format!(
            "{:?} {} {:?} te={:?} host={:?}",
            request.version(),
            request.uri(),
            request.headers().get("x-genesys-session-id"),
            request.headers().get("te"),
            request.headers().get("host"),
        );
        let mut frames = vec![Ok(Frame::data(Bytes::from(seen)))];
        match path.as_str() {
            "/cut" => frames.push(Err(io::Error::other("cut"))),
            "/early" => {}
            "/trailers" => {
                let whole = request.into_body().collect().await.unwrap();
                let mut trailers = whole.trailers().cloned().unwrap_or_default();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                trailers.insert("set-cookie", HeaderValue::from_static("a=1"));
                frames.push(Ok(Frame::data(whole.to_bytes())));
                frames.push(Ok(Frame::trailers(trailers)));
            }
            _ => drop(request.into_body().collect().await),
        }
        let body: StreamBody<Frames> = StreamBody::new(futures_util::stream::iter(frames));
        Ok::<_, Infallible>(Response::new(body))
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
}

async fn h2c() -> (Upstream, Arc<AtomicUsize>) {
    let (mut upstream, connections) = site(|_, stream| serve(stream)).await;
    upstream.protocol = Protocol::H2c;
    (upstream, connections)
}

#[tokio::test]
async fn everybody_shares_one_connection() {
    let (site, connections) = h2c().await;
    let own = format!("http://shop.example/x?{}", port(&site));
    let forward = forward(site);
    let mut requests = Vec::new();
    for _ in 0..20 {
        let mut request = get(&own.replace("http://shop.example", ""));
        request.headers_mut().insert("host", HeaderValue::from_static("shop.example"));
        let forward = forward.clone();
        requests.push(tokio::spawn(async move { text(ask(&forward, request).await.into_body()).await }));
    }
    for request in requests {
        assert_eq!(request.await.unwrap(), format!("HTTP/2.0 {own} None te=None host=None"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_passes_whole_with_its_trailers() {
    let (site, _) = h2c().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    trailers.insert("x_genesys_session_id", HeaderValue::from_static("mine"));
    let frames = vec![Ok(Frame::data(Bytes::from_static(b" call"))), Ok(Frame::trailers(trailers))];
    let body: StreamBody<Frames> = StreamBody::new(futures_util::stream::iter(frames));
    let mut request = request("POST", "/trailers", body);
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let response = ask(&forward(site), request).await;
    assert_eq!(response.headers()["via"], "2.0 guestpass");
    let whole = response.into_body().collect().await.unwrap();
    let trailers = whole.trailers().unwrap().clone();
    assert_eq!(trailers.len(), 2, "{trailers:?}");
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-sum"]),
        (&HeaderValue::from_static("0"), &HeaderValue::from_static("7"))
    );
    let body = String::from_utf8(whole.to_bytes().to_vec()).unwrap();
    assert!(body.ends_with("te=Some(\"trailers\") host=None call"), "{body}");
}

#[tokio::test]
async fn a_stream_that_is_reset_is_not_the_connection() {
    let (site, connections) = h2c().await;
    let forward = forward(site);
    // hyper's server throws the head away with the stream.
    assert_eq!(code(ask(&forward, get("/cut")).await).await, (502, "upstream_unreachable".to_owned()));
    assert_eq!(ask(&forward, get("/")).await.status(), 200);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// Reads the client's preface and its frames up to the end of the first HEADERS, answering SETTINGS.
async fn accept_stream(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = usize::from(head[1]) * 256 + usize::from(head[2]);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

/// HEADERS with `:status: 200` alone, on stream 1.
const HEAD_200: [u8; 10] = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
const DATA: [u8; 13] = [0, 0, 4, 0, 0, 0, 0, 0, 1, b'h', b'a', b'l', b'f'];
const fn reset(reason: u8) -> [u8; 13] {
    [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, reason]
}
/// GOAWAY that says no stream was begun.
const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn a_stream_that_is_cut_never_looks_whole() {
    // INTERNAL_ERROR, and the good words NO_ERROR and CANCEL: none makes half an answer whole.
    for reason in [0, 2, 8] {
        let (mut site, _) = site(move |_, mut stream| async move {
            accept_stream(&mut stream).await;
            stream.write_all(&[&HEAD_200[..], &DATA, &reset(reason)].concat()).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        site.protocol = Protocol::H2c;
        let (response, context) = ask_noted(&forward(site), get("/")).await;
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err(), "reason {reason}");
        assert!(noted(&context).cut);
    }
}

#[tokio::test]
async fn a_request_that_was_never_begun_is_sent_again() {
    // The first connection answers one request and turns the second one away; the next connection is in order.
    let refused: [&[u8]; 2] = [&GO_AWAY, &[0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 7]];
    for refusal in refused {
        let (mut site, connections) = site(move |nth, mut stream| async move {
            if nth > 0 {
                return serve(stream).await;
            }
            accept_stream(&mut stream).await;
            let ended = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
            stream.write_all(&ended).await.unwrap();
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
                stream.read_exact(&mut payload).await.unwrap();
                if head[3] == 1 {
                    break;
                }
            }
            stream.write_all(refusal).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        site.protocol = Protocol::H2c;
        let forward = forward(site);
        assert_eq!(text(ask(&forward, get("/")).await.into_body()).await, "");
        assert_eq!(ask(&forward, get("/")).await.status(), 200);
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn an_early_answer_over_http_2_is_an_answer() {
    let (site, _) = h2c().await;
    let forward = forward(site);
    for _ in 0..5 {
        let endless =
            futures_util::stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 65536]))));
        let response = ask(&forward, request("POST", "/early", StreamBody::new(endless))).await;
        assert_eq!(response.status(), 200);
        assert!(text(response.into_body()).await.starts_with("HTTP/2.0"));
    }
}

const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

/// A site behind TLS that a CA of our own vouches for.
async fn https(alpn: &'static [&'static [u8]]) -> (Upstream, Arc<AtomicUsize>, tempfile::TempDir) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["site.internal".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (mut upstream, connections) = site(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await;
    let tls = UpstreamTls { ca: Some(ca_file), server_name: Some("site.internal".to_owned()), insecure: false };
    upstream.protocol = Protocol::Https(tls);
    (upstream, connections, folder)
}

#[tokio::test]
async fn tls_settles_on_what_the_site_speaks() {
    for (alpn, version) in [(BOTH, "HTTP/2.0 https://shop.example/"), (&[], "HTTP/1.1 /")] {
        let (site, connections, _folder) = https(alpn).await;
        let forward = forward(site);
        for _ in 0..3 {
            let said = text(ask(&forward, get("/")).await.into_body()).await;
            assert!(said.starts_with(version), "{said}");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_websocket_gets_a_connection_that_can_change() {
    let (site, _, _folder) = https(BOTH).await;
    let forward = forward(site);
    let mut client = connect(front(forward).await).await;
    let hello = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(hello.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("via: 1.1 guestpass"), "{head}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_no_upstream_unless_any_will_do() {
    let (mut site, _, _folder) = https(&[]).await;
    let (_, _, other) = https(&[]).await;
    for (ca, name) in [(None, "elsewhere.internal"), (Some(other.path().join("ca.pem")), "site.internal")] {
        let Protocol::Https(tls) = &mut site.protocol else { unreachable!("https makes it so") };
        tls.server_name = Some(name.to_owned());
        if ca.is_some() {
            tls.ca = ca;
        }
        let (response, context) = ask_noted(&forward(site.clone()), get("/")).await;
        assert_eq!(code(response).await, (502, "upstream_unreachable".to_owned()));
        let reason = noted(&context).reason.unwrap();
        assert!(reason.starts_with("no TLS with the upstream: invalid peer certificate"), "{reason}");
    }
    let tls = UpstreamTls { insecure: true, ..UpstreamTls::default() };
    site.protocol = Protocol::Https(tls);
    assert_eq!(ask(&forward(site), get("/")).await.status(), 200);
}

#[test]
fn a_file_with_other_authorities_is_another_way_to_connect() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let authority = || {
        let key = KeyPair::generate().unwrap();
        CertificateParams::default().self_signed(&key).unwrap().pem()
    };
    std::fs::write(&file, authority()).unwrap();
    let tls = UpstreamTls { ca: Some(file.clone()), server_name: None, insecure: false };
    let upstream = upstream(Protocol::Https(tls), 1);
    let around = surroundings();
    let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
    let after = |old: &Servers| {
        let new =
            Servers::new(std::slice::from_ref(&upstream), Arc::clone(&around.clock), &resolver, Some(old)).unwrap();
        let same = Arc::ptr_eq(&old.groups[0].members[0].connector, &new.groups[0].members[0].connector);
        (new, same)
    };
    let first = servers(std::slice::from_ref(&upstream), &around);
    let (second, same) = after(&first);
    assert!(same);
    std::fs::write(&file, authority()).unwrap();
    assert!(!after(&second).1);
}

#[test]
fn settings_that_cannot_work_are_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.pem");
    std::fs::write(&junk, "nothing").unwrap();
    let made = |ca: Option<PathBuf>, name: &str, host: &str| {
        let tls = UpstreamTls { ca, server_name: Some(name.to_owned()), insecure: false };
        let mut upstream = upstream(Protocol::Https(tls), 1);
        upstream.servers[0] = Server::Tcp { host: host.to_owned(), port: 1 };
        let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
        Servers::new(&[upstream], surroundings().clock, &resolver, None).map(drop)
    };
    assert!(matches!(made(Some(folder.path().join("none.pem")), "a.b", "a.b"), Err(Error::ReadCa { .. })));
    assert!(matches!(made(Some(junk), "a.b", "a.b"), Err(Error::BadCa { .. })));
    assert!(matches!(made(None, "not a name", "a.b"), Err(Error::ServerName { .. })));
    assert!(matches!(made(None, "a.b", "a\nb"), Err(Error::Host { .. })));
    assert!(made(None, "a.b", "::1").is_ok());
}

#[tokio::test]
async fn a_post_and_an_empty_get_say_what_they_carry() {
    let (site, _) = h2c().await;
    let forward = forward(site);
    let post = request("POST", "/", Full::new(Bytes::from_static(b"x")));
    assert_eq!(ask(&forward, post).await.status(), 200);
    assert_eq!(ask(&forward, request("HEAD", "/", Empty::new())).await.status(), 200);
}
