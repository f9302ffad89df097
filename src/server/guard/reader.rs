//! Where one request ends and the next begins, by rules without tolerance: a pure reader of bytes.
//!
//! Heads are read by httparse, as hyper does it behind us, so that both see the same fields; what stands here is what
//! the two let pass. Everything that could be read in two ways is refused, whatever RFC 9112 would allow a recipient to
//! make of it: two servers in a row do not make the same of it.

use std::mem::MaybeUninit;

use http::{Method, Uri, Version};
use httparse::{Error, Header, Request, Status};

use super::chunks::{Chunks, is_token};
use crate::context::{Malformed, Rule};

/// Fields that are read on the stack: as many as hyper reads there.
const FIELDS_ON_STACK: usize = 100;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes, with the empty line.
    pub head: usize,
    /// Fields.
    pub fields: usize,
}

/// Follows the requests of one connection.
#[derive(Clone, Debug)]
pub struct Reader {
    bounds: Bounds,
    state: State,
    /// Whether the request wishes for another protocol behind it.
    upgrade: bool,
    /// How much of a head was there when it was last looked at and not whole.
    looked_at: usize,
}

#[derive(Clone, Debug)]
enum State {
    Head,
    Length(u64),
    Chunks(Chunks),
}

/// Why the reader goes no further than it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It needs more bytes. What it did not pass is the beginning of a head, to be shown again with more behind it.
    More,
    /// A request ended that asked for another protocol: whether what follows is HTTP is for its answer to say.
    Upgrade,
    /// What follows is no request.
    Head(Malformed),
    /// What follows is no rest of the request's body.
    Body(Rule),
}

impl Reader {
    /// At the beginning of a connection.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, state: State::Head, upgrade: false, looked_at: 0 }
    }

    /// Whether the request under way, whose head was passed, wishes for another protocol behind it.
    #[must_use]
    pub const fn wishes(&self) -> bool {
        self.upgrade
    }

    /// How many of `bytes` are good to be passed on, and why no more are. `bytes` begins with the first one that was not
    /// passed before. A head is passed as a whole.
    pub fn read(&mut self, bytes: &[u8]) -> (usize, Stop) {
        let mut passed = 0;
        while passed < bytes.len() {
            let rest = &bytes[passed..];
            let ended = match &mut self.state {
                State::Head => match self.head(rest) {
                    Ok(0) => break,
                    Ok(length) => {
                        passed += length;
                        matches!(self.state, State::Head)
                    }
                    Err(malformed) => return (passed, Stop::Head(*malformed)),
                },
                State::Length(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= step as u64;
                    passed += step;
                    *left == 0
                }
                State::Chunks(chunks) => {
                    let (step, wrong) = chunks.read(rest, self.bounds);
                    passed += step;
                    if let Some(rule) = wrong {
                        return (passed, Stop::Body(rule));
                    }
                    chunks.has_ended()
                }
            };
            if ended {
                self.state = State::Head;
                if std::mem::take(&mut self.upgrade) {
                    return (passed, Stop::Upgrade);
                }
            }
        }
        (passed, Stop::More)
    }

    /// The length of the head that `bytes` begins with, 0 when it is not whole yet.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Box<Malformed>> {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 && !b"\r\n".starts_with(&bytes[..blank]) {
            return Err(malformed(Rule::BlankLines, None));
        }
        let is_small = bytes.len() < self.bounds.head;
        // Parsing again what is still the same line would cost a slow client nothing, and us its square. So what is wrong
        // with it may be seen at its end only.
        if self.looked_at > 0 && is_small && !bytes[self.looked_at.min(bytes.len())..].contains(&b'\n') {
            self.looked_at = bytes.len();
            return Ok(0);
        }
        let mut stack = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_ON_STACK];
        let mut heap = Vec::new();
        let fields = stack.get_mut(..self.bounds.fields).unwrap_or_else(|| {
            heap.resize(self.bounds.fields, MaybeUninit::uninit());
            &mut heap
        });
        let mut request = Request::new(&mut []);
        let length = match request.parse_with_uninit_headers(bytes, fields) {
            Ok(Status::Complete(length)) if length <= self.bounds.head => length,
            Ok(Status::Partial) if is_small => {
                self.looked_at = bytes.len();
                return Ok(0);
            }
            Ok(_) => return Err(malformed(Rule::HeadSize, Some(&request))),
            Err(error) => return Err(malformed(rule(error, &request, bytes), Some(&request))),
        };
        self.looked_at = 0;
        // httparse lets no CR pass without its LF, so that an LF without its CR is one CR too few.
        let lines = request.headers.len() + 2 + blank / 2;
        let line_ends = bytes[..length].iter().filter(|byte| **byte == b'\r').count();
        if line_ends != lines {
            return Err(malformed(Rule::LineEnd, Some(&request)));
        }
        match self.framing(&request) {
            Ok(state) => self.state = state,
            Err(rule) => return Err(malformed(rule, Some(&request))),
        }
        Ok(length)
    }

    /// What follows the head.
    fn framing(&mut self, request: &Request<'_, '_>) -> Result<State, Rule> {
        let is_http_11 = request.version == Some(1);
        if request.method.is_some_and(|method| method.len() > Malformed::LONGEST_METHOD) {
            return Err(Rule::MethodSize);
        }
        if !request.path.is_some_and(is_target) {
            return Err(Rule::Target);
        }
        let (mut length, mut chunked) = (None, false);
        for field in &*request.headers {
            match field.name.len() {
                7 if field.name.eq_ignore_ascii_case("upgrade") => self.upgrade = is_http_11,
                14 if field.name.eq_ignore_ascii_case("content-length") => {
                    let before = length.replace(content_length(field.value).ok_or(Rule::Length)?);
                    if before.is_some() {
                        return Err(Rule::SeveralLengths);
                    }
                }
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if !is_http_11 {
                        return Err(Rule::CodingInHttp10);
                    }
                    if std::mem::replace(&mut chunked, true) || !field.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Rule::Coding);
                    }
                }
                _ => {}
            }
        }
        match (length, chunked) {
            (Some(_), true) => Err(Rule::LengthAndCoding),
            (None, true) => Ok(State::Chunks(Chunks::new())),
            (None | Some(0), false) => Ok(State::Head),
            (Some(length), false) => Ok(State::Length(length)),
        }
    }
}

