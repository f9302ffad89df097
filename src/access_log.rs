//! One line a request, written off the request's way.
//!
//! Each core fills a buffer of its own; one thread empties them all, several times a second. A request so never waits
//! for a disk, and wakes nobody. Where the disk does not keep up, lines are dropped and counted, and traffic goes on.

mod line;
mod wire;

pub use self::line::{Exchange, LoggedBody};

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::event::Sink;

/// How often the buffers are emptied: soon enough for somebody who watches.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// What one core may have waiting: some ten thousand lines. Past it, lines are dropped.
const BUFFER_LIMIT: usize = 4 * 1024 * 1024;

/// Where the lines go and how they look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where they go.
    pub target: Target,
    /// How they look.
    pub format: Format,
}

/// Where the lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    #[default]
    Stdout,
    /// Nowhere.
    Off,
    /// The end of a file, which is made if it is missing.
    File(PathBuf),
}

/// How the lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    #[default]
    Json,
    /// For eyes.
    Text,
}

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be written.
    #[error("the access log {} cannot be opened", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no thread to be had.
    #[error("the access log's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The access log as a whole. When it is dropped, what is waiting is written first.
#[derive(Debug)]
pub struct AccessLog {
    shared: Option<Arc<Shared>>,
    format: Format,
    clock: Arc<dyn Clock>,
    writer: Option<JoinHandle<()>>,
}

/// One core's end of it. It also tells whoever listens that a request has ended, log or no log.
#[derive(Clone, Debug)]
pub struct CoreLog(Arc<Core>);

#[derive(Debug)]
struct Core {
    output: Option<Output>,
    format: Format,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn Sink>,
}

/// Where a core's lines go.
#[derive(Debug)]
struct Output {
    buffer: Arc<Mutex<Vec<u8>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    buffers: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    dropped: AtomicU64,
    stopping: AtomicBool,
}

impl AccessLog {
    /// Opens the target and starts the thread that writes to it.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending.
    pub fn start(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let output: Box<dyn Write + Send> = match &config.target {
            Target::Off => return Ok(Self { shared: None, format: config.format, clock, writer: None }),
            Target::Stdout => Box::new(io::stdout()),
            Target::File(path) => Box::new(open(path)?),
        };
        let shared = Arc::new(Shared::default());
        let writer = thread::Builder::new().name("access-log".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_to(output)
        });
        let writer = Some(writer.map_err(Error::Thread)?);
        Ok(Self { shared: Some(shared), format: config.format, clock, writer })
    }

    /// An end for one more core, whose requests `sink` is told of.
    #[must_use]
    pub fn core(&self, sink: Arc<dyn Sink>) -> CoreLog {
        let output = self.shared.as_ref().map(|shared| {
            let buffer = Arc::default();
            lock(&shared.buffers).push(Arc::clone(&buffer));
            Output { buffer, shared: Arc::clone(shared) }
        });
        CoreLog(Arc::new(Core { output, format: self.format, clock: Arc::clone(&self.clock), sink }))
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let (Some(shared), Some(writer)) = (&self.shared, self.writer.take()) {
            shared.stopping.store(true, Ordering::Release);
            writer.thread().unpark();
            // A writer that panicked has said so already.
            let _ = writer.join();
        }
    }
}

impl Core {
    /// Adds what `write` puts into the buffer, which is one whole line.
    fn add(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(output) = &self.output else { return };
        let mut buffer = lock(&output.buffer);
        if buffer.len() < BUFFER_LIMIT {
            write(&mut buffer);
        } else {
            output.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn write_to(&self, mut output: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        let mut failing = false;
        loop {
            // Asked before emptying, so that nothing said before the stop is left behind.
            let last = self.stopping.load(Ordering::Acquire);
            for buffer in lock(&self.buffers).iter() {
                std::mem::swap(&mut *lock(buffer), &mut batch);
                if batch.is_empty() {
                    continue;
                }
                let written = output.write_all(&batch).and_then(|()| output.flush());
                report(written, &mut failing);
                batch.clear();
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "the access log's target is too slow: lines were dropped");
            }
            if last {
                return;
            }
            thread::park_timeout(FLUSH_EVERY);
        }
    }
}

/// Says once that writing fails, and once that it works again.
fn report(written: io::Result<()>, failing: &mut bool) {
    match written {
        Ok(()) => {
            if std::mem::take(failing) {
                tracing::info!("the access log can be written again");
            }
        }
        Err(error) => {
            if !std::mem::replace(failing, true) {
                tracing::error!(%error, "the access log cannot be written: lines are lost");
            }
        }
    }
}

fn open(path: &PathBuf) -> Result<File, Error> {
    // Whole addresses and the ids of sessions stand in it: for its owner, and a group that ships logs.
    let opened = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
    opened.map_err(|source| Error::Open { path: path.clone(), source })
}

/// Half a line after a panic is still worth more than none.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
