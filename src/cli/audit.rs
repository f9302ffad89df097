//! `guestpass audit`: whether the audit log is whole, and what stands in it.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use crate::audit::{self, Entries, Entry, Flaw, Link, Report};
use crate::cli::keys::with_advice;
use crate::cli::{EX_CONFIG, check};
use crate::clock::{SystemClock, Timestamp};
use crate::config::Config;
use crate::keys;

/// What can be asked of the audit log.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  guestpass audit verify
  guestpass audit show --event session.minted --since 2026-11-22T14:00:00Z")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,

    /// The configuration that names the audit log and the keys
    #[arg(long, value_name = "FILE", default_value = "proxy.toml", global = true)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether lines were changed, moved, added or taken away, and where
    #[command(after_help = "\
Examples:
  guestpass audit verify
  guestpass audit verify --head 4711:0cQ2Yl…    what an earlier run has printed and somebody kept elsewhere
  guestpass audit verify audit/session-000007.log

Exit codes:
  0   the log is whole
  1   it is not, or cannot be read
  78  the configuration is wrong")]
    Verify {
        /// Files of the audit log, the oldest first; without any, all that there are
        files: Vec<PathBuf>,
        /// A number and a chain that the log must have come by, as an earlier run has printed them
        #[arg(long, value_name = "SEQ:HASH", value_parser = anchor)]
        head: Option<(u64, Link)>,
    },
    /// Show the lines, without verifying them
    #[command(after_help = "\
Examples:
  guestpass audit show --event session.minted --since 2026-11-22T14:00:00Z
  guestpass audit show --session 3fa85f64-5717-4562-b3fc-2c963f66afa6")]
    Show {
        /// Files of the audit log; without any, all that there are
        files: Vec<PathBuf>,
        /// Only this event, such as session.minted
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(audit::EVENTS), hide_possible_values = true)]
        event: Option<String>,
        /// Only what is about this session
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// Only what happened in this request
        #[arg(long, value_name = "ID")]
        request: Option<String>,
        /// Only from this moment on, an RFC 3339 date and time
        #[arg(long, value_name = "TIME", value_parser = moment)]
        since: Option<Timestamp>,
        /// Only from before this moment
        #[arg(long, value_name = "TIME", value_parser = moment)]
        until: Option<Timestamp>,
    },
}

/// Does what the command line says. The exit code is 1 where the log is not whole.
///
/// # Errors
///
/// When there is no log, or a file cannot be read.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(config) = check::load(&arguments.config, &SystemClock::new())? else {
        return Ok(ExitCode::from(EX_CONFIG));
    };
    let mut output = io::stdout().lock();
    match &arguments.action {
        Action::Verify { files, head } => verify(&config, files, *head, &mut output),
        Action::Show { files, event, session, request, since, until } => {
            let asked = |wanted: &Option<String>, said: Option<&str>| {
                wanted.as_ref().is_none_or(|wanted| said == Some(wanted.as_str()))
            };
            let is_wanted = |entry: &Entry| {
                asked(event, Some(entry.event()))
                    && asked(session, entry.session_id())
                    && asked(request, entry.request_id())
                    && since.is_none_or(|since| entry.timestamp().is_some_and(|at| at >= since))
                    && until.is_none_or(|until| entry.timestamp().is_some_and(|at| at < until))
            };
            for file in all_or(&config, files)? {
                let unreadable = || format!("{} cannot be read", file.display());
                for entry in Entries::of(&file).with_context(unreadable)? {
                    let entry = entry.with_context(unreadable)?;
                    if is_wanted(&entry) {
                        writeln!(output, "{entry}")?;
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verify(config: &Config, files: &[PathBuf], head: Option<(u64, Link)>, output: &mut dyn Write) -> Result<ExitCode> {
    let keys = keys::load_all(&config.keys.source).map_err(with_advice).context("the keys cannot be read")?;
    let segments = all_or(config, files)?;
    for file in &segments {
        File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    }
    let verified = match &config.audit {
        Some(audit) if files.is_empty() => audit::verify_all(&audit.path, &keys, head),
        _ => audit::verify(&segments, &keys, head),
    };
    let report = verified.context("a file of the audit log cannot be read")?;
    write_report(&report, &segments, output)?;
    if !report.flaws.is_empty() {
        writeln!(output, "the audit log is not whole")?;
        return Ok(ExitCode::FAILURE);
    }
    let lines: usize = report.segments.iter().map(|segment| segment.lines).sum();
    match report.segments.iter().rev().find_map(|segment| segment.head) {
        Some((sequence, link)) => writeln!(output, "{lines} lines, whole; the head is {sequence}:{link}")?,
        None => writeln!(output, "there is no line yet")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines of the report, each with the file as it was named, so that an editor finds it.
fn write_report(report: &Report, segments: &[PathBuf], output: &mut dyn Write) -> Result<()> {
    let folder = segments.first().and_then(|first| first.parent());
    let path = |name: &str| {
        let named = segments.iter().find(|segment| segment.file_name().is_some_and(|it| it == name));
        // One that is missing would stand beside the others; `--head` is no file.
        let missing = || folder.filter(|_| !name.starts_with("--")).map(|folder| folder.join(name));
        named.cloned().or_else(missing).unwrap_or_else(|| name.into()).display().to_string()
    };
    for segment in &report.segments {
        writeln!(output, "{}: {} lines", path(&segment.name), segment.lines)?;
    }
    for note in &report.notes {
        writeln!(output, "{}: note: {}", path(&note.segment), note.what)?;
    }
    for flaw in &report.flaws {
        writeln!(output, "{}", Flaw { segment: path(&flaw.segment), ..flaw.clone() })?;
    }
    Ok(())
}

/// The files that were named, or all of the log that is configured.
fn all_or(config: &Config, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !files.is_empty() {
        return Ok(files.to_vec());
    }
    let Some(audit) = &config.audit else {
        bail!("the configuration has no audit log: `path` in [audit] says \"off\"");
    };
    let segments = audit::list(&audit.path).with_context(|| format!("{} cannot be read", audit.path.display()))?;
    if segments.is_empty() {
        bail!("there is no audit log at {} yet", audit.path.display());
    }
    Ok(segments)
}

fn anchor(text: &str) -> Result<(u64, Link), String> {
    let parsed = text.split_once(':').and_then(|(sequence, link)| Some((sequence.parse().ok()?, Link::parse(link)?)));
    parsed.ok_or_else(|| "write the number, a colon and the chain, as `audit verify` prints them".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_rfc3339(text).ok_or_else(|| "write a date and time such as 2026-11-22T14:00:00Z".to_owned())
}