/// In a box, since it is rare and large.
fn malformed(rule: Rule, request: Option<&Request<'_, '_>>) -> Box<Malformed> {
    let method = request.and_then(|request| request.method);
    let method = method.filter(|method| method.len() <= Malformed::LONGEST_METHOD);
    let method = method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let target = request.and_then(|request| request.path?.parse::<Uri>().ok());
    let is_http_10 = request.is_some_and(|request| request.version == Some(0));
    let version = if is_http_10 { Version::HTTP_10 } else { Version::HTTP_11 };
    Box::new(Malformed { rule, method, target, version })
}

fn content_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse::<i64>().ok().and_then(|length| u64::try_from(length).ok())
}

/// A path and query in characters of RFC 3986, or with those that browsers send beside them (the URL standard's
/// percent-encode sets): `|` and its like, and in the query `\` too. `#` would be cut off unseen (RFC 9110, section 4.2.5:
/// it is never sent), a `\` is read as `/` by some. The other forms of RFC 9112, section 3.2, are rare, and whether they
/// may come is said where hosts are judged.
fn is_target(target: &str) -> bool {
    if !target.starts_with('/') {
        return is_in(target, OTHER) && target.parse::<Uri>().is_ok();
    }
    match target.find('?') {
        None => is_in(target, PATH),
        Some(at) => is_in(&target[..at], PATH) && is_in(&target[at + 1..], QUERY),
    }
}

fn is_in(text: &str, class: u8) -> bool {
    text.bytes().all(|byte| CHARACTERS[usize::from(byte)] & class != 0)
}

const PATH: u8 = 1;
const QUERY: u8 = 2;
const OTHER: u8 = 4;

/// Which character may stand where.
static CHARACTERS: [u8; 256] = {
    let mut characters = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        characters[byte] = match byte as u8 {
            b'#' | b'<' | b'>' => 0,
            b'\\' | b'`' | b'^' => QUERY,
            b'"' => PATH,
            b'?' => QUERY | OTHER,
            _ => PATH | QUERY | OTHER,
        };
        byte += 1;
    }
    characters
};

/// What httparse found, in our words: its own stand for more than one thing each.
fn rule(error: Error, request: &Request<'_, '_>, bytes: &[u8]) -> Rule {
    match error {
        Error::Token if request.method.is_none() => Rule::Method,
        Error::Token => Rule::Target,
        Error::Version | Error::Status => Rule::Version,
        Error::NewLine => Rule::LineEnd,
        Error::HeaderValue => Rule::FieldValue,
        Error::TooManyHeaders => Rule::FieldCount,
        Error::HeaderName => field_name(bytes),
    }
}

/// What is wrong with the first field name that is none.
fn field_name(bytes: &[u8]) -> Rule {
    let lines = bytes.split(|byte| *byte == b'\n').skip_while(|line| line.trim_ascii().is_empty()).skip(1);
    for line in lines {
        match line.iter().position(|byte| !is_token(*byte)).map(|at| (at, line[at])) {
            Some((0, b' ' | b'\t')) => return Rule::Fold,
            Some((_, b' ' | b'\t')) => return Rule::SpaceBeforeColon,
            Some((1.., b':')) => {}
            Some(_) | None => break,
        }
    }
    Rule::FieldName
}

#[cfg(test)]
mod tests;
