//! The spellings, always the same ones, and what a server could make of one.

/// What may stand for the slash in front of `account`, and for the one behind it.
const SEPARATORS: [&str; 34] = [
    "/",
    "//",
    "///",
    "/./",
    "/.//",
    "/x/../",
    "/%2e/",
    "/x/%2e%2e/",
    "/x/.%2E/",
    "/x/%2e./",
    "/x/%252e%252e/",
    "/x/..;/",
    "/x/..;v=1/",
    "/x/..%3b/",
    "/;/",
    "/;v=1/",
    "/.;/",
    "%2f",
    "%2F",
    "/%2f",
    "%252f",
    "%25252F",
    "%5c",
    "%5C/",
    "%255c",
    "\\",
    "/\\",
    "/x%2f..%2f",
    "/x%5c..%5c",
    "/x/..%20/",
    "/.%20/",
    "%c0%af",
    "%e0%80%af",
    "%u002f",
];

/// How `account` may be written.
const NAMES: [&str; 16] = [
    "account",
    "Account",
    "ACCOUNT",
    "aCcOuNt",
    "%61ccount",
    "accoun%74",
    "acc%6funt",
    "acc%6Funt",
    "%61%63%63%6f%75%6e%74",
    "%2561ccount",
    "%252561ccount",
    "%41ccount",
    "account.",
    "account%20",
    "account%2e",
    "account;v=1",
];

/// What may stand at the end.
const ENDS: [&str; 18] = [
    "",
    "/",
    "/.",
    "/..",
    "/./",
    "%2f",
    ";",
    ";jsessionid=1",
    "%3bx",
    "?a=b",
    "%3f",
    "%23",
    "#a",
    "%00",
    "%20",
    ".",
    "%0d%0a",
    "::$DATA",
];

/// What may stand in front of it all.
const STARTS: [&str; 14] = [
    "",
    "/.",
    "/public/..",
    "/public/%2e%2e",
    "/public/.%2e",
    "/public/%252e%252e",
    "/public/..;a=b",
    "/public/x/../..",
    "/public%2f..",
    "/public%5c..",
    "/..",
    "//localhost",
    "//other.example",
    "http://localhost",
];

/// Ways of asking for what lies under `/account/`.
pub(super) fn protected() -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |spelling: String| all.push(spelling);
    for first in SEPARATORS {
        for second in SEPARATORS {
            add(format!("{}{}account{second}secret.html", slash_first(first), first));
        }
        for name in NAMES {
            add(format!("{}{first}{name}/secret.html", slash_first(first)));
            add(format!("/{name}{first}secret.html"));
            add(format!("{}{first}{name}", slash_first(first)));
        }
        for start in STARTS {
            add(format!("{start}{first}account/secret.html"));
        }
    }
    for name in NAMES {
        for end in ENDS {
            add(format!("/{name}{end}"));
            add(format!("/{name}/secret.html{end}"));
            for start in STARTS {
                add(format!("{start}/{name}/orders{end}"));
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

/// What begins with an encoded slash is no target at all; so that it is judged, a real one stands before it.
fn slash_first(separator: &str) -> &'static str {
    if separator.starts_with('/') { "" } else { "/" }
}

/// Paths that sites use, in which something looks like a trick.
pub(super) const ORDINARY: [&str; 24] = [
    "/",
    "/a%20file%20with%20spaces.pdf",
    "/caf%C3%A9/%E6%97%A5%E6%9C%AC%E8%AA%9E",
    "/@angular%2fcore",
    "/@types%2Fnode/-/node-22.0.0.tgz",
    "/shop/cart;jsessionid=0123456789ABCDEF",
    "/shop;v=1.2/cart",
    "/~user/index.html",
    "/c++/index.html",
    "/a+b",
    "/user@example.com",
    "/proxy/https://other.example/a//b",
    "/web/2026*/http://example.com/",
    "/a//b",
    "/100%25",
    "/a%3Fb",
    "/a%23b",
    "/wiki/C%23",
    "/a,b;c=d/(e)'f'!$&*=:",
    "/search?q=/account/&next=%2Faccount%2F&x=a%00b",
    "/accounts/",
    "/my/account/",
    "/a.b.c/v1.0./d",
    "/.well-known/security.txt",
];

/// Whether some server could read this as a path under `/account`: each of these does to it what one server does or
/// several in a row do, again and again, and none leaves anything undecoded.
pub(super) fn could_be_protected(target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap();
    let decodings = std::iter::successors(Some(path.to_owned()), |path| Some(decode(path)).filter(|it| it != path));
    decodings.into_iter().any(|path| {
        let backslashes = path.replace('\\', "/");
        let cut = path.split(['?', '#', '\0']).next().unwrap().to_owned();
        [path, backslashes, cut].iter().any(|path| {
            let by_segments = |change: fn(&str) -> &str| path.split('/').map(change).collect::<Vec<_>>().join("/");
            let without_parameters = by_segments(|segment| segment.split(';').next().unwrap());
            let as_windows = by_segments(|segment| match segment.trim_end_matches(' ') {
                dots @ ("." | "..") => dots,
                _ => segment.trim_end_matches(['.', ' ']),
            });
            let without_host = path.strip_prefix("//").and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned()));
            [Some(path.clone()), Some(without_parameters), Some(as_windows), without_host].into_iter().flatten().any(
                |path| resolve(&path, true).starts_with("/account/") || resolve(&path, false).starts_with("/account/"),
            )
        })
    })
}

/// One round, as servers do that look at nothing.
fn decode(path: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| byte == b'%') {
            Some(meant) => {
                decoded.push(meant);
                rest = &behind[2..];
            }
            None => {
                decoded.push(byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The folder and what is in it, in lower case: empty segments are skipped or kept, and what leads above the root stays
/// at the root.
fn resolve(path: &str, merge: bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            "" if merge => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    format!("/{}/", kept.join("/")).to_ascii_lowercase()
}
