//! Floods of HTTP/2 frames end with the connection that they came on, and soon.
//!
//! What they cost the others while they last is measured in `flooded`.

use crate::harness::flood::{FLOODS, Flood, SLOW};
use crate::harness::frames::{
    self, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, RST_STREAM, WINDOW_UPDATE, field,
    fields, frame, get,
};
use crate::harness::{Plan, Town, Visitor};

#[tokio::test]
async fn each_ends_with_the_connection_it_came_on() {
    let town = town().await;
    for Flood { name, most, beginning, step } in FLOODS {
        let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
        let sending = tokio::spawn(async move {
            writer.send(&beginning()).await;
            for steps in (0..most).collect::<Vec<_>>().chunks(10) {
                let steps: Vec<u8> = steps.iter().flat_map(|number| step(*number)).collect();
                if !writer.send(&steps).await {
                    break;
                }
            }
            writer
        });
        assert_eq!(reader.end().await, Some(ENHANCE_YOUR_CALM), "{name}");
        drop(sending.await.unwrap());
    }
    assert_eq!(Visitor::over_http2(town.address()).visit("/public/").await.status, 200);
    // Many more were asked for.
    assert!(town.site.seen().len() < 13 * 200, "{}", town.site.seen().len());
}

/// One whose site is open to all, so that what is not asked of the site is asked of nobody.
async fn town() -> Town {
    Town::planned(Plan::default().routes(&["path = \"/**\"\nsession = \"open\""])).await
}

/// So slowly that each request has come to the site before it is dropped: h2 counts only those that it still holds.
#[tokio::test]
async fn requests_dropped_one_by_one_have_an_end_too() {
    let town = town().await;
    let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
    let (mut dropped, mut reset) = (0, Vec::new());
    'dropping: loop {
        let stream = 2 * dropped + 1;
        let steps = [reset, get(stream, SLOW, &[]), frame(PING, 0, 0, &[0; 8])].concat();
        reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        // It is answered when the request has been handed over.
        writer.send(&steps).await;
        loop {
            let frame = reader.next().await.expect("a word before the end");
            match frame.kind {
                PING => break,
                GOAWAY => break 'dropping assert_eq!(frame.code(), ENHANCE_YOUR_CALM),
                _ => {}
            }
        }
        dropped += 1;
        assert!(dropped < 1_000, "no end to it");
    }
    assert!(dropped > 200, "a user who goes on to another page is no flood: {dropped}");
}

/// A browser that asks for a page with 100 pictures, takes half of them, and goes on to the next page.
#[tokio::test]
async fn who_drops_what_nobody_looks_at_any_more_goes_on() {
    let town = town().await;
    let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
    writer.send(&frame(WINDOW_UPDATE, 0, 0, &[1, 0, 0, 0])).await;
    for page in 0..10 {
        let streams: Vec<u32> = (0..100).map(|number| (page * 100 + number) * 2 + 1).collect();
        for (number, stream) in streams.iter().enumerate() {
            let path = if number < 50 { "/public/picture" } else { SLOW };
            writer.send(&get(*stream, path, &[])).await;
            writer.send(&frame(WINDOW_UPDATE, 0, *stream, &[0, 16, 0, 0])).await;
        }
        for _ in 0..50 {
            reader.wait_for(|frame| matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0).await;
        }
        for stream in &streams[50..] {
            writer.send(&frame(RST_STREAM, 0, *stream, &[0, 0, 0, 8])).await;
        }
    }
    writer.send(&get(10_001, "/public/", &[])).await;
    reader.wait_for(|frame| frame.stream == 10_001 && frame.kind == HEADERS).await;
}

/// A field of 4,000 bytes that is said once, and named 15,000 times with a byte each.
#[tokio::test]
async fn a_head_that_unpacks_to_sixty_megabytes_is_refused_and_no_more() {
    let town = town().await;
    let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
    // Its length is 127 and 3,873 more, by 7 bits each (RFC 7541, section 5.1).
    let mut said_once = vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e];
    said_once.extend([b'y'; 4_000]);
    writer.send(&get(1, "/public/", &said_once)).await;
    let answer = reader.wait_for(|frame| frame.stream == 1 && frame.kind == HEADERS).await;
    assert_eq!(answer.payload[0], 0x88, "200, as HPACK's static table has it");
    for stream in [3, 5, 7] {
        // 36 KB are more than is allowed, and a mistake that may happen.
        writer.send(&get(stream, "/public/", &[0xbe; 9])).await;
        let answer = reader.wait_for(|frame| frame.stream == stream).await;
        assert!(answer.kind == HEADERS && answer.payload[0] != 0x88, "{answer:?}");
    }
    writer.send(&get(9, "/public/", &[])).await;
    assert_eq!(reader.wait_for(|frame| frame.stream == 9 && frame.kind == HEADERS).await.payload[0], 0x88);
    writer.send(&get(11, "/public/", &[0xbe; 15_000])).await;
    assert_eq!(reader.end().await, Some(ENHANCE_YOUR_CALM));
    assert_eq!(town.site.seen().len(), 2);
}

