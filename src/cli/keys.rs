//! `guestpass keys`: makes a key ring, shows it, and leads its keys through their life.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::admin;
use crate::cli::inspect::{moment, span};
use crate::cli::operator::Operator;
use crate::cli::{EX_CONFIG, check, environment};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::keys::{self, Config, RingRecord, Source, State};
use crate::random::Random;

/// How long `list` waits for the running proxy: it is on this machine, and the rest of the list needs nobody.
const PATIENCE: Duration = Duration::from_secs(1);

/// What can be done with a key ring.
#[derive(Debug, Args)]
#[command(after_help = "\
A running proxy sees a change within seconds, by itself.

Examples:
  guestpass keys new keys.toml
  guestpass keys list --file keys.toml
  guestpass keys rotate --config /etc/guestpass/proxy.toml")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,

    /// The key ring, instead of the one that the configuration names
    #[arg(long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,

    /// The configuration whose keys.file is meant
    #[arg(long, value_name = "FILE", default_value = "proxy.toml", global = true)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key ring with one key
    #[command(after_help = "\
Examples:
  guestpass keys new keys.toml
  guestpass keys new keys.toml --from-secret --config /etc/guestpass/proxy.toml")]
    New {
        /// Where; a file that exists is not touched
        ring: PathBuf,
        /// Of the secret that the configuration has so far (HMAC_SECRET), so that its cookies stay good
        #[arg(long)]
        from_secret: bool,
    },
    /// Show each key: what it is for, how old it is, how often it was used, and from when on it may be retired
    ///
    /// The cookies verified with it are those since the running proxy's start, if its configuration has a section
    /// [admin]. With --file, or when it does not answer within a second, they are not known: `-`.
    #[command(after_help = "\
Examples:
  guestpass keys list
  guestpass keys list --file keys.toml")]
    List,
    /// Add the next key: it verifies at once, and signs after keys.stage_for (with --file, after ten minutes)
    #[command(after_help = "\
Examples:
  guestpass keys rotate
  guestpass keys rotate --now        when a key has leaked, which then verifies until it is retired")]
    Rotate {
        /// Let it sign at once: replicas that have not read it yet take its cookies for outdated ones
        #[arg(long)]
        now: bool,
    },
    /// Let the next key sign now
    #[command(after_help = "\
Examples:
  guestpass keys promote")]
    Promote,
    /// Accept a key's cookies no more, and keep it as a record
    #[command(after_help = "\
Examples:
  guestpass keys retire k202611-7f3a9c
  guestpass keys retire k202611-7f3a9c --force        when it has leaked")]
    Retire {
        /// The key's id, as `list` shows it
        id: String,
        /// Even though visitors may have cookies under it: they lose their sessions
        #[arg(long)]
        force: bool,
    },
}

