//! A site's side of a WebSocket that says goodbye for it when we are to end: RFC 6455 has whoever goes away say so in a
//! close frame (section 7.4.1).
//!
//! Bytes are the tunnel's, and pass as they are. What the site sends is followed from frame to frame by the frames' heads
//! alone, so that our close frame comes between two of them: a control frame may stand between the fragments of a
//! message (section 5.4), and no extension that is in use changes it (RFC 7692, section 5). After a close frame nothing
//! may follow (section 5.5.1), so what the site still says is read and dropped; the client's answer goes to the site like
//! everything else of it, and both close as if the other had begun. What a client is told when its session ends is
//! nothing: then not a byte more may pass.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A server's close frame, which has no mask, with the status 1001: "such as a server going down" (section 7.4.1).
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// The site's side.
pub(super) struct Farewell<T> {
    io: T,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    frames: Frames,
    /// What of our close frame is not read yet; `None` before its time.
    left: Option<&'static [u8]>,
}

impl<T: AsyncRead + Unpin> Farewell<T> {
    pub(super) fn new(io: T, drain: CancellationToken) -> Self {
        Self { io, drain: Box::pin(drain.cancelled_owned()), frames: Frames::default(), left: None }
    }

    /// Reads, and no further than the frame goes that is under way.
    fn poll_read_to_boundary(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = usize::try_from(self.frames.missing()).unwrap_or(usize::MAX).min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        self.frames.pass(part.filled());
        buf.advance(read);
        Poll::Ready(Ok(()))
    }

    /// Throws away what still comes, until it ends.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waste = [0; 4096];
        loop {
            let mut waste = ReadBuf::new(&mut waste);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut waste))?;
            if waste.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Farewell<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left.is_none() && !this.frames.has_closed && this.drain.as_mut().poll(cx).is_ready() {
            if this.frames.missing() > 0 {
                return this.poll_read_to_boundary(cx, buf);
            }
            this.left = Some(GOING_AWAY);
        }
        match &mut this.left {
            Some([]) => this.poll_drop(cx),
            Some(left) => {
                let (now, later) = left.split_at(left.len().min(buf.remaining()));
                buf.put_slice(now);
                *left = later;
                Poll::Ready(Ok(()))
            }
            None => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                this.frames.pass(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Farewell<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Where frames end (section 5.2).
#[derive(Debug, Default)]
struct Frames {
    /// Of a frame's head, as far as it has come.
    head: [u8; 14],
    known: usize,
    /// Of its payload.
    left: u64,
    /// Whether a close frame has begun, behind which there is none.
    has_closed: bool,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= step as u64;
                bytes = &bytes[step..];
                continue;
            }
            self.head[self.known] = *first;
            self.known += 1;
            bytes = rest;
            if self.known == self.head_length() {
                self.left = self.payload_length();
                self.has_closed |= self.head[0] & 0xf == CLOSE;
                self.known = 0;
            }
        }
    }

    /// How many bytes there must be before one looks again whether a frame has ended. None are missing between frames.
    fn missing(&self) -> u64 {
        if self.known > 0 { (self.head_length() - self.known) as u64 } else { self.left }
    }

    /// As far as it is known.
    fn head_length(&self) -> usize {
        if self.known < 2 {
            return 2;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        mask + match self.head[1] & 0x7f {
            127 => 10,
            126 => 4,
            _ => 2,
        }
    }

    fn payload_length(&self) -> u64 {
        let read = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        match self.head[1] & 0x7f {
            127 => read(&self.head[2..10]),
            126 => read(&self.head[2..4]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    fn frame(first: u8, length: &[u8], payload: usize) -> Vec<u8> {
        [&[first][..], length, &vec![b'x'; payload][..]].concat()
    }

    /// One of each form.
    fn all() -> Vec<Vec<u8>> {
        vec![
            frame(0x81, &[5], 5),
            frame(0x89, &[0], 0),
            // Compressed, and not the last fragment of its message.
            frame(0x42, &[125], 125),
            frame(0x00, &[126, 0, 126], 126),
            frame(0x80, &[126, 0xff, 0xff], 0xffff),
            frame(0x82, &[127, 0, 0, 0, 0, 0, 1, 0, 0], 0x1_0000),
            // No server masks its frames, but a tunnel is no judge of that.
            frame(0x81, &[0x82, 1, 2, 3, 4], 2),
        ]
    }

    #[test]
    fn a_boundary_is_where_a_frame_ends_and_nowhere_else_however_they_come() {
        let frames = all();
        let whole = frames.concat();
        let mut ends = Vec::new();
        for frame in &frames {
            ends.push(ends.last().unwrap_or(&0) + frame.len());
        }
        for piece in [1, 2, 3, 7, 1000] {
            let (mut seen, mut at) = (Frames::default(), 0);
            for bytes in whole.chunks(piece) {
                seen.pass(bytes);
                at += bytes.len();
                assert_eq!(seen.missing() == 0, ends.contains(&at), "{at} in pieces of {piece}");
                assert!(
                    ends.iter().find(|end| **end >= at).is_none_or(|end| (at as u64 + seen.missing()) <= *end as u64)
                );
            }
            assert!(!seen.has_closed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn goodbye_is_said_between_two_frames_and_nothing_behind_it() {
        let frames = all();
        let whole = frames.concat();
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |sum, frame| {
                *sum += frame.len();
                Some(*sum)
            })
            .collect();
        for cut in [0, 1, 2, 6, 7, 8, 9, 10, 130, 137, 138, 139, 140, 300, 70_000, whole.len() - 1, whole.len()] {
            let (mut site, ours) = duplex(1 << 20);
            let drain = CancellationToken::new();
            let mut ours = Farewell::new(ours, drain.clone());
            site.write_all(&whole[..cut]).await.unwrap();
            let mut heard = vec![0; cut];
            ours.read_exact(&mut heard).await.unwrap();
            drain.cancel();
            let mut buffer = [0; 3000];
            let end = ends.iter().copied().find(|end| *end >= cut).filter(|_| cut > 0).unwrap_or(0);
            if cut < end {
                // In the middle of a frame it waits for the rest of it.
                let early = timeout(Duration::from_secs(1), ours.read(&mut buffer)).await;
                assert!(early.is_err(), "{cut}: {early:?}");
            }
            site.write_all(&whole[cut..]).await.unwrap();
            drop(site);
            ours.read_to_end(&mut heard).await.unwrap();
            assert!(heard == [&whole[..end], GOING_AWAY].concat(), "{cut}: {} bytes", heard.len());
        }
    }

    #[tokio::test]
    async fn whoever_waits_for_the_site_hears_it_and_a_site_that_has_closed_is_not_spoken_for() {
        let (site, ours) = duplex(100);
        let drain = CancellationToken::new();
        let mut ours = Farewell::new(ours, drain.clone());
        let waiting = tokio::spawn(async move {
            let mut heard = [0; 4];
            ours.read_exact(&mut heard).await.map(|_| heard)
        });
        tokio::task::yield_now().await;
        drain.cancel();
        assert_eq!(waiting.await.unwrap().unwrap(), GOING_AWAY);
        drop(site);

        let (mut site, ours) = duplex(100);
        let drain = CancellationToken::new();
        let mut ours = Farewell::new(ours, drain.clone());
        let theirs = [0x88, 2, 0x0f, 0xa1];
        site.write_all(&theirs).await.unwrap();
        ours.read_exact(&mut [0; 3]).await.unwrap();
        drain.cancel();
        drop(site);
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, theirs[3..]);
    }
}
