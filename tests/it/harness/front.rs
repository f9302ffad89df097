//! The program itself in front of one server, for tests with other programs on either side of it.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use guestpass::clock::SystemClock;
use guestpass::demo::certificate;
use tempfile::TempDir;

use super::ANYWHERE;
use super::program::{self, Program};

/// No Genesys stands behind it, and none is needed: nobody here makes a visit.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) program: Program,
    /// Of its listeners, in their order.
    pub(crate) addresses: Vec<SocketAddr>,
    _folder: TempDir,
}

impl Front {
    /// Serves `upstream` behind these listeners, with `/account/**` required and nothing else changed.
    pub(crate) fn of(upstream: SocketAddr, listeners: &[&str], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate::kept_in(folder.path(), &SystemClock::new()).unwrap();
        let listen: Vec<String> = listeners.iter().map(|one| format!("{{ address = \"127.0.0.1:0\"{one} }}")).collect();
        let text = format!(
            r#"
            listen = [{}]
            tls.certificate = [{{ chain = "demo.pem", key = "demo.key" }}]
            genesys = {{ base_url = "http://127.0.0.1:1", client_id = "c", client_secret = "s", organization_id = "o" }}
            upstream = [{{ name = "site", servers = ["http://{upstream}"] }}]
            route = [{{ path = "/account/**", session = "require" }}]
            store.path = "off"
            {more}
            "#,
            listen.join(", ")
        );
        std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
        let mut command = program::command(folder.path(), &["run"]);
        command.env("HMAC_SECRET", "a secret of the environment, long enough");
        let program = Program::start(command);
        let addresses = program.says_so_often("listening address=", listeners.len());
        let addresses = addresses.iter().map(|address| address.trim().parse().unwrap()).collect();
        Self { program, addresses, _folder: folder }
    }
}

/// An address for a program that cannot be told to take any free port and to say which.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap()
}

/// Waits until somebody listens there.
pub(crate) async fn stands(address: SocketAddr) {
    let patience = Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < patience, "nobody listens on {address}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
