//! `guestpass sessions`: what an operator does about sessions, by the running proxy's admin listener.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use crate::admin;
use crate::cli::operator::Operator;
use crate::cli::{EX_CONFIG, check};
use crate::clock::{SystemClock, Timestamp};
use crate::session;

/// The proxy waits for its disk and, where another process writes, for that one too: two seconds at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be done about sessions.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  guestpass sessions revoke 3fa85f64-5717-4562-b3fc-2c963f66afa6")]
pub(super) enum Arguments {
    /// Take sessions back before their end, at this machine's proxy
    Revoke(Revoke),
}

/// What `revoke` may be told.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["session_id", "issued_before"])))]
#[command(after_help = "\
The configuration needs a section [admin], and the token stands in it or in GUESTPASS_ADMIN_TOKEN.

Examples:
  guestpass sessions revoke 3fa85f64-5717-4562-b3fc-2c963f66afa6
  guestpass sessions revoke --issued-before 2026-11-22T14:00:00Z")]
pub(super) struct Revoke {
    /// The session's id, as the site and the access log know it: the whole of it
    #[arg(value_parser = id)]
    session_id: Option<String>,

    /// All sessions that were issued before this moment, an RFC 3339 date and time
    #[arg(long, value_name = "TIME", value_parser = moment)]
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
    let kept_until = revoke.ask(&admin)?;
    let what = match (&revoke.session_id, &revoke.issued_before) {
        (_, Some(moment)) => format!("all sessions issued before {moment}"),
        (id, None) => format!("session {}", id.as_deref().unwrap_or_default()),
    };
    writeln!(io::stdout(), "revoked {what}; kept until {kept_until}").context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

impl Revoke {
    fn ask(&self, admin: &admin::Config) -> Result<String> {
        let body = match (&self.session_id, &self.issued_before) {
            (_, Some(moment)) => json!({ "issued_before": moment }),
            (id, None) => json!({ "session_id": id }),
        };
        let answer = Operator::of(admin, PATIENCE)?.post("/sessions/revoke", &body)?;
        let kept_until = answer["kept_until"].as_str().map(str::to_owned);
        kept_until.context("the answer says nothing of the revocation: is this guestpass?")
    }
}

fn id(text: &str) -> Result<String, String> {
    session::check_id(text).map(|()| text.to_owned()).map_err(|why| format!("a session's id {why}"))
}

fn moment(text: &str) -> Result<String, String> {
    let is_one = Timestamp::from_rfc3339(text).is_some();
    is_one.then(|| text.to_owned()).ok_or_else(|| "write date, time and zone: 2026-11-22T14:20:00Z".to_owned())
}
