//! Addresses as text, without an allocation. Each request needs its client's three times or more, and `fmt` takes some
//! 1,000 instructions for one.

use std::fmt::{self, Write};
use std::net::IpAddr;

/// The longest is an IPv6 address with an IPv4 address at its end.
const LONGEST: usize = 45;

/// An address as it is written (RFC 5952 for IPv6).
#[derive(Clone, Copy)]
pub struct Spelt {
    text: [u8; LONGEST],
    length: usize,
}

impl Spelt {
    /// Writes it.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        let mut this = Self { text: [0; LONGEST], length: 0 };
        match address {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        this.push(b'.');
                    }
                    this.push_number(octet);
                }
            }
            IpAddr::V6(address) => write!(this, "{address}").expect("there is room for the longest"),
        }
        this
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).expect("digits, dots and colons are ASCII")
    }

    fn push(&mut self, byte: u8) {
        self.text[self.length] = byte;
        self.length += 1;
    }

    fn push_number(&mut self, number: u8) {
        if number >= 100 {
            self.push(b'0' + number / 100);
        }
        if number >= 10 {
            self.push(b'0' + number / 10 % 10);
        }
        self.push(b'0' + number % 10);
    }
}

impl Write for Spelt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

impl fmt::Debug for Spelt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_the_standard_library_writes(four in any::<[u8; 4]>(), six in any::<[u16; 8]>(), mapped in any::<[u8; 4]>()) {
            let mapped = std::net::Ipv4Addr::from(mapped).to_ipv6_mapped();
            for address in [IpAddr::from(four), IpAddr::from(six), IpAddr::from(mapped)] {
                let spelt = Spelt::new(address);
                prop_assert_eq!(spelt.as_str(), address.to_string());
            }
        }
    }

    #[test]
    fn the_longest_fits() {
        let longest: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        assert_eq!(Spelt::new(longest).as_str().len(), 39);
        assert_eq!(Spelt::new("::ffff:255.255.255.255".parse().unwrap()).as_str(), "::ffff:255.255.255.255");
        assert_eq!(Spelt::new([0, 9, 10, 100].into()).as_str(), "0.9.10.100");
    }
}
