//! The `Cookie` and `Set-Cookie` headers: finding the cookie, and taking it out. What its value says is no matter here.

use bytes::Bytes;
use http::header::{COOKIE, Entry, HeaderMap, HeaderValue};

/// The values of every cookie of that name, in all `Cookie` headers, in their order.
///
/// A pair ends at the next `;`, quoted or not (RFC 6265bis, section 4.2.1: no cookie's value holds one). White space
/// around a name is passed over, as most servers do, so that nothing that the site would take for our cookie goes by
/// unseen. The value is taken to the byte: browsers store it without white space around it and never unquote it
/// (section 5.6), so quotes or spaces are no spelling of ours, and the reading will say so.
pub(super) fn values<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(COOKIE)
        .into_iter()
        .flat_map(|header| split(header.as_bytes(), b';'))
        .filter_map(|pair| value_of(pair, name))
}

/// Takes the cookies of those names out of the `Cookie` headers. What is left of a header is left byte for byte; a
/// header of which nothing is left goes.
pub(super) fn strip(headers: &mut HeaderMap, names: &[&str]) {
    // Asking for the entry makes room for one.
    if !headers.contains_key(COOKIE) {
        return;
    }
    let Entry::Occupied(mut cookies) = headers.entry(COOKIE) else { return };
    let mut emptied = false;
    for header in cookies.iter_mut() {
        if let Some(left) = without(header, names) {
            emptied |= left.is_empty();
            *header = left;
        }
    }
    if emptied {
        let (_, all) = cookies.remove_entry_mult();
        let left: Vec<HeaderValue> = all.filter(|header| !header.is_empty()).collect();
        for header in left {
            headers.append(COOKIE, header);
        }
    }
}

/// Whether a `Set-Cookie` header makes browsers send a cookie of that name.
///
/// That includes a cookie without a name whose value begins with ours and `=`: it comes back as if it were ours (RFC
/// 6265bis, section 5.7, step 4).
pub(super) fn sets(set_cookie: &HeaderValue, name: &str) -> bool {
    let pair = split(set_cookie.as_bytes(), b';').next().unwrap_or_default();
    let nameless = pair.trim_ascii_start().strip_prefix(b"=");
    value_of(nameless.unwrap_or(pair), name).is_some()
}

/// As `slice::split` does, which looks at one byte at a time: three passes over a cookie were a twentieth of all that a
/// request took.
pub(super) fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut begins = 0;
    memchr::memchr_iter(separator, text).chain([text.len()]).map(move |ends| {
        let part = &text[begins..ends];
        begins = ends + 1;
        part
    })
}

fn value_of<'h>(pair: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let (found, value) = name_and_value(pair)?;
    (found == name.as_bytes()).then_some(value)
}

fn name_and_value(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair[..equals].trim_ascii(), &pair[equals + 1..]))
}

fn is_of(pair: &[u8], names: &[&str]) -> bool {
    name_and_value(pair).is_some_and(|(name, _)| names.iter().any(|ours| name == ours.as_bytes()))
}

/// What is left of a header that holds cookies of those names; `None` for one that holds none, which is gone through
/// once, like all others, and not copied.
fn without(header: &HeaderValue, names: &[&str]) -> Option<HeaderValue> {
    let text = header.as_bytes();
    let mut left: Option<Vec<u8>> = None;
    let mut begins = 0;
    for pair in split(text, b';') {
        if is_of(pair, names) {
            left.get_or_insert_with(|| before(text, begins));
        } else if let Some(left) = &mut left {
            // A pair that comes to stand first loses the space that parted it from ours; an empty one is nobody's
            // cookie.
            if left.is_empty() {
                left.extend_from_slice(pair.trim_ascii_start());
            } else {
                left.push(b';');
                left.extend_from_slice(pair);
            }
        }
        begins += pair.len() + 1;
    }
    let stripped = HeaderValue::from_maybe_shared(Bytes::from(left?));
    let mut stripped = stripped.expect("parts of a header's value are one");
    stripped.set_sensitive(header.is_sensitive());
    Some(stripped)
}

