use proptest::prelude::*;

use super::*;
use crate::policy::{OnMissing, Policy};
use crate::routes::HostPattern;

fn on(host: &str, path: &str, policy: Policy) -> Route {
    Route {
        host: HostPattern::parse(host).unwrap(),
        path: PathPattern::parse(path).unwrap(),
        methods: Vec::new(),
        rules: Rules::of(policy),
        upstream: 0,
        encoded_separators: EncodedSeparators::Judge,
        ignore_case: policy == Policy::Require,
    }
}

fn route(path: &str, policy: Policy) -> Route {
    on("*", path, policy)
}

fn for_methods(route: Route, methods: &[Method]) -> Route {
    Route { methods: methods.to_vec(), ..route }
}

fn passing(route: Route) -> Route {
    Route { encoded_separators: EncodedSeparators::Pass, ..route }
}

/// The pattern that a GET meets, or what it is refused with.
fn met(table: &Table, host: &str, path: &str) -> String {
    match table.find(host, path, &Method::GET, &[]) {
        Ok(matched) => matched.pattern.to_string(),
        Err(error) => error.to_string(),
    }
}

fn is_bad(table: &Table, path: &str) -> bool {
    matches!(table.find("h", path, &Method::GET, &[]), Err(Unroutable::BadPath { .. }))
}

fn shop() -> Table {
    Table::new(vec![
        route("/account/**", Policy::Require),
        route("/team/*/admin/**", Policy::Require),
        route("/public/**", Policy::Open),
        route("/team/*", Policy::Open),
    ])
}

#[test]
fn ordinary_sites_spellings_pass() {
    let table = shop();
    for path in [
        "/",
        "/index.html",
        "/Products/Blue%20Shoes",
        "/caf%C3%A9/men%C3%BC",
        "/@scope%2Fname",
        "/@scope%2Fname/-/name-1.0.0.tgz",
        "/cart;jsessionid=0123ABC",
        "/cart;jsessionid=1/items;v=2",
        "/image/https://cdn.example/a.png",
        "/image/https%3A%2F%2Fcdn.example%2Fa.png%3Fw%3D100",
        "/redirect/https%253A%252F%252Fexample.org%252F",
        "/search/100%25%20wool",
        "/a+b/@me/~user/x:y,z=1!$&'()*",
        "/file.name.tar.gz",
        "/.well-known/acme-challenge/x",
        "/what%3F",
        "/c%23",
        "/a//b",
        "/accounts",
        "/my-account/x",
        "/[id]/{slug}|\"<>^`",
    ] {
        assert_eq!(met(&table, "h", path), "/**", "{path}");
    }
    for path in ["/public/a%2Fb", "/public//a", "/public/a%20b;c", "/public/a;x/%C3%A9"] {
        assert_eq!(met(&table, "h", path), "/public/**", "{path}");
    }
    for path in
        ["/account", "/account/", "/ACCOUNT/x", "/account/a%2Fb", "/account//a", "/account/a;b", "/account/%7Ex"]
    {
        assert_eq!(met(&table, "h", path), "/account/**", "{path}");
    }
}

#[test]
fn paths_that_could_be_read_as_protected_are_refused() {
    let table = shop();
    for path in [
        "/%61ccount",
        "/%61ccount/x",
        "/%2561ccount/x",
        "/account%2Fx",
        "/account%252Fx",
        "/account%5Cx",
        "//account/x",
        "/./account/x",
        "/x/../account",
        "/public/../account/x",
        "/public/..%2faccount/x",
        "/public/%2e%2e/account/x",
        "/public/..;/account/x",
        "/public/.%2e;a=b/account/x",
        "/account;x/y",
        "/account./x",
        "/account%20/x",
        "/account%3Fx",
        "/account%23x",
        "/;x/account",
        "/team%2Fx/admin",
        "/team/x%2Fy/%61dmin",
        "/team/x//admin",
        "/account/../x",
        "/account/%2e%2e/x",
        "/ACCOUNT%2Fx",
    ] {
        assert!(is_bad(&table, path), "{path}: {}", met(&table, "h", path));
    }
}

#[test]
fn the_log_is_told_which_reading_differed() {
    assert_eq!(met(&shop(), "h", "/%61ccount/x"), "read as /account/x it meets /account/**, and as received /**");
    let long = format!("/account%2F{}", "x".repeat(5000));
    assert!(met(&shop(), "h", &long).len() < 400);
    assert_eq!(met(&shop(), "h", "/a%zz"), "the path holds a \"%\" without two hexadecimal digits");
}

