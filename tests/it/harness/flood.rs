//! The floods that are known of HTTP/2, each a connection's beginning and a step to be taken again and again.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields,
    frame, get, post,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) name: &'static str,
    /// After how many steps at most the connection has ended.
    pub(crate) most: u32,
    pub(crate) beginning: fn() -> Vec<u8>,
    pub(crate) step: fn(u32) -> Vec<u8>,
}

/// A site's page that takes longer to answer than any test takes.
pub(crate) const SLOW: &str = "/slow?ms=60000";

/// The stream of a step, where each opens one.
fn stream(step: u32) -> u32 {
    2 * step + 1
}

fn on_itself(stream: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat())
}

fn nothing() -> Vec<u8> {
    Vec::new()
}

pub(crate) const FLOODS: [Flood; 13] = [
    Flood { name: "PING", most: 1_100, beginning: nothing, step: |_| frame(PING, 0, 0, &[0; 8]) },
    Flood { name: "SETTINGS", most: 1_100, beginning: nothing, step: |_| frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]) },
    Flood { name: "PRIORITY", most: 1_100, beginning: nothing, step: |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]) },
    Flood {
        name: "WINDOW_UPDATE",
        most: 1_100,
        beginning: nothing,
        step: |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    },
    Flood { name: "a type that nobody knows", most: 1_100, beginning: nothing, step: |_| frame(0xbe, 0, 0, b"grease") },
    Flood { name: "PING that nobody sent", most: 1_100, beginning: nothing, step: |_| frame(PING, 1, 0, &[0; 8]) },
    Flood { name: "empty DATA", most: 1_100, beginning: || post(1, "/body"), step: |_| frame(DATA, 0, 1, &[]) },
    // Each byte of it is padding.
    Flood {
        name: "padded DATA",
        most: 1_100,
        beginning: || post(1, "/body"),
        step: |_| frame(DATA, 8, 1, &[3, 0, 0, 0]),
    },
    Flood {
        name: "CONTINUATION",
        most: 100,
        beginning: || frame(HEADERS, 0, 1, &fields(0x82, "/", &[])),
        step: |_| frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y']),
    },
    Flood {
        name: "rapid reset",
        most: 400,
        beginning: nothing,
        step: |step| [get(stream(step), SLOW, &[]), frame(RST_STREAM, 0, stream(step), &[0, 0, 0, 8])].concat(),
    },
    Flood {
        name: "made you reset, by a window beyond its bounds",
        most: 400,
        beginning: nothing,
        step: |step| {
            [get(stream(step), SLOW, &[]), frame(WINDOW_UPDATE, 0, stream(step), &[0x7f, 0xff, 0xff, 0xff])].concat()
        },
    },
    Flood {
        name: "made you reset, by a stream that depends on itself",
        most: 400,
        beginning: nothing,
        step: |step| [get(stream(step), SLOW, &[]), on_itself(stream(step))].concat(),
    },
    Flood {
        name: "more streams than are allowed",
        most: 400,
        beginning: nothing,
        step: |step| frame(HEADERS, END_HEADERS | END_STREAM, stream(step), &fields(0x82, SLOW, &[])),
    },
];
