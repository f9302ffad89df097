//! `guestpass demo`: the main job on one machine, with no account anywhere.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tracing::Level;

use crate::cli::signals::Signals;
use crate::demo::genesys::{Faults, parse_latency};
use crate::demo::{Demo, Settings};

/// What the demo may be told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  guestpass demo\n  guestpass demo --port 0 --latency 250ms --error-rate 0.2")]
pub(super) struct Arguments {
    /// The proxy's port on loopback; 0 takes any free one
    #[arg(long, default_value_t = 8443)]
    port: u16,

    /// How long the simulated Genesys takes for each answer
    #[arg(long, value_name = "DURATION", default_value = "30ms", value_parser = parse_latency)]
    latency: Duration,

    /// Which share of the calls the simulated Genesys answers with 503: 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    error_rate: f64,

    /// Where the certificate is made on first use, and kept
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    certificates: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    super::start_logging(Level::WARN);
    let faults = Faults { latency: arguments.latency, error_rate: arguments.error_rate, ..Faults::default() };
    faults.check()?;
    let settings = Settings { port: arguments.port, faults, certificates: arguments.certificates.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("signals cannot be listened to")?;
        let demo = Demo::start(settings).await.with_context(|| match arguments.port {
            0 => "the demo cannot be started".to_owned(),
            port => format!("the demo cannot be started on port {port} (--port 0 takes any free one)"),
        })?;
        writeln!(io::stdout(), "{}", introduction(&demo))?;
        signals.next().await;
        writeln!(io::stdout(), "\nThe demo ends.")?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What runs where, and what to try. The lines work as they are printed.
fn introduction(demo: &Demo) -> String {
    let site = format!("https://localhost:{}", demo.proxy.addresses().first().map_or(0, SocketAddr::port));
    format!(
        "\
guestpass demo: all of it runs on this machine, and none of it needs an account.

  guestpass, in front of the site   {site}/
  the site itself                   http://{direct}/
  Genesys Cloud, simulated          {genesys}

Open {site}/ in a browser (it warns of the certificate once), or try:

  curl -ki {site}/                                 # a first visit gets a session and its cookie
  curl -ks -c jar {site}/ -o page.html             # the same, and the cookie is kept in the file jar
  curl -ki -b jar {site}/headers                   # a return visit: verified without Genesys; what the site sees
  curl -ki {site}/account/                         # protected: 401 without a cookie
  curl -ki -b jar {site}/account/                  # 200 with it
  curl -ki -H 'Cookie: genesys_session=v1.x.y.z' {site}/account/     # 403 with a made-up one

What happens from here on (Ctrl-C ends it):
",
        direct = demo.site.address(),
        genesys = demo.genesys.base_url(),
    )
}
