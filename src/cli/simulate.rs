//! `guestpass simulate genesys`: the simulator by itself, for staging and for tests of other programs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::signals::Signals;
use crate::demo::genesys::{
    Call, DEMO_CLIENT, DEMO_ORGANIZATION, DEMO_SECRET, Endpoint, Faults, Malformation, Settings, Simulator, Target,
    Trouble, parse_latency,
};
use crate::demo::site;
use crate::secret::SecretText;
use anyhow::Context;
use clap::Args;
use http::StatusCode;

/// What can be simulated.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Part {
    /// Genesys Cloud: its token and session endpoints, with faults at will
    Genesys(Genesys),
    /// A site that shows what reaches it
    Site(Site),
}

impl Part {
    /// Serves until the process is told to stop.
    ///
    /// # Errors
    ///
    /// The flags contradict each other, or the address cannot be listened on.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            match self {
                Self::Genesys(genesys) => genesys.run().await,
                Self::Site(site) => site.run().await,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The flags of `guestpass simulate site`.
#[derive(Args, Clone, Debug)]
pub(super) struct Site {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

impl Site {
    async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let site = site::Site::start(self.listen, site::Settings::default())
            .with_context(|| format!("cannot be a site on {}", self.listen))?;
        say(&format!("a sample site stands at http://{}/", site.address()));
        signals.next().await;
        Ok(())
    }
}

/// The flags of `guestpass simulate genesys`.
#[derive(Args, Clone, Debug)]
pub(super) struct Genesys {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,

    /// The only organization that gets sessions; no UUID, since real ones are
    #[arg(long, value_name = "ID", default_value = DEMO_ORGANIZATION)]
    organization: String,

    /// The only OAuth client
    #[arg(long, value_name = "ID", default_value = DEMO_CLIENT)]
    client_id: String,

    /// That client's secret
    #[arg(long, value_name = "TEXT", default_value = DEMO_SECRET, hide_default_value = true)]
    client_secret: String,

    /// Session calls a second, past which it answers 429
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rate_limit: u32,

    /// How many seconds a token lives
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    token_lifetime: u64,

    /// Which endpoint the faults below hit: sessions, token or both
    #[arg(long, value_name = "WHICH", default_value = "sessions", value_parser = Target::parse)]
    on: Target,

    /// Every answer takes this much longer, such as 250ms
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = parse_latency)]
    latency: Duration,

    /// This share of the calls, 0 to 1, is answered with 503
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    error_rate: f64,

    /// Calls are answered with this status
    #[arg(long, value_name = "CODE", group = "trouble")]
    status: Option<u16>,

    /// Sent along with --status: seconds or an HTTP date
    #[arg(long, value_name = "VALUE", requires = "status")]
    retry_after: Option<String>,

    /// Calls are never answered
    #[arg(long, group = "trouble")]
    hang: bool,

    /// The connection breaks in the middle of the answer
    #[arg(long, group = "trouble")]
    cut: bool,

    /// Answers are wrong: not_json, missing_token, bad_token, past, too_far or huge
    #[arg(long, value_name = "HOW", group = "trouble", value_parser = Malformation::parse)]
    malformed: Option<Malformation>,

    /// --status, --hang, --cut and --malformed happen to so many calls only
    #[arg(long, value_name = "N", requires = "trouble")]
    times: Option<u32>,
}

