//! In how many ways servers could read a path: its closure under everything that one of them does to a path before it
//! looks at it. Which routes the readings meet is [`super::table`]'s business.
//!
//! ASCII case is no reading of its own: whether it matters is a route's setting, and is heeded where segments are
//! compared.

/// More than this and nobody can say what the path means. A path with one of every trick in it has fewer.
const MOST: usize = 64;

/// All readings together, so that a path of the longest request head cannot buy much of our time: 64 readings of an
/// ordinary path of up to 2 KiB, and still several of one of 32 KiB.
const MOST_BYTES: usize = 128 * 1024;

/// Why a path is refused whatever routes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// It does not begin with `/`.
    #[error("the path does not begin with \"/\"")]
    NotAbsolute,
    /// A control character, raw or encoded.
    #[error("the path holds a control character")]
    Control,
    /// A raw byte that RFC 3986 does not let stand in a path, and that some server reads as something else.
    #[error("the path holds a raw backslash, space, \"?\" or \"#\"")]
    Raw,
    /// A raw byte beyond ASCII.
    #[error("the path holds a raw byte beyond ASCII")]
    NotAscii,
    /// A `%` without two hexadecimal digits.
    #[error("the path holds a \"%\" without two hexadecimal digits")]
    BadEscape,
    /// No UTF-8, or overlong, once decoded.
    #[error("the path is not UTF-8 once it is decoded")]
    NotUtf8,
    /// `..` where nothing is left to go up from.
    #[error("the path leads above the root")]
    AboveRoot,
    /// More readings than anyone can judge.
    #[error("the path can be read in too many ways")]
    TooMany,
}

/// What an encoded `/` or `\` is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EncodedAs {
    /// Once as a separator and once as a part of its segment, since servers do either.
    Either,
    /// As a part of its segment.
    Text,
}

/// Whether a path can be read in one way only, so that no set of readings need be made.
pub(super) fn is_plain(path: &str) -> bool {
    let mut before = b' ';
    for byte in path.bytes() {
        match byte {
            b'/' if matches!(before, b'/' | b'.') => return false,
            b'%' | b';' | b'\\' | b'?' | b'#' | ..=b' ' | 0x7f.. => return false,
            _ => before = byte,
        }
    }
    path.starts_with('/') && before != b'.'
}

/// Every reading of `path`, the one as it was received first. (Its percent-encodings' digits are in upper case, which
/// RFC 3986, section 6.2.2.1, makes no difference.)
pub(super) fn readings(path: &str, encoded: EncodedAs) -> Result<Vec<String>, Rule> {
    check_as_received(path)?;
    let mut all = vec![uppercase_escapes(path)];
    let mut bytes = path.len();
    let mut next = 0;
    while let Some(reading) = all.get(next).cloned() {
        next += 1;
        for other in steps(&reading, encoded)? {
            if all.contains(&other) {
                continue;
            }
            bytes += other.len();
            all.push(other);
            if all.len() > MOST || bytes > MOST_BYTES {
                return Err(Rule::TooMany);
            }
        }
    }
    Ok(all)
}

/// What one more step of some server makes of a reading: each step by itself, since servers take them in any order and
/// leave out any of them.
fn steps(reading: &str, encoded: EncodedAs) -> Result<Vec<String>, Rule> {
    let decoded = match encoded {
        EncodedAs::Text => [decode(reading, b"/\\")?, None],
        // A `\` that is decoded and then not taken for a separator needs no third form: no route's segment holds one.
        EncodedAs::Either => [decode(reading, b"/")?, decode(reading, b"")?],
    };
    let steps = [
        reading.contains('\\').then(|| reading.replace('\\', "/")),
        reading.contains(';').then(|| each_segment(reading, |segment| segment.split(';').next().unwrap_or_default())),
        reading.find('?').map(|end| reading[..end].to_owned()),
        reading.find('#').map(|end| reading[..end].to_owned()),
        reading.contains("//").then(|| merge_slashes(reading)),
        without_authority(reading),
        reading.contains(['.', ' ']).then(|| each_segment(reading, without_trailing_dots_and_spaces)),
        resolve_dot_segments(reading)?,
    ];
    Ok(decoded.into_iter().chain(steps).flatten().collect())
}

