//! The command line: what can be asked of the program, and which exit code says how it went.

mod check;
mod demo;
mod inspect;
mod keys;
mod run;
mod signals;
mod simulate;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::Level;

use crate::clock::SystemClock;
use crate::random::SystemRandom;

/// Give each visitor of a site a Genesys Cloud guest session, in a signed cookie.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole thing on this machine: a simulated Genesys, a sample site, and the proxy in front of both
    Demo(demo::Arguments),
    /// Run the proxy
    Run(run::Arguments),
    Check(check::Check),
    Inspect(inspect::Args),
    /// Make, show and rotate the key ring, whose keys sign the cookies
    Keys(keys::Arguments),
    /// Run one of the demo's parts by itself, for staging and tests
    #[command(subcommand)]
    Simulate(simulate::Part),
}

/// Runs what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(check) => check.run(&SystemClock::new()).map(ExitCode::from).map_err(Into::into),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments, &SystemClock::new(), &SystemRandom),
        Command::Simulate(part) => part.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
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

/// Colour is for terminals, and only where nobody asked for none (<https://no-color.org>).
fn takes_colour(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