/// The pairs in front of the one that begins there, with room for those behind it.
fn before(text: &[u8], begins: usize) -> Vec<u8> {
    let before = &text[..begins.saturating_sub(1)];
    let empty = before.iter().take_while(|byte| **byte == b';' || byte.is_ascii_whitespace()).count();
    let mut left = Vec::with_capacity(text.len());
    left.extend_from_slice(&before[empty..]);
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|text| (COOKIE, HeaderValue::from_str(text).unwrap())).collect()
    }

    fn stripped(cookies: &[&str]) -> Vec<String> {
        let mut headers = headers(cookies);
        strip(&mut headers, &["s"]);
        headers.get_all(COOKIE).iter().map(|header| header.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn values_are_found_in_all_headers_in_their_order() {
        let headers = headers(&["a=1; s=one; ss=2", "s=two;s=\"three\" ;\ts =  four; S=no; s; =s=no", "xs=no; s=a=b"]);
        let found: Vec<&[u8]> = values(&headers, "s").collect();
        assert_eq!(found, [&b"one"[..], b"two", b"\"three\" ", b"  four", b"a=b"]);
    }

    #[test]
    fn other_cookies_stay_byte_for_byte() {
        #[rustfmt::skip]
        let table: &[(&[&str], &[&str])] = &[
            (&["s=x"], &[]),
            (&["; ;s=x; a=1"], &["a=1"]),
            (&["s=x; s=y"], &[]),
            (&["s=x; "], &[]),
            (&["s=x; a=1"], &["a=1"]),
            (&["a=1; s=x"], &["a=1"]),
            (&["a=1; s=x; b=2"], &["a=1; b=2"]),
            (&["a=1;s=x;  b=\"2;s=x;3\" ;c"], &["a=1;  b=\"2;3\" ;c"]),
            (&["a=1", "s=x", "b=2"], &["a=1", "b=2"]),
            (&["ss=1; s2=3; xs=x"], &["ss=1; s2=3; xs=x"]),
            (&[], &[]),
        ];
        for (before, after) in table {
            assert_eq!(stripped(before), *after, "{before:?}");
        }
    }

    #[test]
    fn several_names_go_at_once() {
        let mut headers = headers(&["s=x; a=1; s_seen=1", "s_hop=1", "s_see=2; s_hop=c;b"]);
        strip(&mut headers, &["s", "s_seen", "s_hop"]);
        let left: Vec<&HeaderValue> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(left, ["a=1", "s_see=2;b"]);
    }

    #[test]
    fn an_upstreams_cookie_of_our_name_is_known_in_each_of_its_spellings() {
        for text in ["s=1", " s = 1; Path=/", "s=", "=s=1", " = s=1; Secure"] {
            assert!(sets(&HeaderValue::from_str(text).unwrap(), "s"), "{text}");
        }
        for text in ["s", "ss=1", "a=s=1", "a=1; s=2", "S=1", "", "=a"] {
            assert!(!sets(&HeaderValue::from_str(text).unwrap(), "s"), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn parts_are_those_of_the_standard_library(text in prop::collection::vec(0_u8..4, 0..80)) {
            let expected: Vec<&[u8]> = text.split(|byte| *byte == 1).collect();
            prop_assert_eq!(split(&text, 1).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn stripping_takes_ours_and_nothing_else(
            pairs in prop::collection::vec((any::<bool>(), "[a-r]{0,3}(=[ -:<-~\u{80}-\u{ff}]{0,8})?"), 0..8)
        ) {
            let text = |with_ours: bool| {
                let kept = pairs.iter().filter(|(ours, _)| with_ours || !ours);
                let pairs: Vec<String> = kept
                    .map(|(ours, pair)| if *ours { format!("s={}", pair.replace(';', "")) } else { format!("x{pair}") })
                    .collect();
                pairs.join("; ")
            };
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_bytes(text(true).as_bytes()).unwrap());
            strip(&mut headers, &["s"]);
            let left = headers.get(COOKIE).map_or(&b""[..], HeaderValue::as_bytes);
            let others = text(false);
            prop_assert_eq!(left, others.as_bytes());
        }
    }
}
