//! The ring file as it is written: TOML in and out, nothing judged but the form.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;
use zeroize::Zeroizing;

use crate::clock::Timestamp;

use super::record::{KeyRecord, RingRecord, Role};

const HEAD: &str = "\
# The keys that sign the visitors' cookies: whoever reads them can make sessions up.
# `guestpass keys` writes this file anew; what else is written into it does not stay.
";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RingFile {
    #[serde(default)]
    pub(super) key: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) created: Datetime,
    pub(super) state: State,
    /// On the verifying key that is staged: from when on it signs.
    pub(super) signs_from: Option<Datetime>,
    /// On a key that has signed: when it ceased to.
    pub(super) signed_until: Option<Datetime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Signing,
    Verifying,
    Retired,
}

/// The text of a ring file. Written by hand and not by serde, so that no copy of a secret stays behind in a buffer that grew.
#[must_use]
pub fn text(ring: &RingRecord) -> Zeroizing<String> {
    let secrets: usize = ring.keys().map(|key| key.secret.expose().len() * 4 / 3).sum();
    // The other fields of an entry take less than 250 bytes.
    let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + secrets + ring.keys().count() * 300));
    text.push_str(HEAD);
    for key in ring.keys() {
        entry(&mut text, key);
    }
    text
}

fn entry(text: &mut String, key: &KeyRecord) {
    let (state, signs_from) = match key.role {
        Role::Signing => ("signing", None),
        Role::Staged { signs_from } => ("verifying", Some(signs_from)),
        Role::Verifying => ("verifying", None),
        Role::Retired => ("retired", None),
    };
    text.push_str("\n[[key]]\n");
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name} = {value}").expect("a string takes everything that is written to it");
    };
    line("id", &format!("\"{}\"", key.id));
    line("created", &date(key.created));
    line("state", &format!("\"{state}\""));
    for (name, moment) in [("signs_from", signs_from), ("signed_until", key.signed_until)] {
        if let Some(moment) = moment {
            line(name, &date(moment));
        }
    }
    text.push_str("secret = \"");
    BASE64_STANDARD.encode_string(key.secret.expose(), text);
    text.push_str("\"\n");
}

/// Without the milliseconds where there are none, as a person would write it.
fn date(moment: Timestamp) -> String {
    moment.to_string().replace(".000Z", "Z")
}
