//! One exchange, from its head until its response has ended, and the line that is made of it.
//!
//! The line is written, and the end told, when the response's body is dropped, which happens once in every case: after its end, when the
//! client goes away, and when the request is given up before there was a response.

use std::fmt;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::body::Count;
use crate::clock::Timestamp;
use crate::context::{Context, Entry, Spelt};
use crate::event::Event;
use crate::policy::Policy;

use super::wire::Object;
use super::{CoreLog, Format};

/// Nginx' word for a request whose client left before there was an answer. It is no status of HTTP's, and never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request that is being answered.
#[derive(Debug)]
pub struct Exchange {
    log: CoreLog,
    context: Arc<Context>,
    read: Count,
    status: Option<StatusCode>,
    bytes: u64,
    whole: bool,
}

impl Exchange {
    /// Begins with the request's head; `read` counts its body.
    #[must_use]
    pub fn begin(log: &CoreLog, context: Arc<Context>, read: Count) -> Self {
        Self { log: log.clone(), context, read, status: None, bytes: 0, whole: false }
    }

    /// Goes on with the response: the line is written once its body is done with.
    pub fn respond<B: Body>(mut self, response: http::Response<B>) -> http::Response<LoggedBody<B>> {
        self.status = Some(response.status());
        // Nobody polls the body of such an answer, so it cannot be seen to end.
        self.whole = self.context.method == Method::HEAD || response.body().is_end_stream();
        response.map(|body| LoggedBody { body, exchange: self })
    }

    fn end(&self) {
        let (core, entry, duration) = (&*self.log.0, self.context.record.take(), self.duration());
        let answered = Event::Answered { status: self.status_code(), duration, entry: &entry };
        core.sink.notice(&answered, Some(&self.context));
        core.add(|buffer| match core.format {
            Format::Json => self.json(&entry, duration, buffer),
            Format::Text => self.text(&entry, duration, buffer),
        });
    }

    fn json(&self, entry: &Entry, duration: Duration, buffer: &mut Vec<u8>) {
        let mut line = Object::new(buffer);
        let began = self.began(duration).to_rfc3339();
        line.text("time", std::str::from_utf8(&began).expect("a date is ASCII"));
        line.text("request_id", self.context.request_id.as_str());
        line.text("trace_id", self.context.trace.id());
        line.text("client", Spelt::new(self.context.client).as_str());
        line.text("protocol", protocol(self.context.version));
        line.text("method", self.context.method.as_str());
        line.text("host", &self.context.host);
        line.text("path", &self.context.path_to_log());
        line.number("status", self.status_code().into());
        line.number("bytes", self.bytes);
        match self.read.bytes() {
            0 => {}
            bytes => line.number("bytes_in", bytes),
        }
        line.milliseconds("duration_ms", duration);
        if let Some(time) = entry.upstream_time {
            line.milliseconds("upstream_ms", time);
        }
        line.any_text("mint", entry.mint);
        if let Some(time) = entry.mint_time {
            line.milliseconds("mint_ms", time);
        }
        line.any_text("upstream", entry.upstream.as_deref());
        line.any_text("server", entry.server.as_deref());
        line.any_text("route", entry.route.as_deref());
        line.any_text("policy", entry.policy.map(Policy::as_str));
        line.any_text("reading", entry.reading);
        line.any_text("decision", entry.decision);
        line.any_text("shadow", entry.shadow);
        line.any_text("reason", entry.reason.as_deref());
        line.any_text("session_id", entry.session_id.as_deref());
        if entry.cut || !self.whole {
            line.yes("cut");
        }
        line.end();
        buffer.push(b'\n');
    }

    fn text(&self, entry: &Entry, duration: Duration, buffer: &mut Vec<u8>) {
        let written = writeln!(
            buffer,
            "{} {} {} {}{} {} {}B {:.1}ms {} {} {}{}{}{}",
            self.began(duration),
            self.context.client,
            self.context.method,
            self.context.host,
            self.context.path_to_log(),
            self.status_code(),
            self.bytes,
            milliseconds(duration),
            entry.policy.map_or("-", Policy::as_str),
            entry.reading.unwrap_or("-"),
            entry.decision.unwrap_or("-"),
            entry.shadow.map(|instead| format!(" [shadow: {instead}]")).unwrap_or_default(),
            entry.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default(),
            if entry.cut || !self.whole { " cut" } else { "" },
        );
        written.expect("a Vec takes all that is written");
    }

    fn status_code(&self) -> u16 {
        self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16())
    }

    fn duration(&self) -> Duration {
        self.log.0.clock.uptime().saturating_sub(self.context.received)
    }

    /// When the request came, by the calendar.
    fn began(&self, duration: Duration) -> Timestamp {
        let before = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.log.0.clock.now().millis().saturating_sub(before))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end();
    }
}

fn milliseconds(duration: Duration) -> f64 {
    // Three places are as fine as a log needs to be.
    (duration.as_micros() as f64) / 1_000.0
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

pin_project! {
    /// A response's body that counts what leaves.
    pub struct LoggedBody<B> {
        #[pin]
        body: B,
        exchange: Exchange,
    }
}

impl<B: Body<Data = Bytes>> Body for LoggedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                this.exchange.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                // A body of known length is dropped after its last byte, and never asked for an end.
                this.exchange.whole = this.body.is_end_stream();
            }
            Some(Err(_)) => {}
            None => this.exchange.whole = true,
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

impl<B> fmt::Debug for LoggedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoggedBody").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
