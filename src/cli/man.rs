//! `guestpass man`: the help texts as manual pages, one a command.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::CommandLine;

/// What `man` may be told.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  guestpass man | man -l -                          the page of guestpass itself
  guestpass man keys rotate | man -l -              that of a command
  guestpass man --out /usr/local/share/man/man1     all of them, as guestpass.1, guestpass-run.1 and so on")]
pub(super) struct Arguments {
    /// The command whose page is meant, such as `run` or `keys rotate`
    command: Vec<String>,

    /// Writes the pages of all commands into this folder, which is made if it is missing
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut program = CommandLine::command().disable_help_subcommand(true);
    program.build();
    match &arguments.out {
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            for command in family(&program) {
                let path = folder.join(format!("{}.1", name(command)));
                fs::write(&path, page(command)?).with_context(|| format!("{} cannot be written", path.display()))?;
            }
        }
        None => {
            let mut command = &program;
            for word in &arguments.command {
                let Some(found) = command.find_subcommand(word) else {
                    let known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
                    bail!("`{}` has no command `{word}`, but {}", name(command).replace('-', " "), listed(&known));
                };
                command = found;
            }
            io::stdout().write_all(&page(command)?).context("standard output cannot be written")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A command and all below it.
fn family(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().flat_map(family);
    std::iter::once(command).chain(below).collect()
}

/// `guestpass-keys-rotate`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of one command. What stands behind the options in its help has sections of its own here.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let version = concat!("guestpass ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name(command).to_uppercase()).source(version).manual("guestpass");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let behind = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    page.extend_from_slice(sections(&behind).as_bytes());
    Ok(page)
}

/// A block that begins with a heading becomes a section whose lines stay as they are, all else is prose.
fn sections(text: &str) -> String {
    let mut page = String::new();
    let mut has_prose = false;
    for block in text.split("\n\n") {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        let section = match first {
            "Examples:" => Some("EXAMPLES"),
            "Exit codes:" => Some("EXIT STATUS"),
            _ => None,
        };
        let lines = |text: &str| text.lines().map(|line| literal(line) + "\n").collect::<String>();
        match section {
            Some(section) => page.push_str(&format!(".SH {section}\n.nf\n{}.fi\n", lines(rest))),
            None if block.trim().is_empty() => {}
            None => {
                page.push_str(if has_prose { ".PP\n" } else { ".SH NOTES\n" });
                page.push_str(&lines(block));
                has_prose = true;
            }
        }
    }
    page
}

/// As roff(7) prints it and does not obey it.
fn literal(line: &str) -> String {
    let line = line.replace('\\', r"\e").replace('-', r"\-").replace('\'', r"\(aq").replace('`', r"\(ga");
    if line.starts_with('.') { format!(r"\&{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_options_has_sections_and_gives_no_orders() {
        let text = "It is so.\n.TH and it's `not` \\n.\n\nExamples:\n  guestpass run --config x\n\nMore.\n\nExit codes:\n  0  good";
        assert_eq!(
            sections(text),
            ".SH NOTES\nIt is so.\n\\&.TH and it\\(aqs \\(ganot\\(ga \\en.\n\
             .SH EXAMPLES\n.nf\n  guestpass run \\-\\-config x\n.fi\n\
             .PP\nMore.\n\
             .SH EXIT STATUS\n.nf\n  0  good\n.fi\n"
        );
    }
}
