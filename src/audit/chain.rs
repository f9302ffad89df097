//! The chain: each line's tag covers the line and the tag before it, under a key that only the ring's owners have.
//!
//! What is covered is the very text that stands in the file, without its last member, so that nobody has to agree on
//! how JSON is written.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::cookie::Key;

/// What the last member of a line is called.
const CHAIN: &str = "chain";

/// What the last member of a head is called.
const TAG: &str = "tag";

/// 32 bytes as base64url without padding.
const TAG_LENGTH: usize = 43;

/// What each line is tied to: the tag of the line before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link([u8; 32]);

impl Link {
    /// Before the first line of all.
    pub const START: Self = Self([0; 32]);

    /// Reads one as [`fmt::Display`] writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Closes `json`, an object, with the tag that ties it to this link: the line, without its end, and its link.
    pub(super) fn close(self, json: &str, key: &Key) -> (String, Self) {
        let link = self.over(json, key);
        (append(json, CHAIN, link), link)
    }

    /// The link of a line that follows this one, if it does.
    pub(super) fn follow(self, line: &str, key: &Key) -> Option<Self> {
        let (json, said) = split(line, CHAIN)?;
        // Whoever verifies has the file and the keys at hand: there is nobody to hide the time from.
        (self.over(&json, key) == said).then_some(said)
    }

    /// The link that a line claims to be.
    pub(super) fn said_by(line: &str) -> Option<Self> {
        split(line, CHAIN).map(|(_, link)| link)
    }

    fn over(self, json: &str, key: &Key) -> Self {
        Self(key.audit_tag(&[b"line\0", &self.0, json.as_bytes()]))
    }
}

/// A head with the tag that vouches for it.
pub(super) fn vouch(json: &str, key: &Key) -> String {
    append(json, TAG, head_tag(json, key))
}

/// The head again, if `key` vouches for it.
pub(super) fn vouched(line: &str, key: &Key) -> Option<String> {
    let (json, said) = split(line, TAG)?;
    (head_tag(&json, key) == said).then_some(json)
}

fn head_tag(json: &str, key: &Key) -> Link {
    Link(key.audit_tag(&[b"head\0", json.as_bytes()]))
}

/// `json`, an object, with one member more.
fn append(json: &str, member: &str, link: Link) -> String {
    let open = json.strip_suffix('}').unwrap_or(json);
    format!("{open},\"{member}\":\"{link}\"}}")
}

/// The object before that member was added to it, and the member.
fn split(line: &str, member: &str) -> Option<(String, Link)> {
    let rest = line.strip_suffix("\"}")?;
    let (rest, link) = rest.split_at_checked(rest.len().checked_sub(TAG_LENGTH)?)?;
    let open = rest.strip_suffix(":\"")?.strip_suffix('"')?.strip_suffix(member)?.strip_suffix(",\"")?;
    Some((format!("{open}}}"), Link::parse(link)?))
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({self})")
    }
}
