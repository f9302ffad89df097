//! Patterns of hosts and paths, as an operator writes them. Nothing here knows in how many ways a path can be read:
//! that is [`super::readings`]' business.

use std::fmt;

/// Which hosts a route is for. Two are equal when they say the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern(pub(super) Host);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    Any,
    /// Every host below this one, however deep, but not itself.
    Below(Box<str>),
    Exact(Box<str>),
}

/// Which paths a route is for: segments, of which `*` stands for one and `**` for any number, and none. A trailing
/// slash makes no difference, neither here nor in the paths that are matched. Two are equal when they say the same,
/// however they are spelt.
///
/// ```
/// use guestpass::routes::PathPattern;
///
/// let account = PathPattern::parse("/account/**")?;
/// assert!(account.matches("/account") && account.matches("/account/orders/7") && !account.matches("/accounts"));
/// # Ok::<(), guestpass::routes::PatternError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    Literal(Literal),
    One,
    AnyNumber,
}

/// A segment in the only two forms that an honest client can give it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Literal {
    /// Percent-decoded.
    pub(super) text: Box<str>,
    /// As it must stand in a URI (RFC 3986, section 3.3), with the hexadecimal digits in upper case.
    pub(super) wire: Box<str>,
}

/// Why a pattern is none.
///
/// ```
/// use guestpass::routes::{PathPattern, PatternError};
///
/// let PatternError(message) = PathPattern::parse("account").unwrap_err();
/// assert_eq!(message, "\"account\" is no path: it must begin with \"/\", as \"/account/**\" does");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

impl HostPattern {
    /// Every host.
    pub const ANY: Self = Self(Host::Any);

    /// Reads `shop.example`, `*.shop.example` (every host below it, not itself) or `*`. Case and a trailing dot make no
    /// difference.
    ///
    /// # Errors
    ///
    /// When it is none of these; the message says what would be right.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::ANY);
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name.starts_with('[') && !below {
            return match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok(Self(Host::Exact(name.into()))),
                _ => Err(PatternError(format!("{text:?} is no IPv6 address in brackets; a port has no place here"))),
            };
        }
        check_name(text, &name)?;
        Ok(Self(if below { Host::Below(name.into()) } else { Host::Exact(name.into()) }))
    }

    /// Whether `host` (lower case, no port, no trailing dot) is one of these.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match &self.0 {
            Host::Any => true,
            Host::Exact(name) => host == &**name,
            Host::Below(name) => {
                host.strip_suffix(&**name).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Host::Any => f.write_str("*"),
            Host::Below(name) => write!(f, "*.{name}"),
            Host::Exact(name) => f.write_str(name),
        }
    }
}

impl PathPattern {
    /// Reads a path whose segments may be `*` (one) or `**` (any number, and none). A literal segment may be written as
    /// it is meant or percent-encoded: `/café` and `/caf%C3%A9` are the same.
    ///
    /// ```
    /// use guestpass::routes::PathPattern;
    ///
    /// assert_eq!(PathPattern::parse("/café")?, PathPattern::parse("/caf%C3%A9")?);
    /// assert!(PathPattern::parse("/a/../b").is_err());
    /// # Ok::<(), guestpass::routes::PatternError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When it does not begin with `/`, or holds what servers read in different ways, so that no path could ever meet
    /// it; the message says what would be right.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PatternError(format!(
                "{text:?} is no path: it must begin with \"/\", as \"/account/**\" does"
            )));
        };
        let mut segments = Vec::new();
        if !rest.is_empty() {
            for segment in rest.strip_suffix('/').unwrap_or(rest).split('/') {
                push(&mut segments, parse_segment(text, segment)?);
            }
        }
        Ok(Self { text: text.into(), segments: segments.into() })
    }

    /// `/**`: every path.
    ///
    /// ```
    /// use guestpass::routes::PathPattern;
    ///
    /// assert!(PathPattern::everything().matches("/wherever/it/is"));
    /// ```
    pub fn everything() -> Self {
        Self { text: "/**".into(), segments: [Segment::AnyNumber].into() }
    }

    /// The pattern as it was written.
    ///
    /// ```
    /// use guestpass::routes::PathPattern;
    ///
    /// assert_eq!(PathPattern::parse("/account/")?.as_str(), "/account/");
    /// # Ok::<(), guestpass::routes::PatternError>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path`, read just as it stands, is one of these.
    ///
    /// ```
    /// use guestpass::routes::PathPattern;
    ///
    /// let sizes = PathPattern::parse("/img/*/small")?;
    /// assert!(sizes.matches("/img/cat/small") && !sizes.matches("/img/small"));
    /// # Ok::<(), guestpass::routes::PatternError>(())
    /// ```
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match_segments(&self.segments, path, false)
    }

    /// Whether both say the same, case aside where `ignore_case`.
    #[doc(hidden)]
    #[must_use]
    pub fn says_the_same(&self, other: &Self, ignore_case: bool) -> bool {
        let same = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => equal(&a.text, &b.text, ignore_case),
            (a, b) => a == b,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(same)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.says_the_same(other, false)
    }
}

