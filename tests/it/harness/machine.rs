//! The real program on a machine of its own, with a Genesys and a site that outlive it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use guestpass::demo::genesys::{self, Simulator};
use guestpass::demo::site::{self, Site};
use tempfile::TempDir;

use super::program::{self, Program};
use super::{ANYWHERE, Plan};

/// A folder with a `proxy.toml`, and whom it speaks of. All of it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    folder: TempDir,
    pub(crate) genesys: Simulator,
    _site: Site,
}

impl Machine {
    pub(crate) async fn planned(plan: Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let certificate = certificate::kept_in(folder.path(), &*clock).unwrap();
        let settings =
            genesys::Settings { faults: plan.faults.clone(), rate_limit: 1000, ..genesys::Settings::default() };
        let genesys = Simulator::start(ANYWHERE, settings).await.unwrap();
        let site = Site::start(ANYWHERE, site::Settings::default()).unwrap();
        std::fs::write(folder.path().join("proxy.toml"), plan.text(&genesys, &site, &certificate)).unwrap();
        Self { folder, genesys, _site: site }
    }

    /// Where `proxy.toml` stands, and the program.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Something in that folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// One more process of the program, and where it listens.
    pub(crate) fn run(&self) -> (Program, SocketAddr) {
        let program = Program::start(program::command(self.folder(), &["run"]));
        let address = program.says("listening address=").trim().parse().unwrap();
        (program, address)
    }

    /// Another command of the program, to its end: its exit code, and what it said.
    pub(crate) fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = program::run(self.folder(), arguments);
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    }
}
