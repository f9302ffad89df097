//! `guestpass outbox`: what an operator does about events that the KMS webhook did not accept in time.
//!
//! It works on the store's folder itself: who may write there may do this, whether or not a proxy runs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{ArgGroup, Args, Subcommand};

use crate::cli::{EX_CONFIG, check, environment};
use crate::clock::Clock;
use crate::config;
use crate::outbox::{Letter, Letters, Which};
use crate::store::Place;

/// What can be done about dead letters.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  guestpass outbox list
  guestpass outbox retry --all")]
pub(super) enum Arguments {
    /// Show the dead letters, the oldest first
    List(List),
    /// Let dead letters be delivered again, behind everything that waits
    Retry(Chosen),
    /// Throw dead letters away for good
    Drop(Chosen),
}

/// What `list` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Each line has the id that the receiver knows the event by, since when it had been waiting, what it tells of, and why it
was given up.

Examples:
  guestpass outbox list
  guestpass outbox list --limit 1000 --config /etc/guestpass/proxy.toml")]
pub(super) struct List {
    /// How many to show at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,

    /// The configuration, which names the store's folder
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    config: PathBuf,
}

/// What `retry` and `drop` may be told.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["ids", "all"])))]
#[command(after_help = "\
Examples:
  guestpass outbox retry --all
  guestpass outbox drop msg_7f3a9cB2kYw0m3xTnTBSnT")]
pub(super) struct Chosen {
    /// Ids of dead letters, as `guestpass outbox list` shows them
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// All of them
    #[arg(long)]
    all: bool,

    /// The configuration, which names the store's folder
    #[arg(long, value_name = "FILE", default_value = "proxy.toml")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments, clock: &dyn Clock) -> Result<ExitCode> {
    let (Arguments::List(List { config: path, .. })
    | Arguments::Retry(Chosen { config: path, .. })
    | Arguments::Drop(Chosen { config: path, .. })) = arguments;
    let loaded = config::load(path, &environment, clock.now());
    let Some(config) = loaded.config else {
        check::report(&loaded.problems)?;
        return Ok(ExitCode::from(EX_CONFIG));
    };
    let Place::Folder(folder) = config.store else { bail!("store.path is \"off\", so there is no outbox") };
    let unusable = || format!("the outbox in {} cannot be used", folder.display());
    let letters = Letters::open(&folder).with_context(unusable)?;
    let Some(mut letters) = letters else { return say("there are no dead letters: nothing was ever to be told") };
    match arguments {
        Arguments::List(list) => show(&letters, list.limit).with_context(unusable),
        Arguments::Retry(chosen) => {
            let count = letters.retry(&chosen.which(), clock.now()).with_context(unusable)?;
            chosen.done(count, "to be delivered again")
        }
        Arguments::Drop(chosen) => {
            let count = letters.drop(&chosen.which()).with_context(unusable)?;
            chosen.done(count, "dropped")
        }
    }
}

fn show(letters: &Letters, limit: usize) -> Result<ExitCode> {
    let (shown, all) = (letters.list(limit)?, letters.count()?);
    for letter in &shown {
        say(&line(letter))?;
    }
    match all.saturating_sub(shown.len() as u64) {
        _ if all == 0 => say("there are no dead letters"),
        0 => Ok(ExitCode::SUCCESS),
        more => say(&format!("and {more} more: --limit {all} shows all")),
    }
}

/// Ids and reasons come from others, and must not give orders to the terminal.
fn line(letter: &Letter) -> String {
    let session = letter.session_id.as_ref().map(|id| format!(" {}", id.escape_debug())).unwrap_or_default();
    let Letter { id, event, since, why, .. } = letter;
    format!("{}  {since}  {}{session}  ({})", id.escape_debug(), event.escape_debug(), why.escape_debug())
}

impl Chosen {
    fn which(&self) -> Which {
        if self.all { Which::All } else { Which::Ids(self.ids.clone()) }
    }

    fn done(&self, count: usize, what: &str) -> Result<ExitCode> {
        if !self.all && count < self.ids.len() {
            bail!("{count} of {} {what}; the others are no dead letters: see `guestpass outbox list`", self.ids.len());
        }
        say(&format!("{count} {what}"))
    }
}

fn say(line: &str) -> Result<ExitCode> {
    writeln!(io::stdout(), "{line}").context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}
