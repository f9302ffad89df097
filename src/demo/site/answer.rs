//! Which answer a path gets, and the answers that are no page.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use tokio::time::Interval;

use super::seen::WatchedBody;
use super::{House, echo, page};

/// Whatever an answer's body is. An error in it breaks the connection off, which only `/cut` and `/mirror` do.
type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// More than a day of waiting or of events is a slip of the pen.
const LONGEST: u64 = 86_400;

/// What `/bytes` and `/cut` send: lines of 64 bytes, so that a gap, a repetition or a swap shows. 256 lines at once,
/// since 16 KiB is a TLS record and an HTTP/2 frame.
const LINE: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXY\n";
const LINES: &[u8; 64 * 256] = &repeated();

/// Answers one request.
pub(super) async fn to(mut request: Request<Incoming>, peer: SocketAddr, house: &House) -> Response<AnswerBody> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let mut body = house.log.write(&head, body, peer);
    let path = head.uri.path().trim_start_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));

    let mut response = match first {
        "echo" => echo::answer::<Full<Bytes>>(&head.headers, upgrade, house).map(whole),
        "early" => text("Answered before the body was read.\n"),
        "mirror" => Response::new(body.map_err(io::Error::other).boxed_unsync()),
        "body" => digest(&mut body).await,
        _ => {
            if drain(&mut body).await.is_err() {
                return status(StatusCode::BAD_REQUEST);
            }
            match first {
                "headers" => json(&headers_as_json(&head.headers)),
                "bytes" => numbered(rest, |length| stream(Letters { left: length, end: End::Whole })),
                "cut" => numbered(rest, |length| stream(Letters { left: length, end: End::Breaks })),
                "events" => events(number(&head.uri, "n").unwrap_or(10)),
                "slow" => slow(number(&head.uri, "ms").unwrap_or(1000)).await,
                "status" => rest.parse().ok().and_then(answerable).map_or_else(bad_number, status),
                "robots.txt" => text("User-agent: *\nDisallow: /account/\n"),
                "favicon.ico" => favicon(),
                _ => shown(&head, peer, house),
            }
        }
    };
    impose(&house.settings.answer_headers, response.headers_mut());
    if head.method == Method::HEAD { without_body(response) } else { response }
}

fn impose(imposed: &HeaderMap, headers: &mut HeaderMap) {
    for name in imposed.keys() {
        headers.remove(name);
    }
    headers.extend(imposed.iter().map(|(name, value)| (name.clone(), value.clone())));
}

/// RFC 9110, section 9.3.2: the fields of the answer that GET would have got, its length included. HTTP/1.1 would cut
/// the body off by itself, HTTP/2 would send it.
fn without_body(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| whole(Full::default()))
}

fn shown(head: &Parts, peer: SocketAddr, house: &House) -> Response<AnswerBody> {
    let mut response = typed("text/html; charset=utf-8", page::showing(head, peer));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, house.page_policy.clone());
    response
}

async fn digest(body: &mut WatchedBody) -> Response<AnswerBody> {
    let (mut length, mut hash) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return status(StatusCode::BAD_REQUEST) };
        if let Some(data) = frame.data_ref() {
            length += data.len() as u64;
            hash.update(data);
        }
    }
    let digest = hash.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    });
    json(&serde_json::json!({ "length": length, "sha256": digest }))
}

async fn drain(body: &mut WatchedBody) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

async fn slow(millis: u64) -> Response<AnswerBody> {
    let wait = Duration::from_millis(millis.min(LONGEST * 1000));
    tokio::time::sleep(wait).await;
    text(format!("Answered after {} ms.\n", wait.as_millis()))
}

fn events(count: u64) -> Response<AnswerBody> {
    let events = Events { sent: 0, count: count.min(LONGEST), tick: tokio::time::interval(Duration::from_secs(1)) };
    let mut response = stream(events);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn headers_as_json(headers: &HeaderMap) -> serde_json::Value {
    let values =
        |name| headers.get_all(name).iter().map(|value| page::readable(value).into_owned()).collect::<Vec<_>>();
    headers.keys().map(|name| (name.to_string(), values(name).into())).collect::<serde_json::Map<_, _>>().into()
}

fn favicon() -> Response<AnswerBody> {
    let mut response = typed("image/svg+xml", include_str!("favicon.svg"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
    response
}

/// An informational status is no answer, RFC 9110, section 15.2.
fn answerable(number: u16) -> Option<StatusCode> {
    StatusCode::from_u16(number).ok().filter(|status| !status.is_informational() && number < 600)
}

fn status(status: StatusCode) -> Response<AnswerBody> {
    let mut response = match status {
        // These have no body at all: RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            Response::new(whole(Full::default()))
        }
        status => text(format!("{status}\n")),
    };
    *response.status_mut() = status;
    response
}

fn numbered(digits: &str, answer: impl FnOnce(u64) -> Response<AnswerBody>) -> Response<AnswerBody> {
    digits.parse().map_or_else(|_| bad_number(), answer)
}

fn bad_number() -> Response<AnswerBody> {
    let mut response = text("The last part of this path has to be a number that makes sense there.\n");
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The number behind `name=` in the query.
fn number(uri: &Uri, name: &str) -> Option<u64> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
}

fn json(value: &serde_json::Value) -> Response<AnswerBody> {
    typed("application/json", format!("{value:#}\n"))
}

fn text(text: impl Into<Bytes>) -> Response<AnswerBody> {
    typed("text/plain; charset=utf-8", text)
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(whole(Full::new(body.into())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn stream(body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static) -> Response<AnswerBody> {
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

fn whole(body: Full<Bytes>) -> AnswerBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// Letters as long as somebody takes them: nothing is made ahead, so the reader's pace is the writer's.
struct Letters {
    left: u64,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Breaks,
    /// The same, once what stands before it has been written: an error at once would take even the head with it.
    BreaksNext,
}

impl Body for Letters {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return match self.end {
                End::Whole => Poll::Ready(None),
                End::Breaks => {
                    self.end = End::BreaksNext;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                End::BreaksNext => Poll::Ready(Some(Err(io::Error::other("cut, as it was asked for")))),
            };
        }
        let length = LINES.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&LINES[..length])))))
    }

    fn size_hint(&self) -> SizeHint {
        // A cut body must promise more than it gives, or it would be whole.
        SizeHint::with_exact(self.left.saturating_add(u64::from(self.end != End::Whole)))
    }
}

/// One event a second.
struct Events {
    sent: u64,
    count: u64,
    tick: Interval,
}

impl Body for Events {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.sent == self.count {
            return Poll::Ready(None);
        }
        ready!(self.tick.poll_tick(cx));
        self.sent += 1;
        let event = format!("id: {0}\ndata: event {0} of {1}\n\n", self.sent, self.count);
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

const fn repeated() -> [u8; 64 * 256] {
    let mut lines = [0; 64 * 256];
    let mut at = 0;
    while at < lines.len() {
        lines[at] = LINE[at % LINE.len()];
        at += 1;
    }
    lines
}
