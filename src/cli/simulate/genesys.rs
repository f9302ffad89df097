//! `guestpass simulate genesys`: Genesys Cloud's simulator by itself.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use http::StatusCode;

use crate::demo::genesys::{
    Call, DEMO_CLIENT, DEMO_ORGANIZATION, DEMO_SECRET, Endpoint, Faults, Malformation, Settings, Simulator, Target,
    Trouble, parse_latency, parse_share,
};
use crate::secret::SecretText;

/// What `simulate genesys` may be told.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  guestpass simulate genesys
  guestpass simulate genesys --latency 250ms --error-rate 0.2
  guestpass simulate genesys --on token --status 429 --retry-after 2 --times 3

Faults while it runs are POSTed to /simulator/faults as JSON, in which `{}` ends them all;
GET /simulator/state says what it saw.")]
pub(in crate::cli) struct Arguments {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,

    /// The only organization that gets sessions; no UUID
    #[arg(long, value_name = "ID", default_value = DEMO_ORGANIZATION)]
    organization: String,

    /// The only OAuth client
    #[arg(long, value_name = "ID", default_value = DEMO_CLIENT)]
    client_id: String,

    /// That client's secret
    #[arg(long, value_name = "TEXT", default_value = DEMO_SECRET)]
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
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = parse_share)]
    error_rate: f64,

    /// Calls are answered with this status
    #[arg(long, value_name = "CODE", group = "trouble", value_parser = clap::value_parser!(u16).range(200..=599))]
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

    /// --status, --hang, --cut or --malformed happens to so many calls only
    #[arg(long, value_name = "N", requires = "trouble")]
    times: Option<u32>,
}

/// Serves until the process is told to stop, and prints a line a call.
pub(in crate::cli) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let settings = arguments.settings()?;
    super::keep(async || {
        let listen = arguments.listen;
        let simulator =
            Simulator::start(listen, settings).await.with_context(|| format!("cannot simulate Genesys on {listen}"))?;
        let words = introduction(&simulator.base_url(), arguments);
        Ok((simulator, words))
    })
}

/// What to tell the proxy and the simulator. The secret is not repeated: somebody may have given a real one.
fn introduction(base_url: &str, arguments: &Arguments) -> String {
    format!(
        r#"Genesys Cloud is simulated at {base_url}

what the proxy needs:    GENESYS_BASE_URL={base_url} GENESYS_CLIENT_ID={client}
                         GENESYS_ORGANIZATION_ID={organization} GENESYS_CLIENT_SECRET={secret}
faults while it runs:    curl {base_url}/simulator/faults -d '{{"status":503,"times":3}}'
all is well again:       curl {base_url}/simulator/faults -d '{{}}'
what it saw:             curl {base_url}/simulator/state
"#,
        client = arguments.client_id,
        organization = arguments.organization,
        secret = if arguments.client_secret == DEMO_SECRET { DEMO_SECRET } else { "…" },
    )
}

impl Arguments {
    fn settings(&self) -> Result<Settings> {
        let faults = self.faults()?;
        Ok(Settings {
            organization_id: self.organization.clone(),
            client_id: self.client_id.clone(),
            client_secret: SecretText::new(self.client_secret.clone()),
            token_lifetime: Duration::from_secs(self.token_lifetime),
            rate_limit: self.rate_limit,
            faults,
            notice: Some(Arc::new(|call| super::say(&line(call)))),
            ..Settings::default()
        })
    }

    fn faults(&self) -> Result<Faults> {
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        genesys: Arguments,
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

    #[test]
    fn a_taken_port_is_said_clearly() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let line = Line::try_parse_from(["simulate", "--listen", &address]).unwrap();
        let said = format!("{:#}", run(&line.genesys).unwrap_err());
        assert!(said.starts_with(&format!("cannot simulate Genesys on {address}: Address already in use")), "{said}");
    }

    #[test]
    fn an_organization_that_could_be_real_is_refused() {
        let organization = "3f1c2b9e-7d44-4a0e-9b57-0c1d2e3f4a5b";
        let flags = ["simulate", "--listen", "127.0.0.1:0", "--organization", organization];
        let said = format!("{:#}", run(&Line::try_parse_from(flags).unwrap().genesys).unwrap_err());
        assert!(said.contains("must not be a UUID"), "{said}");
    }
}
