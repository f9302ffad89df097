//! Several servers of one upstream: who is chosen, who takes the place of one that does not work, and what goes over to
//! the next configuration.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{Empty, Full};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};

use super::super::*;
use super::harness::*;
use crate::clock::{ManualClock, Timestamp};
use crate::secret::SecretText;
use crate::session::Session;

const NAMES: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
];

/// An upstream of three sites, each of which answers with its place.
async fn three() -> Upstream {
    let mut sites = Vec::new();
    for answer in NAMES {
        sites.push(answering(answer).await.0);
    }
    together(&sites)
}

fn together(sites: &[Upstream]) -> Upstream {
    Upstream { servers: sites.iter().map(|site| site.servers[0].clone()).collect(), ..sites[0].clone() }
}

/// A port on which nobody listens.
async fn nobody() -> Server {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    Server::Tcp { host: "127.0.0.1".to_owned(), port }
}

async fn said(forward: &Forward) -> String {
    text(ask(forward, get("/")).await.into_body()).await
}

fn of_session<B>(mut request: Request<B>, id: &str) -> Request<B> {
    let session = Session {
        id: id.to_owned(),
        token: SecretText::new("t".to_owned()),
        organization_id: "o".to_owned(),
        issued_at: Timestamp::from_seconds(0),
        expires_at: Timestamp::from_seconds(u64::from(u32::MAX)),
    };
    request.extensions_mut().insert(Arc::new(session));
    request
}

#[tokio::test]
async fn servers_take_turns() {
    let forward = forward(three().await);
    let mut answers = Vec::new();
    for _ in 0..6 {
        answers.push(said(&forward).await);
    }
    assert_eq!(answers, ["0", "1", "2", "0", "1", "2"]);
}

#[tokio::test]
async fn a_session_stays_on_its_server_also_when_another_one_leaves() {
    let mut upstream = three().await;
    upstream.balance = Balance::Session;
    let forward = forward(upstream.clone());
    let mut homes = Vec::new();
    for visitor in 0..20 {
        let mut home = String::new();
        for _ in 0..3 {
            let answer = ask(&forward, of_session(get("/"), &format!("visitor-{visitor}"))).await;
            let answer = text(answer.into_body()).await;
            assert!(home.is_empty() || home == answer, "it moved from {home} to {answer}");
            home = answer;
        }
        homes.push(home);
    }
    assert!(["0", "1", "2"].iter().all(|name| homes.iter().any(|home| home == name)), "{homes:?}");

    upstream.servers.pop();
    let fewer = self::forward(upstream);
    for (visitor, home) in homes.iter().enumerate().filter(|(_, home)| *home != "2") {
        let answer = ask(&fewer, of_session(get("/"), &format!("visitor-{visitor}"))).await;
        assert_eq!(text(answer.into_body()).await, *home);
    }
}

#[tokio::test]
async fn whoever_is_busy_is_spared() {
    let (slow, _) = site(|_, mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let (quick, _) = answering(NAMES[1]).await;
    let mut upstream = together(&[slow, quick]);
    upstream.balance = Balance::LeastConnections;
    let around = surroundings();
    let servers = servers(&[upstream], &around);
    let forward = Forward::new(&servers, around, None);
    // It takes turns while nobody is busy, so that one of two requests is soon stuck.
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let forward = forward.clone();
            tokio::spawn(async move { said(&forward).await })
        })
        .collect();
    eventually(|| servers.snapshot()[0].connections == 1 && servers.snapshot()[1].connections == 0).await;
    for _ in 0..20 {
        assert_eq!(said(&forward).await, "1");
    }
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
    eventually(|| servers.snapshot()[0].connections == 0).await;
}

#[tokio::test]
async fn a_refused_connection_costs_nobody_a_request_not_even_one_with_a_body() {
    let mut upstream = three().await;
    upstream.servers[1] = nobody().await;
    upstream.health_check.fail_after = 2;
    let around = surroundings();
    let servers = servers(&[upstream], &around);
    let forward = Forward::new(&servers, around, None);
    for _ in 0..12 {
        let post = request("POST", "/", Full::new(Bytes::from_static(b"buy")));
        assert_eq!(ask(&forward, post).await.status(), 200);
    }
    let status = &servers.snapshot()[1];
    assert!(!status.healthy && status.last_error.as_ref().unwrap().contains("refused"), "{status:?}");
    assert!(servers.snapshot()[0].healthy && servers.snapshot()[2].healthy);
}

