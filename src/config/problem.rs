//! One thing that is wrong with a configuration, and how it is shown: in the form of a compiler's message.
//!
//! A problem holds the one line that it is about and nothing more of the file, and secrets were taken out of that line
//! before it came here ([`super::findings`]).

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

/// Everything that was found in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong, or looks so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the program can run all the same.
    pub severity: Severity,
    /// The setting that it is about: `genesys.client_id`; empty when it is about none.
    pub key: String,
    /// What is wrong.
    pub title: String,
    /// Where it was said.
    pub place: Place,
    /// What is to be known beside it.
    pub notes: Vec<String>,
    /// What would be right.
    pub help: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing runs with this.
    Error,
    /// It runs, though hardly as it was meant.
    Warning,
}

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a line of the file.
    Line {
        /// The file's name as it was given.
        file: String,
        /// Counted from 1.
        number: usize,
        /// The line itself, without secrets.
        text: String,
        /// The bytes of `text` that are meant.
        underlined: Range<usize>,
        /// What is wrong with just these.
        label: String,
    },
    /// Nowhere in the file of this name, which is what is wrong; or the file cannot be read at all.
    File(String),
    /// In the environment variable of this name.
    Variable(String),
}

impl Problems {
    /// Each of them, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Whether one of them keeps the program from running.
    #[must_use]
    pub fn any_error(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them for a person to read, each in the form of a compiler's message, and at the end how many there are.
    /// Empty when there are none. `colour` puts in the escape codes of a terminal.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for problem in &self.0 {
            text.push_str(&renderer.render(&[problem.report()]));
            text.push_str("\n\n");
        }
        if !self.0.is_empty() {
            text.push_str(&self.tally());
            text.push('\n');
        }
        text
    }

    fn tally(&self) -> String {
        let errors = self.0.iter().filter(|problem| problem.severity == Severity::Error).count();
        let counted = |count: usize, word: &str| match count {
            0 => None,
            1 => Some(format!("1 {word}")),
            _ => Some(format!("{count} {word}s")),
        };
        let parts = [counted(errors, "error"), counted(self.0.len() - errors, "warning")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        Self(problems.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Problem {
    fn report(&self) -> Group<'_> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&self.title);
        let group = match &self.place {
            Place::Line { file, number, text, underlined, label } => title.element(
                Snippet::source(text.as_str())
                    .line_start(*number)
                    .path(file.as_str())
                    .annotation(AnnotationKind::Primary.span(underlined.clone()).label(label.as_str())),
            ),
            Place::File(file) => title.element(Origin::path(file.as_str())),
            Place::Variable(name) => title.element(Origin::path(format!("environment variable {name}"))),
        };
        let notes = self.notes.iter().map(|note| Level::NOTE.message(normalize_untrusted_str(note)));
        let help = self.help.iter().map(|help| Level::HELP.message(normalize_untrusted_str(help)));
        group.elements(notes).elements(help)
    }
}

/// For logs: `proxy.toml:12: unknown key …`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line { file, number, .. } => write!(f, "{file}:{number}: {}", self.title),
            Place::File(file) => write!(f, "{file}: {}", self.title),
            Place::Variable(name) => write!(f, "{name}: {}", self.title),
        }
    }
}
