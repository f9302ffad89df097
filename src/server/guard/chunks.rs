//! A chunked body, byte by byte where its framing is and by the length where its data is.
//!
//! Nothing is decoded: it only finds the end, and refuses what two readers could see differently.

use super::reader::Bounds;
use crate::context::Rule;

/// Digits of a chunk's size: as many as 64 bits have, zeros in front included.
const DIGITS: u8 = 16;

/// Bytes of chunk extensions in a body. No client of a site sends any; hyper would stop at twice as many.
const EXTENSIONS: usize = 8 * 1024;

/// How far a body has come.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    at: At,
    /// What is left of the chunk, or what its size has come to.
    size: u64,
    digits: u8,
    extensions: usize,
    trailer_bytes: usize,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The start of a line of the trailers, or of the empty one that ends them.
    Line,
    Name,
    Value,
    LineLf,
    LastLf,
    End,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { at: At::Size, size: 0, digits: 0, extensions: 0, trailer_bytes: 0, trailers: 0 }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.at == At::End
    }

    /// How many of `bytes` are the body's, and what is wrong with the one behind them, if it is not over or out of
    /// bytes there.
    pub(super) fn read(&mut self, bytes: &[u8], bounds: Bounds) -> (usize, Option<Rule>) {
        let mut read = 0;
        while read < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                let step = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - read);
                self.size -= step as u64;
                read += step;
                self.at = if self.size == 0 { At::DataCr } else { At::Data };
                continue;
            }
            match self.step(bytes[read], bounds) {
                Ok(at) => self.at = at,
                Err(rule) => return (read, Some(rule)),
            }
            read += 1;
        }
        (read, None)
    }

    fn step(&mut self, byte: u8, bounds: Bounds) -> Result<At, Rule> {
        match (self.at, byte) {
            (At::Size, _) => self.size_line(byte),
            (At::Extension, b'\r') => Ok(At::SizeLf),
            (At::Extension, _) if self.extensions < EXTENSIONS && is_text(byte) => {
                self.extensions += 1;
                Ok(At::Extension)
            }
            (At::Extension, _) => Err(Rule::ChunkExtension),
            (At::SizeLf, b'\n') if self.size == 0 => Ok(At::Line),
            (At::SizeLf, b'\n') => Ok(At::Data),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => {
                self.digits = 0;
                Ok(At::Size)
            }
            (At::SizeLf | At::DataCr | At::DataLf, _) => Err(Rule::ChunkEnd),
            _ => self.trailer(byte, bounds),
        }
    }

    /// Without the white space that RFC 9112, section 7.1.1, would have us skip: nobody sends it but those who look for
    /// a server that reads another number.
    fn size_line(&mut self, byte: u8) -> Result<At, Rule> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) if self.digits < DIGITS => {
                self.digits += 1;
                // Data leaves no rest, so a size begins at 0.
                self.size = self.size << 4 | u64::from(digit);
                Ok(At::Size)
            }
            (None, b'\r') if self.digits > 0 => Ok(At::SizeLf),
            (None, b';') if self.digits > 0 => Ok(At::Extension),
            _ => Err(Rule::ChunkSize),
        }
    }

    fn trailer(&mut self, byte: u8, bounds: Bounds) -> Result<At, Rule> {
        self.trailer_bytes += 1;
        if self.trailer_bytes >= bounds.head {
            return Err(Rule::HeadSize);
        }
        match (self.at, byte) {
            (At::Line, b'\r') => Ok(At::LastLf),
            (At::LastLf, b'\n') => Ok(At::End),
            (At::Line, _) if is_token(byte) => {
                self.trailers += 1;
                if self.trailers > bounds.fields { Err(Rule::FieldCount) } else { Ok(At::Name) }
            }
            (At::Name, b':') => Ok(At::Value),
            (At::Name, _) if is_token(byte) => Ok(At::Name),
            (At::Value, b'\r') => Ok(At::LineLf),
            (At::Value, _) if is_text(byte) => Ok(At::Value),
            (At::LineLf, b'\n') => Ok(At::Line),
            _ => Err(Rule::Trailers),
        }
    }
}

/// RFC 9110, section 5.5: what a field's value consists of.
const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// RFC 9110, section 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}
