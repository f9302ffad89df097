//! A line in JSON, member by member. Their names are part of the interface: one is added, none is renamed.
//!
//! It is written by hand, since serde looks at each byte of the names too, which are known to need no escaping: half of
//! what a line cost was that.

use std::time::Duration;

/// An object, written to the end of a buffer.
pub(super) struct Object<'b> {
    buffer: &'b mut Vec<u8>,
    begun: bool,
}

impl<'b> Object<'b> {
    pub(super) fn new(buffer: &'b mut Vec<u8>) -> Self {
        buffer.push(b'{');
        Self { buffer, begun: false }
    }

    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        // RFC 8259, section 7. The path and a reason may hold anything; what has to be escaped is serde's to say.
        let plain = value.bytes().fold(true, |plain, byte| plain & (byte >= 0x20 && byte != b'"' && byte != b'\\'));
        if plain {
            self.buffer.push(b'"');
            self.buffer.extend_from_slice(value.as_bytes());
            self.buffer.push(b'"');
        } else {
            serde_json::to_writer(&mut *self.buffer, value).expect("text is always JSON, and a Vec takes it");
        }
    }

    pub(super) fn any_text(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        self.name(name);
        self.digits(value, 1);
    }

    /// Three places are as fine as a log needs to be.
    pub(super) fn milliseconds(&mut self, name: &'static str, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.name(name);
        self.digits(micros / 1_000, 1);
        self.buffer.push(b'.');
        self.digits(micros % 1_000, 3);
    }

    pub(super) fn yes(&mut self, name: &'static str) {
        self.name(name);
        self.buffer.extend_from_slice(b"true");
    }

    pub(super) fn end(self) {
        self.buffer.push(b'}');
    }

    fn name(&mut self, name: &'static str) {
        if std::mem::replace(&mut self.begun, true) {
            self.buffer.push(b',');
        }
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b"\":");
    }

    fn digits(&mut self, mut number: u64, least: usize) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while number > 0 || digits.len() - first < least {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.buffer.extend_from_slice(&digits[first..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn whatever_it_holds_it_is_what_serde_reads(text in any::<String>(), number in any::<u64>(), micros in 0..1_u64 << 50) {
            let mut buffer = b"before\n".to_vec();
            let mut object = Object::new(&mut buffer);
            object.text("text", &text);
            object.any_text("none", None);
            object.number("number", number);
            object.milliseconds("ms", Duration::from_micros(micros));
            object.yes("cut");
            object.end();
            let read: Value = serde_json::from_slice(&buffer[7..]).unwrap();
            let expected = json!({ "text": text, "number": number, "ms": micros as f64 / 1_000.0, "cut": true });
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn numbers_have_all_of_their_digits() {
        let mut buffer = Vec::new();
        let mut object = Object::new(&mut buffer);
        for number in [0, 10, u64::MAX] {
            object.number("n", number);
        }
        object.milliseconds("ms", Duration::from_micros(1_020));
        object.end();
        assert_eq!(buffer, br#"{"n":0,"n":10,"n":18446744073709551615,"ms":1.020}"#);
    }
}