impl Eq for PathPattern {}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether `path` has these segments. `**` is tried at its shortest first and grown by one segment when what follows it
/// does not fit; only the last `**` ever needs growing, so this takes at most pattern times path steps.
pub(super) fn match_segments(pattern: &[Segment], path: &str, ignore_case: bool) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    let mut left = (!path.is_empty()).then(|| path.strip_suffix('/').unwrap_or(path).split('/'));
    let mut next = 0;
    let mut grown = None;
    loop {
        let rest = left.clone();
        let segment = left.as_mut().and_then(Iterator::next);
        match (pattern.get(next), segment) {
            (Some(Segment::AnyNumber), _) => {
                next += 1;
                left.clone_from(&rest);
                grown = Some((next, rest));
                continue;
            }
            (Some(Segment::One), Some(_)) => {
                next += 1;
                continue;
            }
            (Some(Segment::Literal(literal)), Some(segment)) if literal.matches(segment, ignore_case) => {
                next += 1;
                continue;
            }
            (None, None) => return true,
            (Some(_), None) => return false,
            (_, Some(_)) => {}
        }
        let Some((after, from)) = &mut grown else { return false };
        // The segment that `**` grows by is there, since at least one was left to reach this line.
        from.as_mut().and_then(Iterator::next);
        next = *after;
        left.clone_from(from);
    }
}

impl Literal {
    fn matches(&self, segment: &str, ignore_case: bool) -> bool {
        equal(&self.text, segment, ignore_case) || equal(&self.wire, segment, ignore_case)
    }
}

fn equal(a: &str, b: &str, ignore_case: bool) -> bool {
    if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
}

fn check_name(text: &str, name: &str) -> Result<(), PatternError> {
    let problem = if !name.is_ascii() {
        "is not ASCII: write an internationalized name as browsers send it, with \"xn--\""
    } else if name.contains('*') {
        "has a \"*\" where none can be: only \"*.shop.example\" and \"*\" alone are understood"
    } else if name.contains(':') {
        "names a port or a scheme: a route is for a host on every port"
    } else if name.is_empty() || name.len() > 253 || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
        "is no host name, such as \"shop.example\", \"*.shop.example\" or \"*\""
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        "holds what no host name can: letters, digits, \"-\", \"_\" and \".\" are understood"
    } else {
        return Ok(());
    };
    Err(PatternError(format!("{text:?} {problem}")))
}

fn parse_segment(pattern: &str, segment: &str) -> Result<Segment, PatternError> {
    match segment {
        "*" => return Ok(Segment::One),
        "**" => return Ok(Segment::AnyNumber),
        _ => {}
    }
    let text = percent_encoding::percent_decode_str(segment).decode_utf8();
    let problem = match &text {
        Err(_) => "is not UTF-8 once it is percent-decoded",
        Ok(_) if segment.is_empty() => "stands between two slashes: servers merge them, so write one",
        Ok(text) if segment.contains('*') || text.contains('*') => {
            "has a \"*\" in it: \"*\" and \"**\" stand for whole segments only"
        }
        Ok(text) if text.contains(['?', '#']) => "holds what ends a path: the query takes no part in routing",
        Ok(text) if text.contains('%') || text.contains(['/', '\\', ';']) => {
            "holds one of \"%\", \"/\", \"\\\" and \";\", which servers read in different ways: write \"*\" instead"
        }
        Ok(text) if matches!(&**text, "." | "..") => "is a dot segment: write the path that it leads to",
        Ok(text) if text.ends_with(['.', ' ']) => {
            "ends with a dot or a space, which some servers cut: write \"*\" instead"
        }
        Ok(text) if text.chars().any(|c| c.is_ascii_control()) => "holds a control character",
        Ok(text) => {
            let wire = percent_encoding::utf8_percent_encode(text, NEVER_RAW).to_string();
            return Ok(Segment::Literal(Literal { text: (**text).into(), wire: wire.into() }));
        }
    };
    Err(PatternError(format!("segment {segment:?} of {pattern:?} {problem}")))
}

