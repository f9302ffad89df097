//! `guestpass sessions`: what an operator does about sessions, by the running proxy's admin listener.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::admin;
use crate::cli::{EX_CONFIG, check};
use crate::clock::SystemClock;

/// The proxy waits for its disk and, where another process writes, for that one too: two seconds at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be done about sessions.
#[derive(Debug, Subcommand)]
pub(super) enum Arguments {
    /// Take sessions back before their end, at this machine's proxy
    Revoke(Revoke),
}

/// What `revoke` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
The configuration needs a section [admin], and the token stands in it or in GUESTPASS_ADMIN_TOKEN.

Examples:
  guestpass sessions revoke 3fa85f64-5717-4562-b3fc-2c963f66afa6
  guestpass sessions revoke --issued-before 2026-11-22T14:00:00Z")]
pub(super) struct Revoke {
    /// The session's id, as the site and the access log know it
    #[arg(required_unless_present = "issued_before", conflicts_with = "issued_before")]
    session_id: Option<String>,

    /// All sessions that were issued before this moment, an RFC 3339 date and time
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,

    /// The configuration of the running proxy
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments::Revoke(revoke) = arguments;
    let Some(config) = check::load(&revoke.config, &SystemClock::new())? else {
        return Ok(ExitCode::from(EX_CONFIG));
    };
    let file = revoke.config.display();
    let admin = config.admin.ok_or_else(|| anyhow!("{file} has no section [admin], so nobody listens"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kept_until = runtime.block_on(revoke.ask(&admin))?;
    let what = match (&revoke.session_id, &revoke.issued_before) {
        (_, Some(moment)) => format!("all sessions issued before {moment}"),
        (id, None) => format!("session {}", id.as_deref().unwrap_or_default()),
    };
    writeln!(io::stdout(), "revoked {what}; kept until {kept_until}").context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

impl Revoke {
    async fn ask(&self, admin: &admin::Config) -> Result<String> {
        let Some(token) = &admin.token else {
            bail!("no admin token: set GUESTPASS_ADMIN_TOKEN, for the running proxy and for this command");
        };
        let body = match (&self.session_id, &self.issued_before) {
            (_, Some(moment)) => json!({ "issued_before": moment }),
            (id, None) => json!({ "session_id": id }),
        };
        let address = admin.address;
        // It is on this machine, whatever proxy the environment names.
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let request = client.post(format!("http://{address}/sessions/revoke")).bearer_auth(token.expose()).json(&body);
        let response = request.send().await.with_context(|| format!("the proxy does not answer on {address}"))?;
        let status = response.status();
        let answer: Value = response.json().await.context("the answer is no JSON: is this guestpass?")?;
        let said = |name: &str| answer[name].as_str().map(str::to_owned);
        if !status.is_success() {
            let why = said("detail").or_else(|| said("title")).unwrap_or_default();
            bail!("the proxy refused with {status}: {why}");
        }
        said("kept_until").context("the answer says nothing of the revocation: is this guestpass?")
    }
}
