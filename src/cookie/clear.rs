//! Where a planted twin of the session cookie can stand, and how it is taken away.
//!
//! A browser keeps cookies apart by name, domain and path (RFC 6265bis, section 5.7), and says of none where it stands.
//! So the name is expired in every place from which it could have been sent, but for the one that we write ourselves:
//! what is left is ours.

use std::net::Ipv4Addr;

use http::HeaderValue;
use psl::Psl;

use super::companion::Names;
use super::{Config, set_cookie};

/// All of it together stays below this: a proxy in front may take no more of an answer's head (nginx's default for
/// `proxy_buffer_size` is 4 or 8 KiB). Some forty cookies fit, and those of an ordinary path are fewer.
const BUDGET: usize = 4096;

/// Browsers pass over an attribute that is longer (RFC 6265bis, section 5.6), and would take the default path instead.
const LONGEST_PATH: usize = 1024;

/// A cookie without a name whose value begins with ours and `=` comes back as if it were ours (RFC 6265bis, section 5.8.3,
/// step 4). Chromium refuses to keep such a one, other browsers do not; each keeps one nameless cookie a place, which
/// any other replaces.
const NAMELESS: &str = "";

/// A `Set-Cookie` for each name in each place: the session's name first, and of places those that reach the most
/// requests.
pub(super) fn clear(config: &Config, names: &Names, host: &str, path: &str) -> Vec<HeaderValue> {
    if has_host_prefix(&config.name) {
        // Browsers keep such a cookie in one place only, which is ours.
        return Vec::new();
    }
    let own = (set_cookie::domain(config, host), config.path.as_str());
    let mut left = BUDGET;
    let mut cleared = Vec::new();
    for name in [names.session.as_str(), NAMELESS, &names.hop] {
        for path in paths(path) {
            let places = std::iter::once(None).chain(domains(host).map(Some)).map(|domain| (domain, path));
            for (domain, path) in places.filter(|place| *place != own || name == NAMELESS) {
                let cookie = set_cookie::clear(config, name, domain, path);
                match left.checked_sub(cookie.len()) {
                    Some(less) => left = less,
                    None => return cleared,
                }
                cleared.push(cookie);
            }
        }
    }
    cleared
}

/// RFC 6265bis, section 4.1.3.2. Browsers compare without regard to case.
fn has_host_prefix(name: &str) -> bool {
    name.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case("__Host-"))
}

/// The host itself and the domains above it, down from the longest that somebody can own. A public suffix is none of
/// them: a browser takes no cookie for it, or, where it is the host itself, takes the order for the host-only cookie,
/// which may be our own (RFC 6265bis, section 5.7, step 9). An address has nothing above it.
fn domains(host: &str) -> impl Iterator<Item = &str> {
    let is_address = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
    let suffix = psl::List.suffix(host.as_bytes()).map_or(host.len(), |suffix| suffix.as_bytes().len());
    let starts = std::iter::once(0).chain(host.match_indices('.').map(|(dot, _)| dot + 1));
    let longer_than_suffix = move |start: &usize| !is_address && host.len() - start > suffix;
    starts.filter(longer_than_suffix).map(|start| &host[start..])
}

