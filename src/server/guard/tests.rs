use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;

use super::*;

/// A client that says what it says in these pieces, and then ends.
#[derive(Debug, Default)]
struct Client {
    pieces: VecDeque<Vec<u8>>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Client {
    fn saying<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { pieces: pieces.into_iter().map(<[u8]>::to_vec).collect(), ..Self::default() }
    }
}

impl AsyncRead for Client {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while let Some(piece) = self.pieces.front_mut() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(piece);
            let was_empty = std::mem::replace(piece, rest).is_empty();
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            if !was_empty || !buf.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.said.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper made of it: each request's target and its body, `None` for a body that broke.
type Seen = Vec<(String, Option<Vec<u8>>)>;

fn through_hyper(client: Client, guarded: bool) -> (Seen, String, Option<Malformed>) {
    let seen = Arc::<Mutex<Seen>>::default();
    let noting = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&noting);
        async move {
            let target = request.uri().to_string();
            let body = request.into_body().collect().await.ok().map(|body| body.to_bytes().to_vec());
            seen.lock().unwrap().push((target.clone(), body));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(target))))
        }
    });
    let said = Arc::clone(&client.said);
    let guard = Guard::new(client, &Limits { header_size: 2048, headers: 20, ..Limits::default() });
    let word = guard.word();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // A broken body is an error of the connection too.
    let _ = runtime.block_on(async {
        let mut http1 = http1::Builder::new();
        // This client ends its side before it is answered, and wants its answers all the same.
        http1.half_close(true);
        if guarded {
            http1.serve_connection(TokioIo::new(guard), service).await
        } else {
            http1.serve_connection(TokioIo::new(guard.io), service).await
        }
    });
    let said = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    (seen.lock().unwrap().clone(), said, word.malformed().cloned())
}

/// The two before it are answered, in order, and nothing behind it is seen.
#[test]
fn a_bad_head_is_answered_behind_the_good_ones_however_it_is_cut() {
    let bytes = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nPOST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
        GET /bad HTTP/1.1\r\nHost : a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let check = |client: Client, at: usize| {
        let (seen, said, malformed) = through_hyper(client, true);
        let targets: Vec<_> = seen.iter().map(|(target, _)| target.as_str()).collect();
        assert_eq!(targets, ["/one", "/two", STAND_IN], "cut at {at}");
        assert_eq!(seen[1].1.as_deref(), Some(&b"hi"[..]), "cut at {at}");
        assert_eq!(malformed.unwrap().rule, Rule::SpaceBeforeColon, "cut at {at}");
        assert!(said.ends_with(STAND_IN) && said.matches("HTTP/1.1 200").count() == 3, "cut at {at}: {said}");
        assert_eq!(said.matches("connection: close").count(), 1, "cut at {at}: {said}");
    };
    for at in 0..bytes.len() {
        check(Client::saying([&bytes[..at], &bytes[at..]].into_iter().filter(|piece| !piece.is_empty())), at);
    }
    check(Client::saying(bytes.chunks(1)), 1);
}

#[test]
fn a_body_that_breaks_its_framing_breaks_off_however_it_is_cut() {
    let bytes = b"POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n+2\r\nho\r\n0\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for at in 1..bytes.len() {
        let (seen, _, malformed) = through_hyper(Client::saying([&bytes[..at], &bytes[at..]]), true);
        assert_eq!((seen, malformed), (vec![("/one".to_owned(), None)], None), "cut at {at}");
    }
}

#[test]
fn an_answer_to_a_bad_head_request_has_no_body() {
    let (_, said, malformed) = through_hyper(Client::saying([&b"HEAD /#a HTTP/1.1\r\nHost: a\r\n\r\n"[..]]), true);
    assert!(malformed.is_some() && said.ends_with("\r\n\r\n"), "{said}");
}

#[test]
fn an_end_in_a_head_is_said_and_an_end_between_two_is_none() {
    for (rest, is_bad) in [("", false), ("\r\n", false), ("\r", false), ("G", true), ("GET / HTTP/1.1\r\nHost:", true)]
    {
        let text = format!("GET /one HTTP/1.1\r\nHost: a\r\n\r\n{rest}");
        let (_, said, malformed) = through_hyper(Client::saying([text.as_bytes()]), true);
        assert_eq!(malformed.map(|malformed| malformed.rule), is_bad.then_some(Rule::Unfinished), "{rest:?}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1 + usize::from(is_bad), "{rest:?}: {said}");
    }
}

/// Whoever does not wait for the answer is heard once it is known what language it was.
#[test]
fn what_comes_behind_a_declined_upgrade_is_a_request_again() {
    let text = b"GET /one HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut guard = Guard::new(Client::saying([&text[..]]), &Limits::default());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut read = |guard: &mut Guard<Client>| {
        let mut room = [0; 256];
        let mut buf = ReadBuf::new(&mut room);
        Pin::new(guard).poll_read(&mut cx, &mut buf).map(|read| read.map(|()| buf.filled().to_vec()).unwrap())
    };
    let Poll::Ready(first) = read(&mut guard) else { panic!("the first is there") };
    assert!(first.ends_with(b"Upgrade: x\r\n\r\n"));
    assert!(read(&mut guard).is_pending());
    guard.word().decide(false);
    assert_eq!(read(&mut guard), Poll::Ready(b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()));
    assert_eq!(read(&mut guard), Poll::Ready(Vec::new()));

    let mut guard = Guard::new(Client::saying([&text[..], &b"\0\n\r"[..]]), &Limits::default());
    assert!(read(&mut guard).is_ready());
    guard.word().decide(true);
    let Poll::Ready(tunnelled) = read(&mut guard) else { panic!("it goes through") };
    assert!(tunnelled.starts_with(b"GET /two"));
    assert_eq!(read(&mut guard), Poll::Ready(b"\0\n\r".to_vec()), "and so does what is no HTTP");
}

