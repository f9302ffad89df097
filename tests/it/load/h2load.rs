//! h2load (nghttp2): many requests at once, and how many of them came to something.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::harness::program::Program;

/// A run of it.
#[derive(Debug)]
pub(crate) struct H2load {
    program: Program,
    lasts: Duration,
}

/// Its last words.
#[derive(Debug)]
pub(crate) struct Outcome(String);

impl H2load {
    /// Asks for `path` over and over for so long.
    pub(crate) fn start(address: SocketAddr, path: &str, lasts: Duration, flags: &[&str]) -> Self {
        let mut command = Command::new("h2load");
        command.args(["-D", &lasts.as_secs().to_string(), &format!("--connect-to={address}")]).args(flags);
        command.arg(format!("https://localhost:{}{path}", address.port()));
        Self { program: Program::start(command), lasts }
    }

    /// Waits for its end.
    pub(crate) fn outcome(mut self) -> Outcome {
        let status = self.program.ends_within(self.lasts + Duration::from_secs(30));
        // The last lines may not have been read when it has ended.
        self.program.says("status codes: ");
        let said = self.program.said();
        assert!(status.success(), "{said}{}", self.program.complained());
        Outcome(said)
    }

    /// Every request has to succeed, and there have to be so many of them that it was a load.
    pub(crate) fn all_succeed(self, at_least: u64) {
        let outcome = self.outcome();
        for word in [" failed", " errored", " timeout", " 3xx", " 4xx", " 5xx"] {
            assert_eq!(outcome.count(word), 0, "{word}: {outcome:?}");
        }
        assert!(outcome.count(" 2xx") > at_least, "{outcome:?}");
        assert!(outcome.count(" 2xx") >= outcome.count(" succeeded"), "{outcome:?}");
    }
}

impl Outcome {
    /// The number in front of a word.
    pub(crate) fn count(&self, word: &str) -> u64 {
        let said = &self.0;
        let (before, _) = said.split_once(word).unwrap_or_else(|| panic!("{word} is not said: {said}"));
        before.split([' ', '\n']).next_back().unwrap().parse().unwrap()
    }
}