#[tokio::test]
async fn one_try_lets_a_server_back() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
    let around = Surroundings { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..surroundings() };
    let (works, _) = answering(NAMES[0]).await;
    let gone = nobody().await;
    let Server::Tcp { port, .. } = gone else { unreachable!("it is on TCP") };
    let mut upstream = works;
    upstream.servers.push(gone);
    let servers = servers(&[upstream], &around);
    let forward = Forward::new(&servers, around, None);
    for _ in 0..4 {
        assert_eq!(said(&forward).await, "0");
    }
    assert!(!servers.snapshot()[1].healthy);
    let back = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = back.accept().await {
            tokio::spawn(async move {
                while !read_head(&mut stream).await.is_empty() && stream.write_all(NAMES[1].as_bytes()).await.is_ok() {}
            });
        }
    });
    for _ in 0..4 {
        assert_eq!(said(&forward).await, "0", "it is left alone for a while");
    }
    clock.advance(Duration::from_secs(1));
    let answers = [said(&forward).await, said(&forward).await, said(&forward).await];
    assert!(answers.contains(&"1".to_owned()) && servers.snapshot()[1].healthy, "{answers:?}");
}

#[tokio::test]
async fn where_no_server_works_all_are_tried_and_the_last_ones_reason_is_noted() {
    let mut upstream = three().await;
    upstream.servers = vec![nobody().await, nobody().await];
    let forward = forward(upstream);
    for _ in 0..3 {
        let (response, context) = ask_noted(&forward, get("/")).await;
        assert_eq!(code(response).await, (502, "upstream_unreachable".to_owned()));
        let entry = noted(&context);
        assert!(entry.reason.as_ref().unwrap().contains("refused"), "{:?}", entry.reason);
    }
}

#[tokio::test]
async fn checks_take_a_server_out_and_let_it_back() {
    let well = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let (checked, _) = site({
        let (well, heads) = (Arc::clone(&well), Arc::clone(&heads));
        move |_, mut stream| {
            let (well, heads) = (Arc::clone(&well), Arc::clone(&heads));
            async move {
                loop {
                    let head = read_head(&mut stream).await;
                    let ill = head.starts_with("GET /healthz?") && !well.load(Ordering::SeqCst);
                    let answer = if ill { "HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n" } else { NAMES[0] };
                    if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                    heads.lock().unwrap().push(head);
                }
            }
        }
    })
    .await;
    let mut upstream = together(&[checked, answering(NAMES[1]).await.0]);
    upstream.health_check.path = Some("/healthz?from=guestpass".parse().unwrap());
    let own = upstream.servers[0].to_string();
    let around = surroundings();
    let servers = Arc::new(servers(&[upstream], &around));
    let forward = Forward::new(&servers, around, None);
    let over = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&servers).watch(over.clone()));
    eventually(|| !heads.lock().unwrap().is_empty()).await;
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("get /healthz?from=guestpass http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {own}\r\n")) && head.contains("connection: close\r\n"), "{head}");

    well.store(false, Ordering::SeqCst);
    eventually(|| !servers.snapshot()[0].healthy).await;
    assert_eq!(
        servers.snapshot()[0].last_error.as_deref(),
        Some("a check was answered with 500 Internal Server Error")
    );
    for _ in 0..4 {
        assert_eq!(said(&forward).await, "1");
    }
    well.store(true, Ordering::SeqCst);
    eventually(|| servers.snapshot()[0].healthy).await;
    assert_ne!(said(&forward).await, said(&forward).await);
    over.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn a_socket_of_this_machine_is_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() || stream.write_all(NAMES[2].as_bytes()).await.is_err() {
                    break;
                }
                let _ = heads.send(head);
            }
        }
    });
    for (host, told) in [(HostHeader::Preserve, "shop.example"), (HostHeader::Upstream, "localhost")] {
        let mut upstream = upstream(Protocol::Http, 1);
        (upstream.servers, upstream.host) = (vec![Server::Unix(path.clone())], host);
        let forward = forward(upstream);
        for _ in 0..2 {
            assert_eq!(said(&forward).await, "2");
            let head = seen.recv().await.unwrap();
            assert!(head.contains(&format!("host: {told}\r\n")), "{head}");
        }
    }
    let mut upstream = upstream(Protocol::Http, 1);
    upstream.servers = vec![Server::Unix(folder.path().join("none.sock"))];
    assert_eq!(code(ask(&forward(upstream), get("/")).await).await, (502, "upstream_unreachable".to_owned()));
}