/// What RFC 9113, section 8.3.1, says of pseudo-header fields, and 8.2 of the others: the stream ends and no more, and
/// the site hears nothing of it.
#[tokio::test]
async fn heads_that_break_the_rules_are_reset_or_refused() {
    let town = town().await;
    let good = fields(0x82, "/public/", &[]);
    let with = |more: &[u8]| [&good[..], more].concat();
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("two methods", with(&[0x82])),
        ("two paths", with(&[0x84])),
        ("two schemes", with(&[0x86])),
        ("two authorities", with(&[0x01, 1, b'a'])),
        ("no method", good[1..].to_vec()),
        ("no scheme", [&good[..1], &good[2..]].concat()),
        ("no path", [&good[..2], &[0x01, 1, b'a']].concat()),
        ("an empty path", fields(0x82, "", &[])),
        ("a path that is none", fields(0x82, "public", &[])),
        ("a status", with(&[0x88])),
        ("a pseudo field that nobody knows", with(&field(":x", "y"))),
        ("a pseudo field behind another", [&good[..3], &field("x", "y"), &good[3..]].concat()),
        ("capitals", with(&field("X", "y"))),
        ("an empty name", with(&field("", "y"))),
        ("a space in a name", with(&field("a b", "y"))),
        ("a line end in a value", with(&field("x", "y\r\nz: a"))),
        ("a NUL in a value", with(&field("x", "y\0"))),
        ("connection", with(&field("connection", "close"))),
        ("transfer-encoding", with(&field("transfer-encoding", "chunked"))),
        ("upgrade", with(&field("upgrade", "websocket"))),
        ("keep-alive", with(&field("keep-alive", "1"))),
        ("proxy-connection", with(&field("proxy-connection", "close"))),
        ("te, not trailers", with(&field("te", "gzip"))),
        ("another host", with(&field("host", "elsewhere"))),
        ("two hosts", with(&[field("host", "localhost"), field("host", "localhost")].concat())),
        ("a length that is none", with(&field("content-length", "1x"))),
        ("two lengths", with(&[field("content-length", "0"), field("content-length", "1")].concat())),
        ("a body that does not come", with(&field("content-length", "5"))),
    ];
    let mut passed = Vec::new();
    for (name, block) in wrong {
        let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
        writer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
        let answer = reader.wait_for(|frame| frame.stream == 1 || frame.kind == GOAWAY).await;
        if answer.kind == HEADERS && answer.payload[0] == 0x88 {
            passed.push(name);
        }
    }
    assert_eq!(passed, Vec::<&str>::new());
    assert_eq!(town.site.seen().len(), 0);
}

/// Also those that h2 does not look at: they are the HTTP/1 message's at the site.
#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_said_never_looks_whole() {
    let town = town().await;
    for (said, sent) in [("3", "four"), ("5", "four")] {
        let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
        let block = fields(0x83, "/public/", &field("content-length", said));
        writer.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        writer.send(&frame(DATA, END_STREAM, 1, sent.as_bytes())).await;
        let answer = reader.wait_for(|frame| frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)).await;
        assert!(answer.kind == RST_STREAM || answer.payload[0] != 0x88, "{said}: {answer:?}");
    }
}

#[tokio::test]
async fn cookies_in_crumbs_arrive_as_one_field() {
    let town = town().await;
    let (mut reader, mut writer) = frames::connect(town.address(), &[]).await;
    let crumbs: Vec<u8> = (0..150).flat_map(|number| field("cookie", &format!("c{number}=v"))).collect();
    writer.send(&get(1, "/public/", &crumbs)).await;
    let answer = reader.wait_for(|frame| frame.stream == 1 && frame.kind == HEADERS).await;
    assert_eq!(answer.payload[0], 0x88);
    let seen = town.site_saw();
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!(cookies[0].to_str().unwrap().split("; ").count(), 150);
}
