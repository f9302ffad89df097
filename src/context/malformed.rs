//! A request that is no HTTP: the rule that it broke, and what of it is certain all the same.
//!
//! `server` finds these before there is a request that a layer could look at; whoever answers them needs no more than
//! this.

use http::{Method, Uri, Version};

/// A request that never became one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong with it.
    pub rule: Rule,
    /// Its method, where its first line got so far and it is none that nobody has.
    pub method: Option<Method>,
    /// Its target, where there was one that can be read.
    pub target: Option<Uri>,
    /// The HTTP that its connection speaks.
    pub version: Version,
}

impl Malformed {
    /// Bytes of a method: twice as long as the longest that is registered (`UPDATEREDIRECTREF`). What is longer is said to
    /// fill somebody's log, or to find out what a server makes of it.
    pub const LONGEST_METHOD: usize = 32;
}

/// What a request's bytes must keep to. The words are what the access log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    /// RFC 9112, section 2.2, has a server skip one empty line in front of a request; more are no client's slip.
    #[error("empty lines before the request")]
    BlankLines,
    /// RFC 9110, section 9.1: a token, and one space behind it.
    #[error("a method that is no token")]
    Method,
    /// RFC 9112, section 3, would have 501; but no server behind us has such a method either.
    #[error("a method that is too long to be one")]
    MethodSize,
    /// RFC 9112, section 3.2, in the characters of RFC 3986 and what browsers leave beside them.
    #[error("a target with characters that it cannot have")]
    Target,
    /// RFC 9112, section 2.3. A space in the target ends up here too.
    #[error("no HTTP/1.1 or HTTP/1.0 behind the target")]
    Version,
    /// RFC 9112, section 2.2: a line ends with CRLF, and neither of the two stands alone.
    #[error("a line that does not end with CRLF")]
    LineEnd,
    /// RFC 9112, section 5.2: a line that goes on with the one before it, or a space before the first field.
    #[error("a folded line")]
    Fold,
    /// RFC 9112, section 5.1: the space may be part of the name to one server and not to another.
    #[error("a space before the colon of a field")]
    SpaceBeforeColon,
    /// RFC 9110, section 5.1: a field's name is a token.
    #[error("a field name that is no token")]
    FieldName,
    /// RFC 9110, section 5.5: NUL, CR, LF and other controls have no place in a value.
    #[error("a field value with a control character")]
    FieldValue,
    /// RFC 9110, section 8.6: digits, and a number below 2^63, since many servers count with a sign.
    #[error("a Content-Length that is no number")]
    Length,
    /// RFC 9112, section 6.3, allows a recipient to make one of several that agree. None is sent by mistake.
    #[error("more than one Content-Length")]
    SeveralLengths,
    /// RFC 9112, section 6.1: "ought to handle such a message as an error".
    #[error("Content-Length beside Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112, section 6.1: we know `chunked`, once.
    #[error("a Transfer-Encoding other than chunked")]
    Coding,
    /// RFC 9112, section 6.1: HTTP/1.0 has none, so somebody in between did not understand it.
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingInHttp10,
    /// RFC 9112, section 7.1: hexadecimal digits.
    #[error("a chunk size that is no number")]
    ChunkSize,
    /// RFC 9112, section 7.1.1: they mean nothing to anybody, and must not cost anything either.
    #[error("chunk extensions that are too long or no text")]
    ChunkExtension,
    /// RFC 9112, section 7.1: CRLF behind a chunk's size and behind its data.
    #[error("a chunk that does not end with CRLF")]
    ChunkEnd,
    /// RFC 9112, section 7.1.2: the lines of trailers are those of fields.
    #[error("trailers that are no fields")]
    Trailers,
    /// The head, or the trailers, are larger than `limits.header_size`.
    #[error("limits.header_size")]
    HeadSize,
    /// The head, or the trailers, have more fields than `limits.headers`.
    #[error("limits.headers")]
    FieldCount,
    /// The client has closed its side in the middle of a head.
    #[error("a head that broke off")]
    Unfinished,
}