/// Answers with what it was last told.
#[derive(Debug, Default)]
struct Book(Mutex<Vec<IpAddr>>);

impl Book {
    fn says(&self, addresses: &[&str]) {
        *self.0.lock().unwrap() = addresses.iter().map(|address| address.parse().unwrap()).collect();
    }
}

impl Resolve for Book {
    fn resolve(&self, _host: &str) -> Resolving {
        Box::pin(std::future::ready(Ok(self.0.lock().unwrap().clone())))
    }
}

/// Two sites on the same port of two addresses; each says which it is.
async fn twins() -> u16 {
    for _ in 0..20 {
        let first = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let Ok(second) = TcpListener::bind(("127.0.0.3", port)).await else { continue };
        for (listener, answer) in [(first, NAMES[0]), (second, NAMES[1])] {
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        while !read_head(&mut stream).await.is_empty()
                            && stream.write_all(answer.as_bytes()).await.is_ok()
                        {}
                    });
                }
            });
        }
        return port;
    }
    panic!("no port is free on both");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_followed_and_kept_connections_too() {
    let port = twins().await;
    let book = Arc::new(Book::default());
    let mut upstream = upstream(Protocol::Http, port);
    upstream.servers = vec![Server::Tcp { host: "site.internal".to_owned(), port }];
    let around = surroundings();
    let resolver = Arc::clone(&book) as Arc<dyn Resolve>;
    let servers = Servers::new(&[upstream], Arc::clone(&around.clock), &resolver, None).unwrap();
    let forward = Forward::new(&servers, around, None);
    // On 127.0.0.4 nobody listens on this port: the next address is tried.
    book.says(&["127.0.0.4", "127.0.0.2"]);
    assert_eq!([said(&forward).await, said(&forward).await], ["0", "0"]);
    book.says(&["127.0.0.3"]);
    assert_eq!(said(&forward).await, "0", "nobody has asked yet");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    let member = &servers.groups[0].members[0];
    member.connector.keep_fresh().await;
    assert_eq!([said(&forward).await, said(&forward).await], ["1", "1"]);
}

#[tokio::test]
async fn servers_that_stay_keep_their_connections_and_their_health() {
    let (stays, connections) = answering(NAMES[0]).await;
    let (new, _) = answering(NAMES[1]).await;
    let mut before = stays.clone();
    before.servers.push(nobody().await);
    let around = surroundings();
    let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
    let make = |upstream: &Upstream, old: Option<&Servers>| {
        Servers::new(std::slice::from_ref(upstream), Arc::clone(&around.clock), &resolver, old).unwrap()
    };
    let old_servers = make(&before, None);
    let old = Forward::new(&old_servers, around.clone(), None);
    for _ in 0..2 {
        assert_eq!(said(&old).await, "0");
    }
    assert!(!old_servers.snapshot()[1].healthy);

    let mut after = before.clone();
    after.servers.push(new.servers[0].clone());
    let servers = make(&after, Some(&old_servers));
    let forward = Forward::new(&servers, around.clone(), Some(&old));
    drop((old, old_servers));
    assert_eq!(servers.snapshot().iter().map(|status| status.healthy).collect::<Vec<_>>(), [true, false, true]);
    let answers = [said(&forward).await, said(&forward).await, said(&forward).await];
    assert!(answers.contains(&"1".to_owned()), "{answers:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1, "the connection went over");

    // Other patience is another way to connect.
    after.connect_timeout = Duration::from_secs(1);
    let changed = make(&after, Some(&servers));
    let anew = Forward::new(&changed, around.clone(), Some(&forward));
    for _ in 0..3 {
        said(&anew).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert!(!changed.snapshot()[1].healthy, "what is known of it stays");
}

#[tokio::test]
async fn an_idempotent_request_whose_server_died_goes_to_another() {
    let alive = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dying = upstream(Protocol::Http, listener.local_addr().unwrap().port());
    let counted = Arc::clone(&alive);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(NAMES[0].as_bytes()).await.unwrap();
        // Gone with the second request, and the listener with it.
        drop(listener);
        read_head(&mut stream).await;
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let upstream = together(&[dying, answering(NAMES[1]).await.0]);
    let forward = forward(upstream);
    assert_eq!([said(&forward).await, said(&forward).await], ["0", "1"]);
    let third = ask(&forward, request("PUT", "/", Empty::new())).await;
    assert_eq!((third.status(), text(third.into_body()).await), (http::StatusCode::OK, "1".to_owned()));
    server.await.unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 1, "the dying server had the request");
}