impl Genesys {
    /// Serves until the process is told to stop, and prints a line a call.
    ///
    /// # Errors
    ///
    /// The flags contradict each other, or the address cannot be listened on.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // First of all: whoever reads that it listens may stop it in the next moment.
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        let listen = self.listen;
        let organization = self.organization.clone();
        let settings = self.settings()?;
        let simulator =
            Simulator::start(listen, settings).await.with_context(|| format!("cannot simulate Genesys on {listen}"))?;
        let base_url = simulator.base_url();
        say(&format!("Genesys Cloud is simulated at {base_url} for the organization {organization}"));
        say(&format!("faults while it runs: curl {base_url}/simulator/faults -d '{{\"status\":503,\"times\":3}}'"));
        say(&format!("what it saw:          curl {base_url}/simulator/state"));
        signals.next().await;
        Ok(())
    }

    fn settings(self) -> anyhow::Result<Settings> {
        let faults = self.faults()?;
        Ok(Settings {
            organization_id: self.organization,
            client_id: self.client_id,
            client_secret: SecretText::new(self.client_secret),
            token_lifetime: Duration::from_secs(self.token_lifetime),
            rate_limit: self.rate_limit,
            faults,
            notice: Some(Arc::new(|call| say(&line(call)))),
            ..Settings::default()
        })
    }

    fn faults(&self) -> anyhow::Result<Faults> {
        let trouble = if let Some(code) = self.status {
            let status = StatusCode::from_u16(code).with_context(|| format!("--status {code} is no HTTP status"))?;
            Some(Trouble::Status { status, retry_after: self.retry_after.clone() })
        } else if self.hang {
            Some(Trouble::Hang)
        } else if self.cut {
            Some(Trouble::Cut)
        } else {
            self.malformed.map(Trouble::Malformed)
        };
        let faults =
            Faults { on: self.on, latency: self.latency, error_rate: self.error_rate, trouble, times: self.times };
        faults.check()?;
        Ok(faults)
    }
}

/// One call on one line.
fn line(call: &Call) -> String {
    let endpoint = match call.endpoint {
        Endpoint::Token => "token  ",
        Endpoint::Session => "session",
        Endpoint::Simulator | Endpoint::Other => "other  ",
    };
    let status = call.status.map_or_else(|| "---".to_owned(), |status| status.as_str().to_owned());
    let minted = call.minted.as_ref().map(|minted| format!(" made {}", minted.id)).unwrap_or_default();
    let trouble = call.trouble.as_ref().map(|trouble| format!(" ({})", trouble.as_str())).unwrap_or_default();
    format!("{} {endpoint} {status}{minted}{trouble}", call.at)
}

/// On stdout. Whoever closed it does not want to know, and the simulator goes on.
fn say(line: &str) {
    writeln!(io::stdout(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        genesys: Genesys,
    }

    fn faults(flags: &str) -> Result<Faults, String> {
        let line = Line::try_parse_from(std::iter::once("simulate").chain(flags.split_whitespace()));
        line.map_err(|error| error.to_string())?.genesys.faults().map_err(|error| error.to_string())
    }

    #[test]
    fn every_fault_has_a_flag() {
        let unavailable =
            Trouble::Status { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: Some("2".to_owned()) };
        for (flags, expected) in [
            ("", Faults::default()),
            ("--latency 250ms", Faults { latency: Duration::from_millis(250), ..Faults::default() }),
            ("--error-rate 0.25", Faults { error_rate: 0.25, ..Faults::default() }),
            ("--status 503 --retry-after 2 --times 3", Faults::next(3, unavailable)),
            ("--hang --on token", Faults::always(Trouble::Hang).on(Target::Token)),
            ("--cut --on both", Faults::always(Trouble::Cut).on(Target::Both)),
            ("--malformed bad_token", Faults::always(Trouble::Malformed(Malformation::BadToken))),
        ] {
            assert_eq!(faults(flags), Ok(expected), "{flags}");
        }
    }

    #[test]
    fn flags_that_make_no_sense_are_refused() {
        for flags in [
            "--hang --cut",
            "--status 503 --hang",
            "--times 3",
            "--retry-after 2",
            "--error-rate 2",
            "--status 99",
            "--status 700",
            "--latency fast",
            "--malformed odd",
            "--on all",
            "--rate-limit 0",
            "--listen nowhere",
        ] {
            assert!(faults(flags).is_err(), "{flags}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_said_clearly() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let line = Line::try_parse_from(["simulate", "--listen", &address]).unwrap();
        let said = format!("{:#}", line.genesys.run().await.unwrap_err());
        assert!(said.starts_with(&format!("cannot simulate Genesys on {address}: Address already in use")), "{said}");
    }

    #[tokio::test]
    async fn an_organization_that_could_be_real_is_refused() {
        let organization = "3f1c2b9e-7d44-4a0e-9b57-0c1d2e3f4a5b";
        let flags = ["simulate", "--listen", "127.0.0.1:0", "--organization", organization];
        let said = format!("{:#}", Line::try_parse_from(flags).unwrap().genesys.run().await.unwrap_err());
        assert!(said.contains("must not be a UUID"), "{said}");
    }
}
