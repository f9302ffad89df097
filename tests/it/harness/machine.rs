//! The real program on a machine of its own, with a Genesys and a site that outlive it.

use std::net::SocketAddr;
use std::path::Path;
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

    /// One more process of the program, and where it listens.
    pub(crate) fn run(&self) -> (Program, SocketAddr) {
        let program = Program::start(program::command(self.folder(), &["run"]));
        let address = program.says("listening address=").trim().parse().unwrap();
        (program, address)
    }
}
