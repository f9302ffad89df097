use super::*;

const BOUNDS: Bounds = Bounds { head: 512, fields: 8 };

/// Everything read at once, and then each way of its coming in two pieces must be read the same.
fn read(bytes: &[u8]) -> (usize, Stop) {
    let whole = Reader::new(BOUNDS).read(bytes);
    for at in 1..bytes.len() {
        let mut reader = Reader::new(BOUNDS);
        let (passed, stop) = reader.read(&bytes[..at]);
        let in_two = if stop == Stop::More {
            let (more, stop) = reader.read(&bytes[passed..]);
            (passed + more, stop)
        } else {
            (passed, stop)
        };
        match (&whole.1, &in_two.1) {
            // What a head says of itself may not have come yet when it is found to be none.
            (Stop::Head(whole), Stop::Head(in_two)) => assert_eq!(whole.rule, in_two.rule, "split at {at}"),
            _ => assert_eq!(whole, in_two, "split at {at}"),
        }
        assert_eq!(whole.0, in_two.0, "split at {at}");
    }
    whole
}

fn rule_of(bytes: &[u8]) -> Option<Rule> {
    match read(bytes).1 {
        Stop::Head(malformed) => Some(malformed.rule),
        Stop::Body(rule) => Some(rule),
        Stop::More | Stop::Upgrade => None,
    }
}

#[test]
fn a_head_is_taken_by_the_rules_alone() {
    #[rustfmt::skip]
    let table: &[(&str, Option<Rule>)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n",                            None),
        ("GET / HTTP/1.1\r\n\r\n",                                       None),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",                        None),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",                    Some(Rule::BlankLines)),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",                          Some(Rule::BlankLines)),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n",                              Some(Rule::LineEnd)),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n",                              Some(Rule::LineEnd)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n",                              Some(Rule::LineEnd)),
        ("GET / HTTP/1.1\r\nA:\nHost: a\r\n\r\n",                        Some(Rule::LineEnd)),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n",                              Some(Rule::LineEnd)),
        ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",                            Some(Rule::FieldValue)),
        ("G(T / HTTP/1.1\r\n\r\n",                                       Some(Rule::Method)),
        (" / HTTP/1.1\r\n\r\n",                                          Some(Rule::Method)),
        ("GET  / HTTP/1.1\r\n\r\n",                                      Some(Rule::Target)),
        ("GET /a b HTTP/1.1\r\n\r\n",                                    Some(Rule::Version)),
        ("GET / HTTP/1.2\r\n\r\n",                                       Some(Rule::Version)),
        ("GET / http/1.1\r\n\r\n",                                       Some(Rule::Version)),
        ("GET /\r\n\r\n",                                                Some(Rule::Target)),
        ("GET /#a HTTP/1.1\r\n\r\n",                                     Some(Rule::Target)),
        ("GET /a\\b HTTP/1.1\r\n\r\n",                                   Some(Rule::Target)),
        ("GET /?a\\b HTTP/1.1\r\n\r\n",                                  None),
        ("GET /?a#b HTTP/1.1\r\n\r\n",                                   Some(Rule::Target)),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n",                                 Some(Rule::Target)),
        ("GET /\x7f HTTP/1.1\r\n\r\n",                                   Some(Rule::Target)),
        ("GET http://a/?b HTTP/1.1\r\n\r\n",                             None),
        ("GET http:// HTTP/1.1\r\n\r\n",                                 Some(Rule::Target)),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",                         Some(Rule::Fold)),
        ("GET / HTTP/1.1\r\n A: b\r\n\r\n",                              Some(Rule::Fold)),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n",                              Some(Rule::SpaceBeforeColon)),
        ("GET / HTTP/1.1\r\nA B: b\r\n\r\n",                             Some(Rule::SpaceBeforeColon)),
        ("GET / HTTP/1.1\r\n: b\r\n\r\n",                                Some(Rule::FieldName)),
        ("GET / HTTP/1.1\r\nA\0: b\r\n\r\n",                             Some(Rule::FieldName)),
        ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n",                             Some(Rule::FieldValue)),
        ("GET / HTTP/1.1\r\nA: \u{e9}\tb\r\n\r\n",                       None),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",                             Some(Rule::Version)),
    ];
    for (bytes, expected) in table {
        assert_eq!(rule_of(bytes.as_bytes()), *expected, "{bytes:?}");
    }
}

