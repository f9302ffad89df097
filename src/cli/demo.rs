//! `guestpass demo`: the main job on one machine, with no account anywhere.

use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use tracing::Level;

use crate::cli::signals::Signals;
use crate::cli::start_logging;
use crate::demo::genesys::{Faults, parse_latency, parse_share};
use crate::demo::{Demo, Settings};

/// What the demo may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  guestpass demo
  guestpass demo --port 0                            where 8443 is taken
  guestpass demo --latency 250ms --error-rate 0.2    with a Genesys that has a bad day")]
pub(super) struct Arguments {
    /// The proxy's port on loopback; 0 takes any free one
    #[arg(long, default_value_t = 8443)]
    port: u16,

    /// How long the simulated Genesys takes for each answer
    #[arg(long, value_name = "DURATION", default_value = "30ms", value_parser = parse_latency)]
    latency: Duration,

    /// Which share of the calls the simulated Genesys answers with 503: 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = parse_share)]
    error_rate: f64,

    /// Where the certificate is made on first use, and kept
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    certificates: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    start_logging(Level::WARN);
    let faults = Faults { latency: arguments.latency, error_rate: arguments.error_rate, ..Faults::default() };
    let settings = Settings { port: arguments.port, faults, certificates: arguments.certificates.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen().context("signals cannot be listened to")?;
        let demo = Demo::start(settings).await.map_err(with_advice)?;
        writeln!(io::stdout(), "{}", introduction(&demo))?;
        signals.next().await;
        writeln!(io::stdout(), "\nThe demo ends.")?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A port that cannot be had is the one failure that another flag cures.
fn with_advice(error: anyhow::Error) -> anyhow::Error {
    let kinds = error.chain().filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    let about_the_port = error.to_string().contains("cannot listen on")
        && kinds.into_iter().any(|kind| matches!(kind, ErrorKind::AddrInUse | ErrorKind::PermissionDenied));
    let advice = if about_the_port { " (--port 0 takes any free one)" } else { "" };
    error.context(format!("the demo cannot be started{advice}"))
}

/// What runs where, and what to try. The lines work as they are printed, and README.md prints the same.
fn introduction(demo: &Demo) -> String {
    let site = format!("https://localhost:{}", demo.proxy.addresses().first().map_or(0, SocketAddr::port));
    let genesys = demo.genesys.base_url();
    let operator = demo.proxy.admin_address().map(|address| format!("http://{address}/")).unwrap_or_default();
    format!(
        r#"guestpass demo: all of it runs on this machine, and none of it needs an account.

  guestpass, in front of the site   {site}/
  how it fares, for its operator    {operator}
  the site itself                   http://{direct}/
  Genesys Cloud, simulated          {genesys}

Open {site}/ in a browser (it warns of the certificate once), or try from another terminal:

{tries}
The operator's page changes things with the admin token  {token}
Genesys gets worse with  curl {genesys}/simulator/faults -d '{{"status":503}}'
and well again with      curl {genesys}/simulator/faults -d '{{}}'

What happens from here on (Ctrl-C ends it):
"#,
        direct = demo.site.address(),
        token = demo.admin_token,
        tries = tries(&site),
    )
}

fn tries(site: &str) -> String {
    let tries = [
        (format!("curl -ks -o /dev/null -D - -c jar {site}/"), "a first visit: the answer sets genesys_session"),
        (format!("curl -ks -b jar {site}/headers"), "with the cookie: what the site is told, and no call to Genesys"),
        (format!("curl -ks {site}/account/"), "a protected path without a session: 401"),
        (format!(r"curl -ks -o /dev/null -w '%{{http_code}}\n' -b jar {site}/account/"), "and with one: 200"),
        (format!("curl -ks -b genesys_session=v1.x.y.z {site}/account/"), "with one that was made up: 403"),
        (format!("curl -ks -H 'X_Genesys_Session_Id: mine' {site}/headers"), "a claim of one's own never arrives"),
    ];
    let width = tries.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
    tries.iter().map(|(line, what)| format!("  {line:width$}   # {what}\n")).collect()
}