fn check_as_received(path: &str) -> Result<(), Rule> {
    if !path.starts_with('/') {
        return Err(Rule::NotAbsolute);
    }
    let bytes = path.as_bytes();
    for (place, byte) in bytes.iter().enumerate() {
        match byte {
            ..=0x1f | 0x7f => return Err(Rule::Control),
            0x80.. => return Err(Rule::NotAscii),
            b'\\' | b' ' | b'?' | b'#' => return Err(Rule::Raw),
            b'%' if escape(&bytes[place..]).is_none() => return Err(Rule::BadEscape),
            _ => {}
        }
    }
    Ok(())
}

/// The byte that `%XX` at the beginning of `text` stands for.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn uppercase_escapes(path: &str) -> String {
    let mut digits = 0;
    let upper = |c: char| {
        let of_an_escape = digits > 0;
        digits = if c == '%' { 2 } else { i32::max(digits - 1, 0) };
        if of_an_escape { c.to_ascii_uppercase() } else { c }
    };
    path.chars().map(upper).collect()
}

/// One round of percent-decoding, of all but `kept`. A `%` that is no escape stays: it can only have come out of an
/// earlier round, and decoders leave it alone or refuse it. `None` when nothing changes.
fn decode(reading: &str, kept: &[u8]) -> Result<Option<String>, Rule> {
    if !reading.contains('%') {
        return Ok(None);
    }
    let bytes = reading.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while let Some(&byte) = bytes.get(place) {
        match escape(&bytes[place..]) {
            Some(0..=0x1f | 0x7f) => return Err(Rule::Control),
            Some(meant) if !kept.contains(&meant) => {
                decoded.push(meant);
                place += 3;
            }
            _ => {
                decoded.push(byte);
                place += 1;
            }
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| Rule::NotUtf8)?;
    Ok((decoded != reading).then_some(decoded))
}

fn each_segment(reading: &str, change: impl Fn(&str) -> &str) -> String {
    let mut changed = String::with_capacity(reading.len());
    for (place, segment) in reading.split('/').enumerate() {
        if place > 0 {
            changed.push('/');
        }
        changed.push_str(change(segment));
    }
    changed
}

fn merge_slashes(reading: &str) -> String {
    let mut before = ' ';
    let mut merged = reading.to_owned();
    merged.retain(|c| {
        let repeats = c == '/' && before == '/';
        before = c;
        !repeats
    });
    merged
}

/// What begins with `//` is a host and then a path to whoever reads the target as a reference (RFC 3986, section 4.2), as
/// `new URL(target, base)` does; the WHATWG's URLs take any number of slashes for two.
fn without_authority(reading: &str) -> Option<String> {
    let rest = reading.strip_prefix("//")?.trim_start_matches('/');
    Some(rest.find('/').map_or("/", |place| &rest[place..]).to_owned())
}

/// As Windows does. A dot segment stays one, also with spaces behind it.
fn without_trailing_dots_and_spaces(segment: &str) -> &str {
    match segment.trim_end_matches(' ') {
        dots @ ("." | "..") => dots,
        _ => segment.trim_end_matches(['.', ' ']),
    }
}

/// RFC 3986, section 5.2.4, but that going above the root is an error. `None` when there are no dot segments.
fn resolve_dot_segments(reading: &str) -> Result<Option<String>, Rule> {
    let segments = || reading.split('/').skip(1);
    if !segments().any(|segment| matches!(segment, "." | "..")) {
        return Ok(None);
    }
    let mut kept = Vec::new();
    let mut open = false;
    for segment in segments() {
        open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop().ok_or(Rule::AboveRoot)?),
            _ => kept.push(segment),
        }
    }
    // What a dot segment at the end leads to is a folder.
    let end = if open && !kept.is_empty() { "/" } else { "" };
    Ok(Some(format!("/{}{end}", kept.join("/"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Vec<String> {
        let mut all = readings(path, EncodedAs::Either).unwrap();
        all[1..].sort();
        all
    }

    #[test]
    fn plain_paths_have_one_reading() {
        for path in ["/", "/a", "/a/b.html", "/A/~b/@c:1,2;"].map(|path| path.trim_end_matches(';')) {
            assert!(is_plain(path), "{path}");
            assert_eq!(of(path), [path]);
        }
    }

    #[test]
    fn a_path_is_called_plain_only_if_it_has_one_reading() {
        let alphabet = ["/", ".", "a", "A", "%61", "%2F", "%", ";", "\\", " ", "?", "#", "é", "\u{7f}", "\t"];
        let mut paths = vec![String::new()];
        for _ in 0..4 {
            let longer = paths.iter().flat_map(|path| alphabet.map(|piece| format!("{path}{piece}")));
            paths = paths.iter().cloned().chain(longer).collect();
        }
        for path in paths {
            if is_plain(&path) {
                assert_eq!(readings(&path, EncodedAs::Either), Ok(vec![path]));
            }
        }
    }

    #[test]
    fn each_trick_is_a_reading() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str])] = &[
            ("/%61", &["/%61", "/a"]),
            ("/%2561", &["/%2561", "/%61", "/a"]),
            ("/a%2fb", &["/a%2Fb", "/a/b"]),
            ("/a%5cb", &["/a%5Cb", "/a/b", "/a\\b"]),
            ("/a;x=1/b;y", &["/a;x=1/b;y", "/a/b"]),
            ("/a%3Fb", &["/a%3Fb", "/a", "/a?b"]),
            ("/a%23b", &["/a%23b", "/a", "/a#b"]),
            ("/a///b", &["/a///b", "/a/b"]),
            ("//a/b", &["//a/b", "/a/b", "/b"]),
            ("///a/b", &["///a/b", "/a/b", "/b"]),
            ("//a", &["//a", "/", "/a"]),
            ("/%5Ca/b", &["/%5Ca/b", "//a/b", "/\\a/b", "/a/b", "/b"]),
            ("/a./b%20", &["/a./b%20", "/a./b ", "/a/b", "/a/b ", "/a/b%20"]),
            ("/a/../b", &["/a/../b", "/b"]),
            ("/a/.", &["/a/.", "/a/"]),
            ("/a/b/..", &["/a/b/..", "/a/"]),
            ("/a//../b", &["/a//../b", "/a/../b", "/a/b", "/b"]),
            ("/a/..;/b", &["/a/..;/b", "/a/../b", "/b"]),
            ("/100%25", &["/100%25", "/100%"]),
            ("/caf%c3%a9", &["/caf%C3%A9", "/café"]),
        ];
        for (path, expected) in table {
            assert_eq!(of(path), *expected, "{path}");
        }
    }

    #[test]
    fn an_encoded_separator_can_be_left_alone() {
        assert_eq!(readings("/a%2Fb%5Cc", EncodedAs::Text).unwrap(), ["/a%2Fb%5Cc"]);
        assert_eq!(readings("/%61%2F..%2Fb", EncodedAs::Text).unwrap(), ["/%61%2F..%2Fb", "/a%2F..%2Fb"]);
        assert_eq!(readings("/a%252F", EncodedAs::Text).unwrap(), ["/a%252F", "/a%2F"]);
    }

    #[test]
    fn some_paths_are_refused_on_any_route() {
        #[rustfmt::skip]
        let table: &[(&str, Rule)] = &[
            ("", Rule::NotAbsolute), ("*", Rule::NotAbsolute), ("a", Rule::NotAbsolute),
            ("/a\tb", Rule::Control), ("/%00", Rule::Control), ("/a%1f", Rule::Control), ("/%7F", Rule::Control),
            ("/%2500", Rule::Control), ("/%0d%0a", Rule::Control), ("/\u{7f}", Rule::Control),
            ("/a\\b", Rule::Raw), ("/a b", Rule::Raw), ("/a#b", Rule::Raw), ("/a?b", Rule::Raw),
            ("/é", Rule::NotAscii),
            ("/%", Rule::BadEscape), ("/%4", Rule::BadEscape), ("/%u0061", Rule::BadEscape), ("/%zz", Rule::BadEscape),
            ("/%C3", Rule::NotUtf8), ("/%c0%af", Rule::NotUtf8), ("/%E9t", Rule::NotUtf8), ("/%25FF", Rule::NotUtf8),
            ("/..", Rule::AboveRoot), ("/a/../..", Rule::AboveRoot), ("/%2e%2e/a", Rule::AboveRoot),
            ("/a%2f..%2f..%2fb", Rule::AboveRoot), ("/..;x/a", Rule::AboveRoot), ("/%2E.%20/a", Rule::AboveRoot),
            ("/a//../../b", Rule::AboveRoot),
        ];
        for (path, rule) in table {
            assert_eq!(readings(path, EncodedAs::Either), Err(*rule), "{path:?}");
        }
    }

    #[test]
    fn the_number_of_readings_is_bounded() {
        assert_eq!(readings(&format!("/%{}41", "25".repeat(62)), EncodedAs::Either).unwrap().len(), 64);
        assert_eq!(readings(&format!("/%{}41", "25".repeat(63)), EncodedAs::Either), Err(Rule::TooMany));
        let long = format!("/{}", "a;//b%2Fc.%3Fd%23".repeat(2000));
        assert_eq!(readings(&long, EncodedAs::Either), Err(Rule::TooMany));
    }
}