#[test]
fn an_upgrade_that_was_declined_before_the_body_had_ended_stays_declined() {
    let head = b"POST /one HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n";
    let rest = b"helloGET /two HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut guard = Guard::new(Client::saying([&head[..], &rest[..]]), &Limits::default());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut read = |guard: &mut Guard<Client>| {
        let mut room = [0; 256];
        let mut buf = ReadBuf::new(&mut room);
        Pin::new(guard).poll_read(&mut cx, &mut buf).map(|read| read.map(|()| buf.filled().to_vec()).unwrap())
    };
    assert!(read(&mut guard).is_ready());
    guard.word().decide(false);
    assert_eq!(read(&mut guard), Poll::Ready(b"hello".to_vec()));
    assert_eq!(read(&mut guard), Poll::Ready(b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()));
}

/// A legal request as text, and what hyper is to see of it.
fn legal() -> impl Strategy<Value = (Vec<u8>, (String, Option<Vec<u8>>))> {
    let body = prop::collection::vec(any::<u8>(), 0..60);
    let name = prop::sample::select(vec!["Accept", "X-A", "cookie", "Via", "user-agent"]);
    let fields = prop::collection::vec((name, "[ -~]{0,20}"), 0..5);
    let framing = 0..4_u8;
    (
        "/[a-z]{0,9}",
        prop::sample::select(vec!["GET", "POST", "delete"]),
        fields,
        framing,
        body,
        1..9_usize,
        any::<bool>(),
    )
        .prop_map(|(target, method, fields, framing, body, size, blank)| {
            let mut text = if blank { b"\r\n".to_vec() } else { Vec::new() };
            text.extend(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n").bytes());
            text.extend(fields.iter().flat_map(|(name, value)| format!("{name}:{value}\r\n").into_bytes()));
            let seen = match framing {
                0 => {
                    text.extend(b"\r\n");
                    Vec::new()
                }
                1 => {
                    text.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                    text.extend(&body);
                    body
                }
                _ => {
                    text.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in body.chunks(size) {
                        let extension = if framing == 3 { ";a=\"b\"" } else { "" };
                        text.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
                        text.extend(chunk);
                        text.extend(b"\r\n");
                    }
                    text.extend(if framing == 3 { &b"00\r\nX-Sum: 1\r\n\r\n"[..] } else { b"0\r\n\r\n" });
                    body
                }
            };
            (text, (target, Some(seen)))
        })
}

fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle().take(bytes.len()) {
        let (piece, more) = rest.split_at((cut + 1).min(rest.len()));
        if piece.is_empty() {
            break;
        }
        pieces.push(piece);
        rest = more;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn legal_requests_pass_as_they_are_however_they_come(
        requests in prop::collection::vec(legal(), 1..5),
        cuts in prop::collection::vec(0..90_usize, 1..6),
    ) {
        let (texts, expected): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let bytes = texts.concat();
        let (seen, said, malformed) = through_hyper(Client::saying(cut(&bytes, &cuts)), true);
        prop_assert_eq!(malformed, None);
        prop_assert_eq!(&seen, &expected);
        let (unguarded_seen, unguarded_said, _) = through_hyper(Client::saying(cut(&bytes, &cuts)), false);
        prop_assert_eq!(&seen, &unguarded_seen);
        // The second may have turned over between the two.
        let dateless = |said: &str| said.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(dateless(&said), dateless(&unguarded_said));
    }

    /// Whatever comes, hyper never sees a head that the reader would not take, and never speaks for itself.
    #[test]
    fn hyper_is_never_the_one_who_refuses(
        request in legal(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(&b"\r\n\0 \t:;,#\\\x7f\xffAa0+/%"[..]),
        replaced in any::<bool>(),
    ) {
        let (mut bytes, _) = request;
        let at = at.index(bytes.len());
        if replaced { bytes[at] = byte } else { bytes.insert(at, byte) }
        let (_, said, _) = through_hyper(Client::saying([&bytes[..]]), true);
        prop_assert!(!said.contains("HTTP/1.1 4") && !said.contains("HTTP/1.1 5"), "{}", said);
    }
}
