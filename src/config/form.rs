//! What a value may look like, as far as that can be said without reading it: what [`super::schema()`] tells editors.
//!
//! Nobody keeps a list of forms. A reader that is shown a value which cannot be meant says what it would take instead
//! ([`super::value::Unfit`]), and each key's reader is asked in this way.

use std::collections::BTreeMap;

/// Every key that there is, with dots between its parts, and what it may hold.
pub(super) type Forms = BTreeMap<String, Form>;

/// What a key may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Text; where there is a regular expression, text that it finds something in.
    Text(Option<&'static str>),
    /// `true` or `false`.
    Flag,
    /// A whole number from the one to the other.
    Number(i64, i64),
    /// One of these words.
    Words(Vec<&'static str>),
    /// One of these.
    Either(Vec<Self>),
    /// An array of them.
    List(Box<Self>),
    /// A table from text to text, whose keys are the operator's own.
    Texts,
    /// A table, whose keys stand in the same [`Forms`].
    Table,
    /// A list of such tables.
    Tables,
}

impl Form {
    /// The same, or this word.
    pub(super) fn or_word(self, word: &'static str) -> Self {
        match self {
            // Any text is that one too.
            Self::Text(None) => self,
            Self::Words(mut words) => {
                words.push(word);
                Self::Words(words)
            }
            Self::Either(mut forms) => {
                match forms.last_mut() {
                    Some(Self::Words(words)) => words.push(word),
                    _ => forms.push(Self::Words(vec![word])),
                }
                Self::Either(forms)
            }
            form => Self::Either(vec![form, Self::Words(vec![word])]),
        }
    }
}
