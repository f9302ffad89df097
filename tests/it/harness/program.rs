//! The program itself, as an operator starts it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A run of it, and what it has said so far. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    said: Arc<Mutex<String>>,
    complained: Arc<Mutex<String>>,
}

/// The program with these arguments, an empty environment, and `folder` to stand in.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guestpass"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = collect(child.stdout.take().unwrap());
        let complained = collect(child.stderr.take().unwrap());
        Self { child, said, complained }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything on standard output so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Everything on standard error so far.
    pub(crate) fn complained(&self) -> String {
        self.complained.lock().unwrap().clone()
    }

    /// Waits until one of its lines holds `word`, on either output, and returns what stands behind it in the line.
    pub(crate) fn says(&self, word: &str) -> String {
        self.says_so_often(word, 1).remove(0)
    }

    /// The same for so many lines, of each.
    pub(crate) fn says_so_often(&self, word: &str, count: usize) -> Vec<String> {
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            let all = self.said() + &self.complained();
            let rests = all.lines().filter_map(|line| line.split_once(word));
            let rests: Vec<String> = rests.map(|(_, rest)| rest.to_owned()).collect();
            if rests.len() >= count {
                return rests;
            }
            assert!(Instant::now() < patience, "it never said {word}: {all}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// How large its files may be from now on, in bytes, or `unlimited` (prlimit(1)).
    pub(crate) fn limit_files(&self, limit: &str) {
        let (id, limit) = (self.id().to_string(), format!("--fsize={limit}:"));
        assert!(Command::new("prlimit").args(["--pid", &id, &limit]).status().unwrap().success());
    }

    /// Waits until it has ended, for at most `patience`.
    pub(crate) fn ends_within(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it goes on: {}{}", self.said(), self.complained());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is kept of what a program says. Under load it says more than anybody reads, and the beginning tells enough.
const ENOUGH: usize = 1024 * 1024;

fn collect(output: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::<Mutex<String>>::default();
    let collected = Arc::clone(&text);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut text = collected.lock().unwrap();
            if text.len() < ENOUGH {
                text.push_str(&line);
                text.push('\n');
            }
        }
    });
    text
}
