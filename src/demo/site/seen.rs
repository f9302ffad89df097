//! What the site received, kept for whoever wants to compare it with what was sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// One request as it reached the site.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Over which HTTP.
    pub version: Version,
    /// Its method.
    pub method: Method,
    /// Path and query, byte for byte; the whole of the target where it was not in origin-form.
    pub target: String,
    /// `:authority` of HTTP/2; over HTTP/1.1 the `Host` field stands among the headers.
    pub authority: Option<String>,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Bytes of its body that were read so far.
    pub body_length: u64,
    /// Its trailers, once they came.
    pub trailers: Option<HeaderMap>,
    /// Whether its body was read to its proper end.
    pub whole: bool,
}

/// The latest requests.
#[derive(Debug)]
pub(super) struct Log {
    limit: usize,
    entries: Mutex<VecDeque<Entry>>,
}

type Entry = Arc<Mutex<Seen>>;

impl Log {
    pub(super) fn remembering(limit: usize) -> Self {
        Self { limit, entries: Mutex::default() }
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|entry| entry.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// Writes a request down and returns its body, which goes on writing while it is read.
    pub(super) fn write(&self, head: &Parts, body: Incoming, peer: SocketAddr) -> WatchedBody {
        if self.limit == 0 {
            return WatchedBody { body, entry: None };
        }
        let entry = Arc::new(Mutex::new(Seen {
            peer,
            version: head.version,
            method: head.method.clone(),
            target: target(head),
            authority: head.uri.authority().map(ToString::to_string),
            headers: head.headers.clone(),
            body_length: 0,
            trailers: None,
            whole: body.is_end_stream(),
        }));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == self.limit {
            entries.pop_front();
        }
        entries.push_back(Arc::clone(&entry));
        WatchedBody { body, entry: Some(entry) }
    }
}

/// A request's body, noted down as it is read.
#[derive(Debug)]
pub(super) struct WatchedBody {
    body: Incoming,
    entry: Option<Entry>,
}

impl WatchedBody {
    fn note(&self, fill: impl FnOnce(&mut Seen)) {
        if let Some(entry) = &self.entry {
            fill(&mut entry.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let ended = self.body.is_end_stream();
                self.note(|seen| {
                    seen.body_length += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if let Some(trailers) = frame.trailers_ref() {
                        seen.trailers = Some(trailers.clone());
                    }
                    seen.whole |= ended;
                });
            }
            Some(Err(_)) => {}
            None => self.note(|seen| seen.whole = true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// HTTP/2 spells the target in parts (RFC 9113, section 8.3.1), HTTP/1.1 in one (RFC 9112, section 3.2).
fn target(head: &Parts) -> String {
    match head.uri.path_and_query() {
        Some(path_and_query) if head.version == Version::HTTP_2 => path_and_query.to_string(),
        _ => head.uri.to_string(),
    }
}