/// It stood whole in the access log.
#[test]
fn a_method_of_twenty_thousand_bytes_is_none_and_is_not_kept() {
    let bounds = Bounds { head: 32 * 1024, ..BOUNDS };
    for (length, is_one) in [(32, true), (33, false), (20_000, false)] {
        for target in ["/", "/a\\b"] {
            let head = format!("{} {target} HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(length));
            let stop = Reader::new(bounds).read(head.as_bytes()).1;
            let Stop::Head(malformed) = stop else {
                assert!(is_one && target == "/", "{length} {target}");
                continue;
            };
            let expected = if is_one { Rule::Target } else { Rule::MethodSize };
            assert_eq!((malformed.rule, malformed.method.is_some()), (expected, is_one));
        }
    }
}

#[test]
fn a_body_has_one_length_or_chunks() {
    #[rustfmt::skip]
    let table: &[(&str, &str, Option<Rule>)] = &[
        ("1.1", "Content-Length: 0",                                     None),
        ("1.1", "Content-Length: 0003",                                  None),
        ("1.1", "content-length:3",                                      None),
        ("1.1", "Content-Length: ",                                      Some(Rule::Length)),
        ("1.1", "Content-Length: +3",                                    Some(Rule::Length)),
        ("1.1", "Content-Length: -3",                                    Some(Rule::Length)),
        ("1.1", "Content-Length: 0x3",                                   Some(Rule::Length)),
        ("1.1", "Content-Length: 3 3",                                   Some(Rule::Length)),
        ("1.1", "Content-Length: 3, 3",                                  Some(Rule::Length)),
        ("1.1", "Content-Length: 9223372036854775808",                   Some(Rule::Length)),
        ("1.1", "Content-Length: 3\r\nContent-Length: 3",                Some(Rule::SeveralLengths)),
        ("1.1", "Content-Length: 3\r\nTransfer-Encoding: chunked",       Some(Rule::LengthAndCoding)),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 3",       Some(Rule::LengthAndCoding)),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: x",       Some(Rule::Length)),
        ("1.1", "Transfer-Encoding:\tChunked \t",                        None),
        ("1.1", "Transfer-Encoding: gzip, chunked",                      Some(Rule::Coding)),
        ("1.1", "Transfer-Encoding: chunked, chunked",                   Some(Rule::Coding)),
        ("1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Some(Rule::Coding)),
        ("1.1", "Transfer-Encoding: identity",                           Some(Rule::Coding)),
        ("1.1", "Transfer-Encoding: chunked;a=b",                        Some(Rule::Coding)),
        ("1.1", "Transfer-Encoding: \"chunked\"",                        Some(Rule::Coding)),
        ("1.1", "Transfer-Encoding:",                                    Some(Rule::Coding)),
        ("1.0", "Transfer-Encoding: chunked",                            Some(Rule::CodingInHttp10)),
        ("1.0", "Content-Length: 3",                                     None),
    ];
    for (version, framing, expected) in table {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{framing}\r\n\r\n");
        assert_eq!(rule_of(head.as_bytes()), *expected, "{version} {framing:?}");
    }
}

#[test]
fn chunks_are_followed_to_their_end_and_no_further() {
    const HEAD: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    const NEXT: &str = "GET /next HTTP/1.1\r\n\r\n";
    #[rustfmt::skip]
    let table: &[(&str, Option<Rule>)] = &[
        ("0\r\n\r\n",                                None),
        ("3\r\nabc\r\n0\r\n\r\n",                    None),
        ("0003;a=\"b;c\"\r\nabc\r\n000\r\n\r\n",     None),
        ("A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n", None),
        ("\r\n",                                     Some(Rule::ChunkSize)),
        ("+3\r\nabc\r\n0\r\n\r\n",                   Some(Rule::ChunkSize)),
        ("0x3\r\nabc\r\n0\r\n\r\n",                  Some(Rule::ChunkSize)),
        (" 3\r\nabc\r\n0\r\n\r\n",                   Some(Rule::ChunkSize)),
        ("3 \r\nabc\r\n0\r\n\r\n",                   Some(Rule::ChunkSize)),
        (";a\r\nabc\r\n0\r\n\r\n",                   Some(Rule::ChunkSize)),
        ("00000000000000003\r\nabc\r\n0\r\n\r\n",    Some(Rule::ChunkSize)),
        ("3\nabc\r\n0\r\n\r\n",                      Some(Rule::ChunkSize)),
        ("3;a\nabc\r\n0\r\n\r\n",                    Some(Rule::ChunkExtension)),
        ("3\rabc\r\n0\r\n\r\n",                      Some(Rule::ChunkEnd)),
        ("3\r\nabcd\r\n0\r\n\r\n",                   Some(Rule::ChunkEnd)),
        ("3\r\nabc\n0\r\n\r\n",                      Some(Rule::ChunkEnd)),
        ("3\r\nabc0\r\n\r\n",                        Some(Rule::ChunkEnd)),
        ("0\r\n\n",                                  Some(Rule::Trailers)),
        ("0\r\n a: b\r\n\r\n",                       Some(Rule::Trailers)),
        ("0\r\na : b\r\n\r\n",                       Some(Rule::Trailers)),
        ("0\r\na: b\nc: d\r\n\r\n",                  Some(Rule::Trailers)),
        ("0\r\na: b\0\r\n\r\n",                      Some(Rule::Trailers)),
        ("0\r\n: b\r\n\r\n",                         Some(Rule::Trailers)),
        ("0\r\nGET / HTTP/1.1\r\n\r\n",              Some(Rule::Trailers)),
    ];
    for (body, expected) in table {
        let bytes = format!("{HEAD}{body}{NEXT}");
        let (passed, _) = read(bytes.as_bytes());
        assert_eq!(rule_of(bytes.as_bytes()), *expected, "{body:?}");
        assert_eq!(passed == bytes.len(), expected.is_none(), "{body:?}: {passed}");
    }
    let extension = format!("{HEAD}3;{}\r\n", "x".repeat(9_000));
    assert_eq!(Reader::new(BOUNDS).read(extension.as_bytes()).1, Stop::Body(Rule::ChunkExtension));
    let endless = format!("{HEAD}0\r\nx: {}", "y".repeat(600));
    assert_eq!(Reader::new(BOUNDS).read(endless.as_bytes()).1, Stop::Body(Rule::HeadSize));
    let many = format!("{HEAD}0\r\n{}\r\n", "x: y\r\n".repeat(9));
    assert_eq!(Reader::new(BOUNDS).read(many.as_bytes()).1, Stop::Body(Rule::FieldCount));
}

#[test]
fn a_head_has_its_limits_whole_or_not() {
    let head = |fields: usize, length: usize| {
        let mut head = "GET / HTTP/1.1\r\n".to_owned() + &"a: b\r\n".repeat(fields - 1);
        let left = length - head.len() - "c: \r\n\r\n".len();
        head += &format!("c: {}\r\n\r\n", "d".repeat(left));
        head
    };
    assert_eq!(rule_of(head(8, 512).as_bytes()), None);
    assert_eq!(rule_of(head(8, 513).as_bytes()), Some(Rule::HeadSize));
    assert_eq!(rule_of(head(9, 512).as_bytes()), Some(Rule::FieldCount));
    assert_eq!(rule_of(&head(8, 600).as_bytes()[..512]), Some(Rule::HeadSize));
    assert_eq!(rule_of(&[b'A'; 512]), Some(Rule::HeadSize));
    let roomy = Bounds { head: 16 * 1024, fields: 500 };
    let many = head(400, 9_000);
    assert_eq!(Reader::new(roomy).read(many.as_bytes()), (many.len(), Stop::More));
}

#[test]
fn what_is_certain_of_a_malformed_request_is_kept() {
    let malformed = |head: &str| match Reader::new(BOUNDS).read(head.as_bytes()).1 {
        Stop::Head(malformed) => malformed,
        stop => panic!("{stop:?}"),
    };
    let known = malformed("PUT /a?b HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!((known.method, known.target.unwrap().path()), (Some(Method::PUT), "/a"));
    assert_eq!(known.version, Version::HTTP_10);
    let cut = malformed("GET / HTTP/1.1\r\nA : b\r\n\r\n");
    assert_eq!((cut.method, cut.target), (Some(Method::GET), Some(Uri::from_static("/"))));
    let nothing = malformed("\x16\x03\x01\x02");
    assert_eq!((nothing.method, nothing.target), (None, None));
}

#[test]
fn behind_a_wish_for_another_protocol_it_waits() {
    let asked = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(read(format!("{asked}\u{1}\u{2}").as_bytes()), (asked.len(), Stop::Upgrade));
    let body = "POST / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(read(format!("{body}\u{1}").as_bytes()), (body.len(), Stop::Upgrade));
    let old = "GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(read(old.as_bytes()), (old.len(), Stop::More));
}

/// Else hyper would refuse it behind the guard, with no line in any log.
#[test]
fn whatever_target_passes_is_a_uri() {
    for byte in 0..=0x7f_u8 {
        for form in ["/", "/a", "/?", "/?a?", "http://a/", "*", "a:1"] {
            let target = format!("{form}{}", char::from(byte));
            assert!(!is_target(&target) || target.parse::<Uri>().is_ok(), "{target:?}");
        }
    }
    for ordinary in ["/a%20b/@c/~d;e=f/(g)!$&'*+,-._:|{}\"", "/?a[b]={'c'}|^`\\'%zz?"] {
        assert!(is_target(ordinary), "{ordinary}");
    }
    assert!(!is_target(super::super::STAND_IN));
}

#[test]
fn a_line_that_cannot_become_legal_is_refused_when_it_ends_at_the_latest() {
    // Found by the fuzz target: in two pieces nothing was said of the CR until a line end came.
    let mut reader = Reader::new(BOUNDS);
    assert_eq!(reader.read(b"POST / HTTP/1.1"), (0, Stop::More));
    assert_eq!(reader.read(b"POST / HTTP/1.1\rGE"), (0, Stop::More));
    let Stop::Head(malformed) = reader.read(b"POST / HTTP/1.1\rGET\n").1 else { panic!("it has ended") };
    assert_eq!(malformed.rule, Rule::LineEnd);
    assert_eq!(rule_of(b"POST / HTTP/1.1\rGET\n"), Some(Rule::LineEnd));
}