/// Every path of a cookie that is sent with a request for `path` (RFC 6265bis, section 5.1.4), the shortest first: at
/// each `/` the part before it, and the same with it. No attribute can hold a `;`, so what lies behind one is beyond
/// reach.
fn paths(path: &str) -> impl Iterator<Item = &str> {
    let path = path.split(';').next().unwrap_or_default();
    let ends = path.match_indices('/').flat_map(|(slash, _)| [slash, slash + 1]).chain([path.len()]);
    let mut last = 0;
    ends.filter(move |end| std::mem::replace(&mut last, *end) < *end)
        .take_while(|end| *end <= LONGEST_PATH)
        .map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domains_of_a_host_end_below_its_public_suffix() {
        let table: &[(&str, &[&str])] = &[
            ("www.eu.shop.co.uk", &["www.eu.shop.co.uk", "eu.shop.co.uk", "shop.co.uk"]),
            ("shop.example", &["shop.example"]),
            ("me.github.io", &["me.github.io"]),
            ("github.io", &[]),
            ("www.xn--55qx5d.cn", &["www.xn--55qx5d.cn"]),
            // `*.kawasaki.jp` is a suffix, and `city.kawasaki.jp` excepted.
            ("a.b.c.kawasaki.jp", &["a.b.c.kawasaki.jp", "b.c.kawasaki.jp"]),
            ("www.city.kawasaki.jp", &["www.city.kawasaki.jp", "city.kawasaki.jp"]),
            ("site.internal", &["site.internal"]),
            ("localhost", &[]),
            ("192.0.2.1", &[]),
            ("[2001:db8::1]", &[]),
            ("", &[]),
        ];
        for (host, expected) in table {
            assert_eq!(domains(host).collect::<Vec<_>>(), *expected, "{host}");
        }
    }

    #[test]
    fn the_paths_of_a_request_are_all_from_which_a_cookie_is_sent() {
        let table: &[(&str, &[&str])] = &[
            ("/", &["/"]),
            ("/a", &["/", "/a"]),
            ("/a/", &["/", "/a", "/a/"]),
            ("/a/b", &["/", "/a", "/a/", "/a/b"]),
            ("//a", &["/", "//", "//a"]),
            ("/a;x/b", &["/", "/a"]),
        ];
        for (path, expected) in table {
            assert_eq!(paths(path).collect::<Vec<_>>(), *expected, "{path}");
        }
        let long = format!("/{}/b", "a".repeat(LONGEST_PATH));
        assert_eq!(paths(&long).collect::<Vec<_>>(), ["/"]);
    }

    fn cleared(config: &Config, host: &str, path: &str) -> Vec<String> {
        let names = Names::of(&config.name);
        clear(config, &names, host, path).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_place_is_cleared_but_our_own() {
        let host_only = cleared(&Config::default(), "www.shop.example", "/a");
        let cookie = |pair: &str, rest: &str| format!("{pair}; HttpOnly; SameSite=Strict; Secure; {rest}; Max-Age=0");
        let place = |rest: &str| cookie("genesys_session=", rest);
        let places = [
            "Path=/; Domain=www.shop.example",
            "Path=/; Domain=shop.example",
            "Path=/a",
            "Path=/a; Domain=www.shop.example",
            "Path=/a; Domain=shop.example",
        ];
        assert_eq!(host_only[..5], places.map(place));
        assert_eq!(host_only[5], cookie("=x", "Path=/"), "no cookie of ours is without a name");
        assert_eq!(host_only[6..11], places.map(|rest| cookie("=x", rest)));
        assert_eq!(host_only[11..], places.map(|rest| cookie("genesys_session_hop=", rest)));
        let shared = Config { domain: Some("shop.example".to_owned()), path: "/a".to_owned(), ..Config::default() };
        let left_out = cleared(&shared, "www.shop.example", "/a");
        assert_eq!(left_out.len(), 5 + 6 + 5);
        assert!(!left_out.contains(&place("Path=/a; Domain=shop.example")), "{left_out:?}");
        assert!(left_out.contains(&place("Path=/")), "the host's own place is somebody else's now");
    }

    #[test]
    fn a_host_that_is_a_public_suffix_or_an_address_is_cleared_by_path_alone() {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            let places = cleared(&Config::default(), host, "/a");
            assert_eq!(places.len(), 1 + 2 + 1, "{host}: {places:?}");
            assert!(places[0].contains("; Path=/a;"), "{host}: {places:?}");
            assert!(places.iter().all(|place| !place.contains("Domain")), "{host}: {places:?}");
        }
    }

    #[test]
    fn nothing_can_be_planted_beside_a_host_prefix() {
        let config = Config { name: "__Host-s".to_owned(), ..Config::default() };
        assert!(cleared(&config, "www.shop.example", "/a").is_empty());
    }

    #[test]
    fn the_places_of_a_long_path_are_bounded() {
        let places = cleared(&Config::default(), "www.shop.example", &"/a".repeat(400));
        let bytes: usize = places.iter().map(String::len).sum();
        assert!(places.len() > 30 && bytes <= BUDGET, "{} places of {bytes} bytes", places.len());
    }
}