#[test]
fn readings_may_meet_different_routes_that_do_the_same() {
    let same = Table::new(vec![route("/a/**", Policy::Require), route("/b/**", Policy::Require)]);
    assert_eq!(met(&same, "h", "/a/..%2Fb/x"), "/a/**");
    let other_upstream = Route { upstream: 1, ..route("/b/**", Policy::Require) };
    let table = Table::new(vec![route("/a/**", Policy::Require), other_upstream]);
    assert!(is_bad(&table, "/a/..%2Fb/x"));
    let mut other_rules = route("/b/**", Policy::Require);
    other_rules.rules.on_missing = OnMissing::Issue;
    assert!(is_bad(&Table::new(vec![route("/a/**", Policy::Require), other_rules]), "/a/..%2Fb/x"));
}

#[test]
fn a_route_may_let_encoded_separators_pass_and_nothing_else() {
    let table = Table::new(vec![passing(route("/files/**", Policy::Open)), route("/account/**", Policy::Require)]);
    for path in ["/files/..%2Faccount/x", "/files/..%5caccount", "/files/..%252Faccount", "/files/a%2Fb"] {
        assert_eq!(met(&table, "h", path), "/files/**", "{path}");
    }
    for path in
        ["/files/../account/x", "/files/%2e%2e/account", "/files/..;/account", "/files/..%2F..%2Fx", "/files/%2F%00"]
    {
        assert!(is_bad(&table, path), "{path}");
    }
    assert!(is_bad(&table, "/x/..%2Faccount"), "another route does not let them pass");
}

#[test]
fn patterns_beyond_ascii_are_met_by_their_only_spelling() {
    let table = Table::new(vec![route("/Café/my files/**", Policy::Open), route("/menü/**", Policy::Require)]);
    assert_eq!(met(&table, "h", "/Caf%C3%A9/my%20files/x"), "/Café/my files/**");
    assert_eq!(met(&table, "h", "/Caf%c3%a9/my%20files/"), "/Café/my files/**");
    assert_eq!(met(&table, "h", "/MEN%C3%BC/x"), "/menü/**");
    assert!(is_bad(&table, "/m%65n%C3%BC/x"));
}

