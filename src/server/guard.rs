//! The guard under hyper's HTTP/1: it reads along, and hyper never sees the head that is no HTTP.
//!
//! hyper is tolerant: of several things that RFC 9112 forbids it makes one reading and goes on, and of others an empty
//! 400 that no log tells of. So the guard looks at the bytes first, where they lie in hyper's own buffer. Whole heads and
//! what is in order of a body pass as they are; a head that came in pieces is held back until it is whole. In the place of a
//! bad head hyper is given a small good one, [`STAND_IN`]: so its answer comes behind those of the requests before it,
//! and ends the connection, by hyper's own rules. A body that breaks its framing breaks off for whoever reads it.

mod chunks;
mod reader;
mod word;

pub use self::reader::{Bounds, Reader, Stop};
pub(super) use self::word::Word;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::{Method, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::word::Upgrade;
use super::Limits;
use crate::context::{Malformed, Rule};

/// The target of the request that stands for one that was none: no guarded target has a `\` in its path.
pub(super) const STAND_IN: &str = "/\\";

/// What stands on the two sides of it. The answer to a HEAD has no body, whoever gives it.
const STAND_INS: [&[u8]; 2] =
    [b"GET /\\ HTTP/1.1\r\nconnection: close\r\n\r\n", b"HEAD /\\ HTTP/1.1\r\nconnection: close\r\n\r\n"];

/// A connection that speaks HTTP/1, watched.
#[derive(Debug)]
pub(super) struct Guard<I> {
    io: I,
    reader: Reader,
    word: Arc<Word>,
    watch: Watch,
    /// What hyper has not been given yet: empty unless a head came in pieces, or something came behind a wish for another
    /// protocol.
    held: BytesMut,
    /// How much of it hyper may have.
    clear: usize,
    /// Whether the request under way wishes for another protocol, and hyper may know of it.
    has_asked: bool,
}

/// What is to become of the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// They are requests.
    Requests,
    /// Another protocol was asked for, and there is no answer yet.
    Asked,
    /// They are another protocol's.
    Through,
    /// They are nobody's: a head was none.
    Over,
    /// They are nobody's: a body broke its framing.
    Broken(Rule),
}

impl<I> Guard<I> {
    pub(super) fn new(io: I, limits: &Limits) -> Self {
        Self {
            io,
            reader: Reader::new(Bounds { head: limits.header_size, fields: limits.headers }),
            word: Arc::default(),
            watch: Watch::Requests,
            held: BytesMut::new(),
            clear: 0,
            has_asked: false,
        }
    }

    /// What it has to say to those who answer.
    pub(super) fn word(&self) -> Arc<Word> {
        Arc::clone(&self.word)
    }

    /// Looks at what has just come into `buf`, behind `before`, and takes out of it what hyper is not to see.
    fn look_at(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let come = &buf.filled()[before..];
        if !self.held.is_empty() {
            self.held.extend_from_slice(come);
            buf.set_filled(before);
            return self.look_at_held();
        }
        let (passed, stop) = self.reader.read(come);
        self.held.extend_from_slice(&come[passed..]);
        buf.set_filled(before + passed);
        self.heed(stop);
    }

    fn look_at_held(&mut self) {
        let (passed, stop) = self.reader.read(&self.held);
        self.clear = passed;
        self.heed(stop);
    }

    /// When the head is passed, and not when its body has ended: an answer may come in between, and stands.
    fn ask(&mut self) {
        if !std::mem::replace(&mut self.has_asked, true) {
            self.word.ask();
        }
    }

    fn heed(&mut self, stop: Stop) {
        if self.reader.wishes() {
            self.ask();
        }
        match stop {
            Stop::More => {}
            Stop::Upgrade => {
                self.ask();
                self.has_asked = false;
                self.watch = Watch::Asked;
            }
            Stop::Head(malformed) => self.refuse(malformed),
            Stop::Body(rule) => {
                self.held.truncate(self.clear);
                self.watch = Watch::Broken(rule);
            }
        }
    }

    fn refuse(&mut self, malformed: Malformed) {
        let is_head = malformed.method == Some(Method::HEAD);
        self.word.refuse(malformed);
        self.held.truncate(self.clear);
        self.held.extend_from_slice(STAND_INS[usize::from(is_head)]);
        self.clear = self.held.len();
        self.watch = Watch::Over;
    }

    /// The client has ended. Between two requests that is its right, also behind the empty line that some send after a
    /// body (RFC 9112, section 2.2).
    fn end(&mut self) {
        if self.watch == Watch::Requests && !self.held.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.refuse(Malformed { rule: Rule::Unfinished, method: None, target: None, version: Version::HTTP_11 });
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.clear.min(buf.remaining());
        buf.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.clear -= length;
        if self.held.is_empty() {
            // An empty one would keep its room for as long as the connection idles.
            self.held = BytesMut::new();
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while buf.remaining() > 0 {
            if this.clear > 0 {
                this.give(buf);
                break;
            }
            match this.watch {
                Watch::Requests => {}
                Watch::Through if this.held.is_empty() => return Pin::new(&mut this.io).poll_read(cx, buf),
                Watch::Through => {
                    this.clear = this.held.len();
                    continue;
                }
                Watch::Asked => match this.word.answer() {
                    Upgrade::Asked if this.held.is_empty() => {}
                    // As much as one read is all that is taken of a client that does not wait; flushing wakes us.
                    Upgrade::Asked => return Poll::Pending,
                    Upgrade::Granted => {
                        this.watch = Watch::Through;
                        continue;
                    }
                    Upgrade::Declined => {
                        this.watch = Watch::Requests;
                        this.look_at_held();
                        continue;
                    }
                },
                // An end would make hyper give up the requests that are still being answered.
                Watch::Over => return Poll::Pending,
                Watch::Broken(rule) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, rule))),
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                this.end();
                if this.clear == 0 {
                    break;
                }
            } else if this.watch == Watch::Asked {
                this.held.extend_from_slice(&buf.filled()[before..]);
                buf.set_filled(before);
            } else {
                this.look_at(buf, before);
                if buf.filled().len() > before {
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper waits for a read that was held up until now.
        if this.watch == Watch::Asked && !this.held.is_empty() && this.word.answer() == Upgrade::Declined {
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
