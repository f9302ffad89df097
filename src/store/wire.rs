//! A revocation as a line of the journal: a checksum, a space, and JSON.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;

use super::Revocation;

/// Hexadecimal digits of SHA-256: against torn and damaged lines, not against forgers, who could write the file whole.
const CHECKSUM: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(tag = "revoked", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Session { id: String, until: String },
    IssuedBefore { moment: String },
}

/// The line, with its end.
pub(super) fn write(revocation: &Revocation) -> String {
    let line = match revocation {
        Revocation::Session { id, until } => Line::Session { id: id.clone(), until: until.to_string() },
        Revocation::IssuedBefore(moment) => Line::IssuedBefore { moment: moment.to_string() },
    };
    let json = serde_json::to_string(&line).expect("a few texts always make JSON");
    format!("{} {json}\n", checksum(&json))
}

/// What a line without its end says; `None` when it is damaged.
pub(super) fn read(line: &[u8]) -> Option<Revocation> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    if sum != checksum(json) {
        return None;
    }
    Some(match serde_json::from_str(json).ok()? {
        Line::Session { id, until } => Revocation::Session { id, until: Timestamp::from_rfc3339(&until)? },
        Line::IssuedBefore { moment } => Revocation::IssuedBefore(Timestamp::from_rfc3339(&moment)?),
    })
}

fn checksum(json: &str) -> String {
    let mut digits = String::with_capacity(CHECKSUM);
    for byte in &Sha256::digest(json)[..CHECKSUM / 2] {
        // Writing to a text cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
