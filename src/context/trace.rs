//! The trace that a request belongs to, by W3C Trace Context: taken over from the client's side, or begun here.
//!
//! Nothing here makes a span: what reports none must not put an id of its own into the chain, where it would be a parent
//! that nobody has ever heard of. So a parent that came is passed on as it is (the standard's section 4.3).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::random::Random;

/// `version-trace_id-parent_id-flags` (section 3.2.1): two, 32, 16 and two digits.
const LENGTH: usize = 55;

/// Where a request stands among all that one visitor's click has set off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    parent: HeaderValue,
    begun: bool,
}

impl Trace {
    /// The field that says it.
    pub const PARENT: HeaderName = HeaderName::from_static("traceparent");

    /// What others have added to the trace, which means nothing without its parent.
    pub const STATE: HeaderName = HeaderName::from_static("tracestate");

    /// The trace that these fields tell of, or a new one where they tell of none.
    #[must_use]
    pub fn of(headers: &HeaderMap, random: &dyn Random) -> Self {
        let mut parents = headers.get_all(Self::PARENT).iter();
        match (parents.next(), parents.next()) {
            (Some(parent), None) if is_parent(parent.as_bytes()) => Self { parent: parent.clone(), begun: false },
            _ => Self::begin(random),
        }
    }

    /// Without the flag that asks for it to be recorded: nobody has decided that yet.
    fn begin(random: &dyn Random) -> Self {
        let mut bytes = [0; 24];
        random.fill(&mut bytes);
        // Neither id may be all zeros, which chance alone does not promise.
        bytes[15] |= 1;
        bytes[23] |= 1;
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&bytes[..16], &mut text[3..35]);
        write_hex(&bytes[16..], &mut text[36..52]);
        Self { parent: HeaderValue::from_bytes(&text).expect("digits and dashes make a value"), begun: true }
    }

    /// The value of `traceparent`.
    #[must_use]
    pub fn parent(&self) -> &HeaderValue {
        &self.parent
    }

    /// Whether it begins here, so that whatever `tracestate` came belongs to none.
    #[must_use]
    pub fn begins_here(&self) -> bool {
        self.begun
    }

    /// The trace's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.parent.to_str().ok().and_then(|parent| parent.get(3..35)).unwrap_or_default()
    }
}

/// Two digits for each byte. Each request has two names of random bytes, and `format!` took 1,000 instructions for each.
pub(super) fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
}

/// Sections 3.2.2 and 4.3: of a version that is newer than ours, what we know of it has to stand at its beginning.
fn is_parent(text: &[u8]) -> bool {
    let Some((known, rest)) = text.split_at_checked(LENGTH) else { return false };
    let is_hex =
        |range: std::ops::Range<usize>| known[range].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |range: std::ops::Range<usize>| known[range].iter().all(|byte| *byte == b'0');
    let version_fits = match &known[..2] {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => rest.first().is_none_or(|next| *next == b'-'),
    };
    let has_dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
    let has_digits = is_hex(0..2) && is_hex(3..35) && is_hex(36..52) && is_hex(53..55);
    version_fits && has_dashes && has_digits && !is_zero(3..35) && !is_zero(36..52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Zeros;

    impl Random for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[test]
    fn every_row_of_what_came() {
        const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        #[rustfmt::skip]
        let table: &[(&[&str], bool)] = &[
            (&[GOOD],                                                         true),
            (&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"],    true),
            (&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],    true),
            (&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-new"], true),
            (&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01new"], false),
            (&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-new"], false),
            (&["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],    false),
            (&["00-00000000000000000000000000000000-b7ad6b7169203331-01"],    false),
            (&["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],    false),
            (&["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"],    false),
            (&["00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01"],     false),
            (&["00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],    false),
            (&["00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01"],    false),
            (&["0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],    false),
            (&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"],     false),
            (&[GOOD, GOOD],                                                   false),
            (&[""],                                                           false),
            (&[],                                                             false),
        ];
        for (values, passes) in table {
            let mut headers = HeaderMap::new();
            headers.extend(values.iter().map(|value| (Trace::PARENT, value.parse().unwrap())));
            let trace = Trace::of(&headers, &Zeros);
            assert_eq!(!trace.begins_here(), *passes, "{values:?}");
            if *passes {
                assert_eq!((trace.parent().to_str().unwrap(), trace.id()), (values[0], &values[0][3..35]));
            }
        }
    }

    #[test]
    fn one_that_begins_here_is_valid_and_asks_for_nothing() {
        let trace = Trace::of(&HeaderMap::new(), &Zeros);
        assert!(is_parent(trace.parent().as_bytes()), "also where chance gives zeros alone");
        assert_eq!(trace.parent(), "00-00000000000000000000000000000001-0000000000000001-00");
        let other = Trace::of(&HeaderMap::new(), &crate::random::SystemRandom);
        assert!(is_parent(other.parent().as_bytes()) && other.id() != trace.id());
    }
}