/// What cannot stand in a path as it is: all but RFC 3986's `pchar`. (Non-ASCII is always encoded.)
const NEVER_RAW: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Runs of wildcards have one normal form, all `*` and then one `**`, so that patterns which say the same are equal.
fn push(segments: &mut Vec<Segment>, segment: Segment) {
    match (segments.last(), &segment) {
        (Some(Segment::AnyNumber), Segment::AnyNumber) => {}
        (Some(Segment::AnyNumber), Segment::One) => {
            let before = segments.len() - 1;
            segments.insert(before, segment);
        }
        _ => segments.push(segment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn segments_match_as_a_reader_expects() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str], &[&str])] = &[
            ("/", &["/"], &["/a", "//"]),
            ("/a", &["/a", "/a/"], &["/", "/A", "/a/b", "/ab", "/a//"]),
            ("/a/", &["/a", "/a/"], &["/a/b"]),
            ("/a/*", &["/a/b", "/a/b/"], &["/a", "/a/", "/a/b/c"]),
            ("/a/**", &["/a", "/a/", "/a/b", "/a/b/c/"], &["/", "/ab", "/b/a"]),
            ("/**", &["/", "/a", "/a/b", "//"], &[]),
            ("/**/x", &["/x", "/a/x", "/a/b/x", "/x/x"], &["/", "/a", "/x/a"]),
            ("/a/**/x/**/y", &["/a/x/y", "/a/x/x/y", "/a/1/x/2/y", "/a/x/y/x/y"], &["/a/y/x", "/x/y", "/a/x"]),
            ("/*/x", &["/a/x"], &["/x", "/a/b/x"]),
            ("/**/*", &["/a", "/a/b"], &["/"]),
            ("/café/a b", &["/café/a b", "/caf%C3%A9/a%20b"], &["/cafe/a b"]),
        ];
        for (pattern, yes, no) in table {
            for text in *yes {
                assert!(path(pattern).matches(text), "{pattern} is to cover {text}");
            }
            for text in *no {
                assert!(!path(pattern).matches(text), "{pattern} is not to cover {text}");
            }
        }
    }

    #[test]
    fn a_pattern_with_many_wildcards_takes_no_exponential_time() {
        let pattern = path(&"/**/a".repeat(30));
        assert!(!pattern.matches(&("/a".repeat(400) + "/b")));
    }

    #[test]
    fn patterns_that_say_the_same_are_equal() {
        for (a, b) in [("/a", "/a/"), ("/caf%C3%A9", "/café"), ("/a/**/**", "/a/**"), ("/**/*/x", "/*/**/x")] {
            assert_eq!(path(a), path(b), "{a} and {b}");
        }
        assert_ne!(path("/a/*"), path("/a/**"));
        assert_ne!(path("/a"), path("/A"));
        assert!(path("/a").says_the_same(&path("/A"), true));
        assert_eq!(path("/caf%c3%a9/").to_string(), "/caf%c3%a9/", "it is shown as it was written");
    }

    #[test]
    fn a_path_pattern_that_no_path_could_meet_is_refused() {
        for text in [
            "", "account", "/a//b", "/a/../b", "/.", "/img*", "/***", "/a?b", "/a#b", "/a%2Fb", "/a%5Cb", "/a;b",
            "/a.", "/a%20", "/100%25", "/%zz", "/%FF", "/a%00", "/a\tb",
        ] {
            let error = PathPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn hosts_match_as_a_reader_expects() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str], &[&str])] = &[
            ("*", &["a", "", "[::1]"], &[]),
            ("Shop.Example.", &["shop.example"], &["a.shop.example", "example", ""]),
            ("*.shop.example", &["a.shop.example", "a.b.shop.example"], 
                &["shop.example", ".shop.example", "xshop.example"]),
            ("[::1]", &["[::1]"], &["::1"]),
            ("127.0.0.1", &["127.0.0.1"], &["127.0.0.2"]),
        ];
        for (pattern, yes, no) in table {
            let pattern = HostPattern::parse(pattern).unwrap();
            assert!(yes.iter().all(|host| pattern.matches(host)), "{pattern}");
            assert!(!no.iter().any(|host| pattern.matches(host)), "{pattern}");
        }
        assert_eq!(HostPattern::parse("A.example."), HostPattern::parse("a.example"));
    }

    #[test]
    fn what_is_no_host_pattern_is_refused() {
        for text in [
            "",
            "*.",
            "a.*",
            "*a.example",
            "a..b",
            ".a",
            "a:8080",
            "https://a",
            "bücher.example",
            "a b",
            "[::1]:80",
            "[x]",
            "**",
        ] {
            let error = HostPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
