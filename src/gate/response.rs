//! What the gate does to an answer on its way out.

use http::header::{CACHE_CONTROL, EXPIRES, Entry, HeaderName, HeaderValue, PRAGMA, SET_COOKIE};
use http::{HeaderMap, StatusCode};

use crate::cookie::Jar;

/// Takes away our cookies where the site tried to set them, and tells of each: a misconfiguration, since they would
/// take the visitor's session away.
pub(super) fn drop_our_cookies(headers: &mut HeaderMap, jar: &Jar, mut tell: impl FnMut(&str)) {
    let Entry::Occupied(set) = headers.entry(SET_COOKIE) else { return };
    if set.iter().all(|value| jar.set_by(value).is_none()) {
        return;
    }
    let (_, all) = set.remove_entry_mult();
    let all: Vec<HeaderValue> = all.collect();
    for value in all {
        match jar.set_by(&value) {
            Some(name) => tell(name),
            None => drop(headers.append(SET_COOKIE, value)),
        }
    }
}

/// Sets the visitor's cookies, and sees to it that no shared cache hands them to another.
pub(super) fn set_cookies(headers: &mut HeaderMap, cookies: impl IntoIterator<Item = HeaderValue>) {
    let mut cookies = cookies.into_iter().peekable();
    if cookies.peek().is_none() {
        return;
    }
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    let lifting: Vec<HeaderName> = headers.keys().filter(|name| speaks_to_caches(name)).cloned().collect();
    for name in lifting {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
}

/// A shared cache must not hand what needs a session to the sessionless (RFC 9111, section 5.2.2.7). What the site
/// says itself stands.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
}

/// Whether an answer of this status can bring a cookie: 101 ends HTTP, and 206 and 304 are put together with what the
/// client has stored already.
pub(super) fn can_carry_cookie(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::PARTIAL_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The standard's words (RFC 9111) and those of caches that listen to their own: RFC 9213 and the vendors' variants.
fn speaks_to_caches(name: &HeaderName) -> bool {
    let text = name.as_str();
    name == EXPIRES
        || name == PRAGMA
        || matches!(text, "surrogate-control" | "edge-control" | "x-accel-expires")
        || text.ends_with("-cache-control")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_the_cookie_is_for_nobody_else() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("cache-control", "public, max-age=600"),
            ("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
            ("pragma", "cache"),
            ("surrogate-control", "max-age=600"),
            ("cdn-cache-control", "max-age=600"),
            ("cloudflare-cdn-cache-control", "max-age=600"),
            ("x-accel-expires", "600"),
            ("x-litespeed-cache-control", "public, max-age=600"),
            ("etag", "\"1\""),
            ("set-cookie", "theirs=1"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        set_cookies(&mut headers, [HeaderValue::from_static("ours=1")]);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "etag", "set-cookie"]);
        assert_eq!(headers[CACHE_CONTROL], "private, no-store");
        assert_eq!(headers.get_all(SET_COOKIE).iter().count(), 2);
    }

    #[test]
    fn what_the_site_says_of_caching_stands_where_no_cookie_is_set() {
        let mut silent = HeaderMap::new();
        keep_private(&mut silent);
        assert_eq!(silent[CACHE_CONTROL], "private");
        let mut said = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("public"))]);
        keep_private(&mut said);
        assert_eq!(said[CACHE_CONTROL], "public");
    }
}