#[test]
fn the_most_specific_route_is_met() {
    let table = Table::new(vec![
        route("/**", Policy::Open),
        route("/a/**", Policy::Open),
        route("/a/*", Policy::Open),
        route("/a/*/c", Policy::Open),
        for_methods(route("/a/**", Policy::Issue), &[Method::POST]),
        route("/a/b/**", Policy::Open),
        route("/a/b", Policy::Open),
        route("/**/z", Policy::Open),
    ]);
    for (path, pattern) in [
        ("/", "/**"),
        ("/x/y", "/**"),
        ("/a", "/a/**"),
        ("/a/x", "/a/*"),
        ("/a/x/c", "/a/*/c"),
        ("/a/x/d", "/a/**"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("/a/b/c", "/a/b/**"),
        ("/x/z", "/**/z"),
        ("/a/x/z", "/a/**"),
    ] {
        assert_eq!(met(&table, "h", path), pattern, "{path}");
    }
    let post = table.find("h", "/a/x", &Method::POST, &[]).unwrap();
    assert_eq!((&*post.pattern, post.rules.policy), ("/a/**", Policy::Issue), "the method comes after the segments");
}

#[test]
fn of_two_that_are_equal_the_stricter_is_met() {
    let table = Table::new(vec![
        Route { ignore_case: false, ..route("/App/*", Policy::Open) },
        route("/app/*", Policy::Require),
        route("/x/*", Policy::Open),
        Route { upstream: 1, ..route("/x/*", Policy::Open) },
    ]);
    assert_eq!(met(&table, "h", "/App/x"), "/app/*");
    assert_eq!(table.find("h", "/x/y", &Method::GET, &[]).unwrap().upstream, 0, "and else the earlier");
}

#[test]
fn case_is_a_routes_own_matter() {
    let table = Table::new(vec![
        Route { ignore_case: false, ..route("/Exact/**", Policy::Require) },
        route("/Any/**", Policy::Require),
        route("/img/**", Policy::Open),
    ]);
    for (path, pattern) in [
        ("/Exact/x", "/Exact/**"),
        ("/exact/x", "/**"),
        ("/aNY/x", "/Any/**"),
        ("/img/A", "/img/**"),
        ("/IMG/A", "/**"),
    ] {
        assert_eq!(met(&table, "h", path), pattern, "{path}");
    }
}

#[test]
fn hosts_are_asked_from_the_exact_to_any() {
    let table = Table::new(vec![
        on("*", "/a/**", Policy::Open),
        on("*.shop.example", "/b/**", Policy::Open),
        on("*.eu.shop.example", "/b/c/**", Policy::Open),
        on("x.eu.shop.example", "/d", Policy::Open),
    ]);
    for (host, path, pattern) in [
        ("x.eu.shop.example", "/d", "/d"),
        ("x.eu.shop.example", "/b/c", "/b/c/**"),
        ("x.eu.shop.example", "/b/x", "/b/**"),
        ("x.eu.shop.example", "/a/x", "/a/**"),
        ("x.eu.shop.example", "/", "/**"),
        ("y.eu.shop.example", "/d", "/**"),
        ("y.shop.example", "/b/c", "/b/**"),
        ("other.example", "/a", "/a/**"),
        ("other.example", "/b", "the host is not served"),
        ("shop.example", "/b", "the host is not served"),
        ("", "/a", "/a/**"),
        ("", "/", "the host is not served"),
    ] {
        assert_eq!(met(&table, host, path), pattern, "{host}{path}");
    }
    assert!(table.serves("x.eu.shop.example") && table.serves("other.example"));
}

#[test]
fn a_hosts_wildcard_route_outranks_a_longer_one_for_any_host() {
    let table = Table::new(vec![on("*", "/a/b/c", Policy::Require), on("h", "/**", Policy::Open)]);
    assert_eq!(met(&table, "h", "/a/b/c"), "/**");
    assert_eq!(met(&table, "i", "/a/b/c"), "/a/b/c");
}

#[test]
fn only_named_hosts_are_served_once_one_is_named() {
    let named = Table::new(vec![on("Shop.example", "/a", Policy::Open), on("*.b.example", "/a", Policy::Open)]);
    for (host, served) in
        [("shop.example", true), ("x.b.example", true), ("b.example", false), ("y", false), ("", false)]
    {
        assert_eq!(named.serves(host), served, "{host}");
        assert_eq!(met(&named, host, "/x") == "/**", served, "{host}");
        assert_eq!(met(&named, host, "/x%2F/") == "/**", served, "{host}");
    }
    for table in [Table::new(vec![]), Table::new(vec![route("/a", Policy::Open)])] {
        assert!(table.serves("anything") && table.serves(""));
        let implied = table.find("anything", "/x", &Method::GET, &[]).unwrap();
        assert_eq!((&*implied.pattern, implied.rules.policy, implied.upstream), ("/**", Policy::Issue, 0));
    }
}

#[test]
fn an_unknown_host_is_unknown_whatever_the_path() {
    let table = Table::new(vec![on("shop.example", "/a", Policy::Open)]);
    assert_eq!(table.find("x", "/%2e%2e/", &Method::GET, &[]), Err(Unroutable::UnknownHost));
}

#[test]
fn get_covers_head_and_nothing_else() {
    let table = Table::new(vec![for_methods(route("/a", Policy::Require), &[Method::GET])]);
    for (method, policy) in
        [(Method::GET, Policy::Require), (Method::HEAD, Policy::Require), (Method::POST, Policy::Issue)]
    {
        assert_eq!(table.find("h", "/a", &method, &[]).unwrap().rules.policy, policy, "{method}");
    }
}

#[test]
fn the_stricter_of_the_methods_holds() {
    let table = Table::new(vec![
        for_methods(route("/a/**", Policy::Require), &[Method::DELETE]),
        for_methods(route("/a/**", Policy::Open), &[Method::POST]),
        for_methods(route("/a/*", Policy::Open), &[Method::PUT]),
    ]);
    let policy = |method, overrides: &[Method]| table.find("h", "/a/x", &method, overrides).unwrap().rules.policy;
    assert_eq!(policy(Method::POST, &[]), Policy::Open);
    assert_eq!(policy(Method::POST, &[Method::DELETE]), Policy::Require);
    assert_eq!(policy(Method::DELETE, &[Method::POST]), Policy::Require);
    assert_eq!(policy(Method::POST, &[Method::PATCH, Method::DELETE]), Policy::Require);
    let first = table.find("h", "/a/x", &Method::POST, &[Method::PUT]).unwrap();
    assert_eq!(&*first.pattern, "/a/**", "of equal ones, that of the request's own method");
    assert_eq!(
        table.find("h", "/a%2Fx", &Method::GET, &[Method::DELETE]).map_err(|error| error.to_string()),
        Err("read as /a/x it meets /a/**, and as received /**".to_owned()),
        "each method is judged in all readings"
    );
}

#[test]
fn refusals_say_what_they_are() {
    let bad = Refusal::from(shop().find("h", "/..", &Method::GET, &[]).unwrap_err());
    assert_eq!((bad.code, &*bad.reason), (Code::BadPath, "the path leads above the root"));
    assert_eq!(Refusal::from(Unroutable::UnknownHost).code, Code::UnknownHost);
}

#[test]
fn ten_thousand_routes_are_each_met() {
    let routes: Vec<Route> = (0..10_000).map(|n| route(&format!("/api/v1/thing{n}/*/x"), Policy::Open)).collect();
    let table = Table::new(routes);
    for n in [0, 1, 777, 9_999] {
        assert_eq!(met(&table, "h", &format!("/api/v1/thing{n}/7/x")), format!("/api/v1/thing{n}/*/x"));
    }
    assert_eq!(met(&table, "h", "/api/v1/thing10000/7/x"), "/**");
}

/// How real servers read a path before they look at its segments, each in its own order. `None` is a refusal.
mod servers {
    fn hex(text: &str) -> Option<u8> {
        u8::from_str_radix(text.get(..2)?, 16).ok()
    }

    fn decode_but(path: &str, kept: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut rest = path;
        while let Some(c) = rest.chars().next() {
            match rest.strip_prefix('%').and_then(hex) {
                Some(byte) if !kept.contains(char::from(byte)) => {
                    bytes.push(byte);
                    rest = &rest[3..];
                }
                _ => {
                    bytes.extend_from_slice(c.to_string().as_bytes());
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        String::from_utf8(bytes).ok()
    }

    fn decode(path: &str) -> Option<String> {
        decode_but(path, "")
    }

    fn merge(mut path: String) -> String {
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    }

    fn resolve(path: &str) -> Option<String> {
        let mut kept: Vec<&str> = Vec::new();
        for segment in path.split('/').skip(1) {
            match segment {
                "." => {}
                ".." => drop(kept.pop()?),
                _ => kept.push(segment),
            }
        }
        Some(format!("/{}", kept.join("/")))
    }

    fn without_parameters(path: &str) -> String {
        path.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
    }

    fn split(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    type Server = fn(&str) -> Option<Vec<String>>;

    pub(super) const ALL: &[(&str, Server)] = &[
        ("as it stands", |path| Some(split(path))),
        ("nginx: decode, resolve, merge", |path| Some(split(&merge(resolve(&decode(path)?)?)))),
        ("merge before resolving", |path| Some(split(&resolve(&merge(decode(path)?))?))),
        ("Apache with AllowEncodedSlashes NoDecode", |path| Some(split(&resolve(&merge(decode_but(path, "/")?))?))),
        ("split, then decode each segment", |path| split(path).iter().map(|segment| decode(segment)).collect()),
        ("resolve, then decode", |path| Some(split(&decode(&resolve(path)?)?))),
        ("Tomcat: parameters, decode, resolve", |path| {
            Some(split(&resolve(&merge(decode(&without_parameters(path))?.replace('\\', "/")))?))
        }),
        ("decode, parameters, resolve", |path| Some(split(&resolve(&without_parameters(&decode(path)?))?))),
        ("Windows", |path| {
            let path = resolve(&merge(decode(path)?.replace('\\', "/")))?;
            Some(split(&path).iter().map(|segment| segment.trim_end_matches(['.', ' ']).to_owned()).collect())
        }),
        ("a proxy and an application that decode one after the other", |path| {
            Some(split(&resolve(&decode(&resolve(&decode(path)?)?)?)?))
        }),
        ("decode, then parse as a URL", |path| {
            let decoded = decode(path)?;
            Some(split(&resolve(decoded.split(['?', '#']).next()?)?))
        }),
    ];
}

/// What the protected routes of [`shop`] cover, said without patterns.
fn is_protected(segments: &[String]) -> bool {
    let lower: Vec<String> = segments.iter().map(|segment| segment.to_lowercase()).collect();
    let words: Vec<&str> = lower.iter().map(String::as_str).collect();
    matches!(words[..], ["account", ..] | ["team", _, "admin", ..])
}

fn protects(table: &Table, path: &str) -> bool {
    match table.find("h", path, &Method::GET, &[]) {
        Ok(matched) => matched.rules.policy == Policy::Require,
        Err(error) => matches!(error, Unroutable::BadPath { .. }),
    }
}

/// What paths around the protected ones are put together from.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "/", "/", "//", "%2F", "%252f", "%5C", "account", "/account", "ACCOUNT", "%61ccount", "%2561ccount", "/team/",
    "admin", "/admin", "%61dmin", "public", "/public/", "..", "/..", "%2e%2e", "/.", ".", ";x", ";", "%3B", "%20",
    "%3Fq", "%23f", "x", "/x",
];

/// Ways to write one character.
fn spelt(c: char, way: u8) -> String {
    match way {
        0 => format!("%{:02x}", u32::from(c)),
        1 => format!("%25{:02X}", u32::from(c)),
        2 => c.to_ascii_uppercase().to_string(),
        _ => c.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_server_finds_a_protected_path_that_was_not_judged_as_one(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..8)
    ) {
        let path = format!("/{}", pieces.concat());
        let finder = servers::ALL.iter().find(|(_, read)| read(&path).is_some_and(|read| is_protected(&read)));
        if let Some((server, _)) = finder {
            let met = met(&shop(), "h", &path);
            prop_assert!(protects(&shop(), &path), "{server} reads {path} as protected, and it meets {met}");
        }
    }

    #[test]
    fn no_misspelling_of_a_protected_path_is_judged_as_another(
        words in prop::sample::select(vec![vec!["account"], vec!["account", "x"], vec!["team", "x", "admin"]]),
        ways in prop::collection::vec(0_u8..20, 20),
        separators in prop::collection::vec(prop::sample::select(vec![
            "/", "/", "/", "//", "/./", "/x/../", ";p/", "%2F", "%5c", "%252F", "/;a/", "/%2e/", "/y%2F../", "%20/",
        ]), 3),
    ) {
        let mut ways = ways.into_iter();
        let mut path = "/".to_owned();
        for (place, word) in words.iter().enumerate() {
            // Whatever stands before the first slash has no segment to belong to.
            match separators[place].strip_prefix('/') {
                _ if place > 0 => path.push_str(separators[place]),
                Some(behind) => path.push_str(behind),
                None => {}
            }
            path.extend(word.chars().map(|c| spelt(c, ways.next().unwrap_or(9))));
        }
        prop_assert!(protects(&shop(), &path), "{path} meets {}", met(&shop(), "h", &path));
    }

    #[test]
    fn no_path_makes_the_table_stumble(path in "[/.;%25Ffa ?#\\\\é\\x00-\\x7f]{0,40}") {
        let _ = shop().find("h", &path, &Method::GET, &[]);
        let _ = shop().find("h", &format!("/{path}"), &Method::GET, &[]);
    }
}

/// The property above is worth nothing if servers seldom find anything.
#[test]
fn the_modelled_servers_do_find_protected_paths() {
    for (path, least) in [
        ("/account/x", 11),
        ("/%61ccount", 8),
        ("/public/..%2faccount", 5),
        ("/public/..;/account", 2),
        ("/account%5Cx", 2),
        ("/team/a%2Fb/%61dmin", 2),
        ("/%2561ccount", 1),
        ("/account%3Fx", 1),
    ] {
        let finders = servers::ALL.iter().filter(|(_, read)| read(path).is_some_and(|read| is_protected(&read)));
        assert!(finders.count() >= least, "{path}");
    }
}

#[test]
fn a_hundred_made_up_methods_are_judged_as_one() {
    let route = Route { methods: vec![Method::POST], ..Route::implied() };
    let table = Table::new(vec![route]);
    let made_up: Vec<Method> = (0..100).map(|number| format!("M{number}").parse().unwrap()).collect();
    let methods = [&Method::POST, &Method::GET].into_iter().chain(&made_up).chain([&Method::HEAD]);
    let told_apart: Vec<_> = table.told_apart(methods).map(Method::as_str).collect();
    assert_eq!(told_apart, ["POST", "GET", "HEAD"]);
}
