//! Headers of the PROXY protocol: what is taken for one ends where it says, is bounded, and is the same however it comes.

#![no_main]

use guestpass::server::Announcement;
use libfuzzer_sys::fuzz_target;

/// As much as a header can have: a v2 one with 4 KiB of extensions.
const LONGEST: usize = 16 + 4 * 1024;

fuzz_target!(|input: &[u8]| {
    let length = match Announcement::read(input) {
        Ok(Announcement::Client { length, .. } | Announcement::Itself { length }) => length,
        Ok(Announcement::More) => return assert!(input.len() < LONGEST, "more than any header has is waited for"),
        Ok(Announcement::No) | Err(_) => return,
    };
    assert!((1..=input.len().min(LONGEST)).contains(&length), "{length} of {}", input.len());
    let whole = Announcement::read(input);
    assert_eq!(Announcement::read(&input[..length]), whole, "what follows counts for nothing");
    for cut in 0..length {
        assert_eq!(Announcement::read(&input[..cut]), Ok(Announcement::More), "cut after {cut} bytes");
    }
});
