//! Tells on standard output what happens, a line for each event.
//!
//! The lines are printed by a thread of their own. Under load a terminal does not keep up, so what does not fit into
//! the queue is left out, and counted.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::clock::Clock;
use crate::context::Context;
use crate::event::{Event, Sink};
use crate::session::{Session, Source};
use crate::store::Revocation;

/// As many lines as may wait for the terminal.
const QUEUE: usize = 256;

/// A sink that prints.
#[derive(Debug)]
pub struct Narrator {
    lines: SyncSender<String>,
    left_out: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl Narrator {
    /// Starts the thread that prints. It ends when the narrator is dropped.
    ///
    /// # Errors
    ///
    /// When no thread can be had.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        let left_out = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&left_out);
        thread::Builder::new().name("narrator".to_owned()).spawn(move || print(&queue, &counter))?;
        Ok(Self { lines, left_out, clock })
    }
}

impl Sink for Narrator {
    fn notice(&self, event: &Event<'_>, context: Option<&Context>) {
        if matches!(event, Event::Answered { .. }) {
            // What was remarkable about it was told before.
            return;
        }
        let time = self.clock.now().to_string();
        // The time of day is enough for somebody who looks on.
        let time = time.get(11..19).unwrap_or(&time);
        let line = format!("{time}  {}", Told { event, context });
        if self.lines.try_send(line).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn print(queue: &Receiver<String>, left_out: &AtomicU64) {
    let mut output = io::stdout();
    while let Ok(line) = queue.recv() {
        let more = left_out.swap(0, Ordering::Relaxed);
        let note = if more > 0 { format!("          … and {more} more\n") } else { String::new() };
        // Nobody looks on any more: the demo itself goes on.
        if write!(output, "{line}\n{note}").and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

/// An event in words: what happened, to whom, and why.
struct Told<'a> {
    event: &'a Event<'a>,
    context: Option<&'a Context>,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = Asked(self.context);
        match self.event {
            Event::Minted { session, source: Source::Pool, .. } => {
                write!(f, "minted    {request}  session {} from the pool", short(session))
            }
            Event::Minted { session, waited, source: Source::Direct, .. } => {
                write!(f, "minted    {request}  session {} in {} ms", short(session), waited.as_millis())
            }
            Event::Verified { session, .. } => write!(f, "verified  {request}  session {}", short(session)),
            Event::CookieRejected { reading, policy, .. } => {
                write!(f, "rejected  {request}  the cookie is {} (the route says {policy})", reading.as_str())
            }
            Event::Conflicted { policy } => {
                write!(f, "conflict  {request}  good cookies of different sessions, on a path that is {policy}")
            }
            Event::Revoked { revocation: Revocation::Session { id, .. } } => {
                write!(f, "revoked   {request}  session {}", start(id))
            }
            Event::Revoked { revocation: Revocation::IssuedBefore(moment) } => {
                write!(f, "revoked   {request}  every session issued before {moment}")
            }
            Event::MintFailed { error, waited } => {
                write!(f, "failed    {request}  no session after {} ms: {error}", waited.as_millis())
            }
            Event::MintLimited => write!(f, "limited   {request}  this address has asked for too many sessions"),
            Event::ConfigReloaded { taken: true } => f.write_str("reloaded  the configuration"),
            Event::ConfigReloaded { taken: false } => f.write_str("reloaded  nothing: the configuration is wrong"),
            Event::Shadowed { instead } => write!(f, "shadowed  {request}  passes, and would have got {instead}"),
            Event::Refused { refusal } => write!(
                f,
                "refused   {request}  {} {}: {}",
                refusal.code.status().as_u16(),
                refusal.code.as_str(),
                refusal.reason
            ),
            Event::KeyRotated { from, to } => write!(f, "rotated   {request}  cookies are made with {to}, not {from}"),
            Event::KeyRetired { key_id } => {
                write!(f, "retired   {request}  cookies under {key_id} are accepted no more")
            }
            Event::Answered { .. } => Ok(()),
            Event::UpstreamSetOurCookie { name } => {
                write!(f, "dropped   {request}  the site tried to set the cookie {name} itself")
            }
        }
    }
}

/// Method and path; never the query.
struct Asked<'a>(Option<&'a Context>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.map(|context| format!("{} {}", context.method, context.path_to_log())).unwrap_or_default();
        write!(f, "{text:<24}")
    }
}

/// The beginning of a session's id, as `git log` does it.
fn short(session: &Session) -> &str {
    start(&session.id)
}

fn start(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
