//! h2load (nghttp2), whose every request has to succeed.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::harness::program::Program;

/// A run of it.
#[derive(Debug)]
pub(super) struct H2load {
    program: Program,
    lasts: Duration,
}

impl H2load {
    /// Asks for `path` over and over for so long.
    pub(super) fn start(address: SocketAddr, path: &str, lasts: Duration, flags: &[&str]) -> Self {
        let mut command = Command::new("h2load");
        command.args(["-D", &lasts.as_secs().to_string(), &format!("--connect-to={address}")]).args(flags);
        command.arg(format!("https://localhost:{}{path}", address.port()));
        Self { program: Program::start(command), lasts }
    }

    /// Waits for its end. There have to be so many of them that it was a load.
    pub(super) fn all_succeed(mut self, at_least: u64) {
        let status = self.program.ends_within(self.lasts + Duration::from_secs(30));
        // The last lines may not have been read when it has ended.
        self.program.says("status codes: ");
        let said = self.program.said();
        let count = |word: &str| -> u64 {
            let (before, _) = said.split_once(word).unwrap_or_else(|| panic!("{word} is not said: {said}"));
            before.split([' ', '\n']).next_back().unwrap().parse().unwrap()
        };
        assert!(status.success(), "{said}{}", self.program.complained());
        for word in [" failed", " errored", " timeout", " 3xx", " 4xx", " 5xx"] {
            assert_eq!(count(word), 0, "{word}: {said}");
        }
        assert!(count(" 2xx") > at_least && count(" 2xx") >= count(" succeeded"), "{said}");
    }
}
