//! The command line: what can be asked of the program, and which exit code says how it went.

mod demo;
mod check;
mod explain;
mod run;
mod inspect;
mod keys;
mod sessions;
mod operator;
mod audit;
mod outbox;
mod simulate;
mod schema;
mod completions;
mod man;
mod version;
mod signals;
mod service;
mod successor;

use std::io;
use std::process::ExitCode;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::{Parser, Subcommand};
use tracing::Level;

use crate::clock::SystemClock;
use crate::random::SystemRandom;

/// `EX_CONFIG` of sysexits.h: something is wrong with the configuration. A service manager can be told not to try
/// again after it.
const EX_CONFIG: u8 = 78;

/// What was asked of the program.
#[derive(Debug, Parser)]
#[command(
    name = "guestpass",
    version,
    long_version = version::long(),
    about,
    after_help = "\
Examples:
  guestpass demo                        try it: nothing else is needed
  guestpass check --config proxy.toml   before it runs, and after every change
  guestpass run --config proxy.toml

Exit codes:
  0   all is well
  1   something went wrong while running; for inspect: the cookie is not valid;
      for audit verify: the log is not whole
  2   the command line could not be understood
  3   for inspect: there is no key to verify the cookie with
  78  the configuration is wrong"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job on this machine: a simulated Genesys, a sample site, and the proxy before it
    Demo(demo::Arguments),
    /// Say everything that is wrong with a configuration, or what would run with it
    Check(check::Arguments),
    /// Run the proxy
    Run(run::Arguments),
    /// Say what would happen to a request, and why, without sending it
    Explain(explain::Arguments),
    /// Show what is inside a session cookie, and whether the proxy would take it
    Inspect(inspect::Arguments),
    /// Make, show and rotate the key ring, whose keys sign the cookies
    Keys(keys::Arguments),
    /// Take sessions back before their end, at the running proxy
    #[command(subcommand)]
    Sessions(sessions::Arguments),
    /// Show the audit log, and verify that it is whole
    Audit(audit::Arguments),
    /// Show what the KMS webhook could not be told of, send it again, or drop it
    #[command(subcommand)]
    Outbox(outbox::Arguments),
    /// Run one of the demo's parts by itself, for staging and tests
    #[command(subcommand)]
    Simulate(simulate::Arguments),
    /// Print the JSON Schema of proxy.toml, by which editors complete and check it
    Schema(schema::Arguments),
    /// Print what a shell needs to complete commands and flags
    Completions(completions::Arguments),
    /// Print the manual pages
    Man(man::Arguments),
}

/// Runs what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let done = match &CommandLine::parse().command {
        Command::Demo(arguments) => demo::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Keys(arguments) => keys::run(arguments, &SystemClock::new(), &SystemRandom),
        Command::Sessions(arguments) => sessions::run(arguments),
        Command::Audit(arguments) => audit::run(arguments),
        Command::Outbox(arguments) => outbox::run(arguments, &SystemClock::new()),
        Command::Simulate(arguments) => simulate::run(arguments),
        Command::Schema(arguments) => schema::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    };
    done.unwrap_or_else(|error| {
        if error.chain().any(is_broken_pipe) {
            // Whoever reads has seen enough, as `head` has.
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The program's own log goes to standard error, so that standard output is the access log's alone.
fn start_logging(level: Level) {
    let output = io::stderr;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(output)
        .with_ansi(takes_colour(&output()))
        .with_target(false)
        .init();
}

/// A variable of the process's environment, as the configuration asks for it.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What stands in a cookie or a request is anybody's text, and a terminal obeys some of it. Quotes and backslashes are
/// harmless, and stand in fields that one wants to compare.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => escaped.push(character),
            other => escaped.extend(other.escape_debug()),
        }
    }
    escaped
}

/// Colour is for terminals, and only where nobody asked for none: by `NO_COLOR` (<https://no-color.org>), `CLICOLOR=0`
/// (<https://bixense.com/clicolors>) or `TERM=dumb`. clap goes by the same.
fn takes_colour(output: &impl RawStream) -> bool {
    AutoStream::choice(output) != ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn nothing_that_a_cookie_says_gives_orders_to_a_terminal() {
        assert_eq!(escaped("\u{1b}[2J \u{9b}\u{202e}\n"), r"\u{1b}[2J \u{9b}\u{202e}\n");
        assert_eq!(escaped(r#"it's "Not\A" é"#), r#"it's "Not\A" é"#);
    }

    #[test]
    fn every_command_shows_an_example_of_itself() {
        fn look_at(command: &clap::Command) {
            let name = command.get_bin_name().unwrap_or("guestpass");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").map(|(_, examples)| examples).unwrap_or_default();
            assert!(examples.contains(name), "{name}: {help}");
            command.get_subcommands().for_each(look_at);
        }
        let mut command = CommandLine::command().disable_help_subcommand(true);
        command.build();
        look_at(&command);
    }

    #[test]
    fn every_help_text_fits_a_terminal() {
        fn look_at(command: &mut clap::Command) {
            let help = command.render_help().to_string();
            let long: Vec<_> = help.lines().filter(|line| line.chars().count() > 120).collect();
            assert!(long.is_empty(), "{}: {long:#?}", command.get_name());
            command.get_subcommands_mut().for_each(look_at);
        }
        let mut command = CommandLine::command();
        command.build();
        look_at(&mut command);
    }
}
