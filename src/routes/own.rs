//! The paths that are the proxy's own: found in every reading, so that none of them reaches the site by another
//! spelling, and nothing hides behind one.

use super::readings::{EncodedAs, is_plain, readings};
use super::table::Unroutable;

/// What all of the proxy's own paths begin with: whole segments, with a `/` at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPrefix(Box<str>);

impl Default for OwnPrefix {
    /// `/_guestpass/`, which no site has by accident.
    fn default() -> Self {
        Self("/_guestpass/".into())
    }
}

impl OwnPrefix {
    /// Reads a prefix of one or more segments, each of letters, digits, `_` and `-`, so that it has one reading only.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let segments = text.strip_prefix('/')?.strip_suffix('/')?;
        let is_legal = segments.split('/').all(|segment| !segment.is_empty() && segment.bytes().all(plain));
        is_legal.then(|| Self(text.into()))
    }

    /// The prefix as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the prefix in `path`, taken as it was received and without its query; `None` when no server
    /// could read it as one of ours.
    ///
    /// # Errors
    ///
    /// When it is one of ours in some reading, but not as it stands.
    pub fn find<'p>(&self, path: &'p str) -> Result<Option<&'p str>, Unroutable> {
        let differs = || Err(Unroutable::BadPath { rule: "it can be read as one of the proxy's own paths".into() });
        if is_plain(path) {
            return match path.strip_prefix(&*self.0) {
                Some(name) => Ok(Some(name)),
                None if self.covers(path) => differs(),
                None => Ok(None),
            };
        }
        // What has no readings at all is refused by the table.
        let readings = readings(path, EncodedAs::Either).unwrap_or_default();
        if readings.iter().any(|reading| self.covers(reading)) { differs() } else { Ok(None) }
    }

    /// Whether a reading is one of ours, or the folder of ours itself. Sites that ignore case are many.
    #[must_use]
    pub fn covers(&self, reading: &str) -> bool {
        let folder = &self.0[..self.0.len() - 1];
        let begins = reading.get(..folder.len()).is_some_and(|start| start.eq_ignore_ascii_case(folder));
        begins && matches!(reading.as_bytes().get(folder.len()), None | Some(b'/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_ours_as_it_stands_or_it_is_refused_or_it_is_the_sites() {
        let prefix = OwnPrefix::default();
        for (path, name) in [
            ("/_guestpass/session", Some("session")),
            ("/_guestpass/", Some("")),
            ("/_guestpass/session/", Some("session/")),
            ("/_guestpass/Session", Some("Session")),
            ("/_guestpasses", None),
            ("/a/_guestpass/session", None),
            ("/", None),
            ("*", None),
            ("", None),
            ("/%zz/_guestpass/session", None),
            ("/a%20b", None),
        ] {
            assert_eq!(prefix.find(path), Ok(name), "{path}");
        }
        for path in [
            "/_guestpass",
            "/_GuestPass/session",
            "//_guestpass/session",
            "/_guestpass//session",
            "/%5fguestpass/session",
            "/%255fguestpass/session",
            "/_guestpass%2fsession",
            "/_guestpass%5csession",
            "/_guestpass/%73ession",
            "/_guestpass;a=b/session",
            "/_guestpass./session",
            "/_guestpass%20/session",
            "/./_guestpass/session",
            "/a/../_guestpass/session",
            "/a/%2e%2e/_guestpass/session",
            "/a/..;/_guestpass/session",
            "/_guestpass/../account/",
            "/_guestpass/..%2faccount/",
            "/_guestpass%3f/session",
            "/_guestpass/session%23",
        ] {
            assert!(prefix.find(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_prefix_has_one_reading() {
        for text in ["/own/", "/a/b-c/_d/"] {
            assert_eq!(OwnPrefix::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "/", "//", "own", "/own", "own/", "/a//b/", "/a.b/", "/%61/", "/a b/", "/é/", "/../"] {
            assert_eq!(OwnPrefix::parse(text), None, "{text}");
        }
    }
}