/// Does what the command line says.
///
/// # Errors
///
/// When there is no such ring, it cannot be read or changed, or the change would do harm.
pub(super) fn run(arguments: &Arguments, clock: &dyn Clock, random: &dyn Random) -> Result<ExitCode> {
    let now = clock.now();
    let path = arguments.file.as_deref();
    let ring = match (&arguments.action, path) {
        (Action::New { ring, .. }, _) => Ring { path: ring.clone(), stage_for: Config::STAGE_FOR, admin: None },
        (_, Some(path)) => Ring { path: path.to_owned(), stage_for: Config::STAGE_FOR, admin: None },
        (_, None) => match configured(&arguments.config, now)? {
            Some(ring) => ring,
            None => return Ok(ExitCode::from(EX_CONFIG)),
        },
    };
    let said = match &arguments.action {
        Action::New { from_secret: true, .. } => match configured_keys(&arguments.config, now)? {
            Some((config, _)) => ring.take_over(&config.source, now)?,
            None => return Ok(ExitCode::from(EX_CONFIG)),
        },
        action => ring.act(action, random, now).map_err(with_advice)?,
    };
    io::stdout().write_all(said.as_bytes()).context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// An error with what helps against it.
pub(super) fn with_advice(error: keys::Error) -> anyhow::Error {
    let advice = error.advice();
    let error = anyhow::Error::from(error);
    match advice {
        Some(advice) => anyhow::anyhow!("{error:#}; {advice}"),
        None => error,
    }
}

/// Where a configuration has its keys; `None` when what is wrong with it has been said.
fn configured_keys(path: &Path, now: Timestamp) -> Result<Option<(Config, Option<admin::Config>)>> {
    match config::load_keys(path, &environment, now) {
        Ok(configs) => Ok(Some(configs)),
        Err(problems) => {
            check::report(&problems)?;
            Ok(None)
        }
    }
}

/// The ring that a configuration names; `None` when what is wrong with it has been said.
fn configured(path: &Path, now: Timestamp) -> Result<Option<Ring>> {
    let Some((config, admin)) = configured_keys(path, now)? else { return Ok(None) };
    match config.source {
        Source::File(path) => Ok(Some(Ring { path, stage_for: config.stage_for, admin })),
        Source::Secret { .. } => anyhow::bail!(
            "the key is a secret of the configuration and no ring: `guestpass keys new keys.toml --from-secret` makes one \
             of it, to be named by `file` in [keys]; or name one here by --file"
        ),
    }
}

/// A ring file, how long its keys are staged, and where the proxy that uses it can be asked.
#[derive(Debug)]
struct Ring {
    path: PathBuf,
    stage_for: Duration,
    admin: Option<admin::Config>,
}

impl Ring {
    /// Does it, and says what was done.
    fn act(&self, action: &Action, random: &dyn Random, now: Timestamp) -> Result<String, keys::Error> {
        let path = self.path.display();
        match action {
            Action::New { .. } => {
                let ring = RingRecord::generate(random, now);
                keys::create(&self.path, "guestpass keys new", &ring)?;
                let ids: String = ring.keys().map(|key| key.id().to_string()).collect();
                Ok(format!("{path} has one key, {ids}, which signs\nlet `file` in [keys] of proxy.toml name it\n"))
            }
            Action::List => Ok(table(&keys::read(&self.path)?, &self.verified(), now)),
            Action::Rotate { now: at_once } => {
                let stage_for = if *at_once { Duration::ZERO } else { self.stage_for };
                let rotate = |ring: &mut RingRecord| ring.rotate(stage_for, random, now);
                let id = keys::change(&self.path, "guestpass keys rotate", rotate)?;
                if *at_once {
                    return Ok(format!("{id} signs from now on\n"));
                }
                Ok(format!("{id} verifies from now on, and signs from {}\n", moment(now.plus(stage_for), now)))
            }
            Action::Promote => {
                let id = keys::change(&self.path, "guestpass keys promote", |ring| ring.promote(now))?;
                Ok(format!("{id} signs from now on\n"))
            }
            Action::Retire { id, force } => {
                let id = keys::change(&self.path, "guestpass keys retire", |ring| ring.retire(id, *force, now))?;
                Ok(format!("{id} is retired: its cookies are outdated from now on\n"))
            }
        }
    }

    /// Makes a ring of the secret that `source` is so far, and says what is to be done with it.
    fn take_over(&self, source: &Source, now: Timestamp) -> Result<String> {
        let Source::Secret { current, previous } = source else {
            anyhow::bail!("the configuration names a key ring already, and there is no secret to take over");
        };
        let ring = RingRecord::from_secrets(current, previous.as_ref(), now)?;
        keys::create(&self.path, "guestpass keys new", &ring)?;
        let ids: Vec<_> = ring.keys().map(|key| key.id().to_string()).collect();
        Ok(format!(
            "{} holds what was configured, under the ids that cookies have it by: {}\n\
             let `file` in [keys] name it on every replica, in the place of the secret; `guestpass keys rotate` replaces it then\n",
            self.path.display(),
            ids.join(", ")
        ))
    }

    /// How many cookies the running proxy has verified with each key. Whoever cannot be asked says nothing: the ring is
    /// shown all the same.
    fn verified(&self) -> HashMap<String, u64> {
        let ask = |admin| Operator::of(admin, PATIENCE)?.get("/status");
        let status = self.admin.as_ref().and_then(|admin| ask(admin).ok()).unwrap_or_default();
        let keys = status["keys"].as_array().into_iter().flatten();
        keys.filter_map(|key| Some((key["id"].as_str()?.to_owned(), key["verified"].as_u64()?))).collect()
    }
}

/// A line a key, in columns.
fn table(ring: &RingRecord, verified: &HashMap<String, u64>, now: Timestamp) -> String {
    let mut rows = vec![["key", "age", "state", "cookies verified", "may be retired"].map(str::to_owned)];
    for key in ring.at(now).keys() {
        let (state, safe) = match key.state() {
            State::Signing => ("signs".to_owned(), "no: it signs".to_owned()),
            State::Staged { signs_from } => {
                (format!("verifies, signs from {}", moment(signs_from, now)), "yes".to_owned())
            }
            State::Verifying { safe_from: None } => {
                ("verifies".to_owned(), "unknown: the ring does not say when it signed last".to_owned())
            }
            State::Verifying { safe_from: Some(from) } if from <= now => ("verifies".to_owned(), "yes".to_owned()),
            State::Verifying { safe_from: Some(from) } => {
                ("verifies".to_owned(), format!("from {}", moment(from, now)))
            }
            State::Retired => ("retired".to_owned(), "is".to_owned()),
        };
        let id = key.id().to_string();
        let verified = verified.get(&id).map_or_else(|| "-".to_owned(), u64::to_string);
        rows.push([id, span(now.since(key.created())), state, verified, safe]);
    }
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; 5]| {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
