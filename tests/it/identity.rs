//! What the site is told of a visitor is the proxy's own word: what a client claims is dropped before, and what is added
//! behind that cannot be taken away by what a client said.

use http::Method;

use crate::harness::{Plan, Town, Visitor, raw};

/// Everything that the site is told beside what the client said. `Via` is the one to which everybody on the way adds
/// (RFC 9110, section 7.6.3), so it stands last.
const OURS: [&str; 11] = [
    "x-genesys-session-id",
    "x-genesys-session-expires",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "forwarded",
    "x-real-ip",
    "traceparent",
    "via",
];

#[tokio::test]
async fn a_claim_is_replaced_by_what_was_verified_and_by_what_was_minted() {
    let town = Town::raise().await;
    let claimed = &OURS[..OURS.len() - 1];
    let claims: Vec<_> = claimed.iter().map(|name| (*name, "mine")).collect();
    for mut visitor in [town.visitor(), Visitor::over_http2(town.address())] {
        // The first time it is minted, the second time verified.
        for _ in 0..2 {
            visitor.ask(Method::GET, "/", &claims).await;
            let seen = town.site_saw();
            for name in claimed.iter().copied() {
                let values: Vec<_> = seen.headers.get_all(name).iter().collect();
                assert!(!values.is_empty() && values.iter().all(|value| *value != "mine"), "{name}: {values:?}");
            }
            let session = town.genesys.sessions().pop().unwrap();
            assert_eq!(seen.headers["x-genesys-session-id"], session.id.as_str());
        }
    }
}

#[tokio::test]
async fn connection_names_nothing_away_that_is_added_behind_it() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    let everything = OURS.join(", ");
    for _ in 0..2 {
        visitor.ask(Method::GET, "/", &[("connection", everything.as_str())]).await;
        let seen = town.site_saw();
        let gone: Vec<_> = OURS.into_iter().filter(|name| !seen.headers.contains_key(*name)).collect();
        assert!(gone.is_empty(), "{gone:?} did not arrive");
    }
}

/// Servers that speak CGI's dialect make the same variable of all of them.
#[tokio::test]
async fn no_spelling_of_a_name_that_means_something_to_us_arrives() {
    let town = Town::raise().await;
    let unsayable = [
        "x-forwarded-server",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-request-uri",
        "x-envoy-original-path",
        "x-http-destinationurl",
        "x-original-host",
        "x-host",
        "path-info",
        "script-name",
        "true-client-ip",
        "client-ip",
        "transfer-encoding",
        "content-length",
        "sec-fetch-site",
        "proxy-authorization",
    ];
    // All that a token may have beside letters and digits (RFC 9110, section 5.6.2).
    for separator in "!#$%&'*+-.^_`|~".chars() {
        let names = OURS.iter().chain(&unsayable).filter(|name| name.contains('-'));
        let spelt = names.filter(|name| {
            separator != '-' || !["transfer-encoding", "content-length", "sec-fetch-site"].contains(name)
        });
        let claims: String = spelt.map(|name| name.replace('-', &separator.to_string()) + ": mine\r\n").collect();
        let request =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx{separator}fine: yes\r\n{claims}\r\n");
        assert!(raw::exchange(town.address(), request.as_bytes()).await.starts_with("HTTP/1.1 200"), "{separator}");
        let seen = town.site_saw();
        assert_eq!(seen.headers[&format!("x{separator}fine")], "yes", "what means nothing to us passes");
        let arrived: Vec<_> = seen.headers.iter().filter(|(_, value)| *value == "mine").collect();
        assert!(arrived.is_empty(), "{separator}: {arrived:?}");
    }
}

#[tokio::test]
async fn the_operator_may_let_a_name_through_by_name() {
    let kept = vec!["X-Envoy-Original-Path", "CF-Connecting-IP"];
    let town = Town::planned(Plan::default().set("upstream.keep_headers", kept)).await;
    let claims = [
        ("x-envoy-original-path", "1"),
        ("cf-connecting-ip", "2"),
        ("x-original-url", "3"),
        ("x_envoy_original_path", "4"),
    ];
    town.visitor().ask(Method::POST, "/", &claims).await;
    let seen = town.site_saw();
    let arrived: Vec<_> =
        claims.iter().filter(|(name, _)| seen.headers.contains_key(*name)).map(|(_, value)| *value).collect();
    assert_eq!(arrived, ["1", "2"]);
}

/// They come when everything is judged and sent already.
#[tokio::test]
async fn no_trailer_says_what_a_header_may_not() {
    let town = Town::raise().await;
    let trailers: String = OURS
        .iter()
        .chain(&["x_genesys_session_id", "host", "content-length", "transfer-encoding", "x-original-url", "cookie"])
        .map(|name| format!("{name}: mine\r\n"))
        .collect();
    let request = format!(
        "POST /body HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTE: trailers\r\nTrailer: x-checksum\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-checksum: fine\r\n{trailers}\r\n"
    );
    assert!(raw::exchange(town.address(), request.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let trailers = town.site_saw().trailers.unwrap();
    let named: Vec<_> = trailers.keys().map(ToString::to_string).collect();
    assert_eq!(named, ["x-checksum"]);
}

/// A proxy that writes `X-Forwarded-For` alone lets a visitor's own `Forwarded` pass.
#[tokio::test]
async fn a_forwarded_that_leads_to_somebody_else_is_not_passed_on() {
    let town = Town::planned(Plan::default().set("trust.proxies", vec!["127.0.0.0/8"])).await;
    let host = format!(";host=\"localhost:{}\";proto=https", town.address().port());
    for (claimed, expected) in [
        ("for=6.6.6.6", format!("for=192.0.2.1{host}")),
        ("for=192.0.2.1;proto=https", format!("for=192.0.2.1;proto=https, for=127.0.0.1{host}")),
    ] {
        let claims = [("x-forwarded-for", "192.0.2.1"), ("forwarded", claimed)];
        town.visitor().ask(Method::POST, "/", &claims).await;
        assert_eq!(town.site_saw().headers["forwarded"], expected);
        assert_eq!(town.site_saw().headers["x-real-ip"], "192.0.2.1");
    }
}

#[tokio::test]
async fn a_trace_is_passed_on_or_begun() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    visitor
        .ask(Method::POST, "/", &[("traceparent", PARENT), ("tracestate", "a=1"), ("connection", "traceparent")])
        .await;
    let seen = town.site_saw();
    assert_eq!(
        (&seen.headers["traceparent"], &seen.headers["tracestate"]),
        (&PARENT.parse().unwrap(), &"a=1".parse().unwrap())
    );

    for wrong in [&[][..], &[("traceparent", "00-0-0-0")], &[("traceparent", PARENT), ("traceparent", PARENT)]] {
        visitor.ask(Method::POST, "/", &[wrong, &[("tracestate", "a=1")]].concat()).await;
        let seen = town.site_saw();
        let parents: Vec<_> = seen.headers.get_all("traceparent").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(
            matches!(parents[..], [one] if one.len() == 55 && one != PARENT && one.ends_with("-00")),
            "{parents:?}"
        );
        assert!(!seen.headers.contains_key("tracestate"), "it belongs to no trace");
    }
}

#[tokio::test]
async fn the_first_visit_and_the_next_are_told_the_same_end() {
    let town = Town::raise().await;
    let mut visitor = town.visitor();
    let mut ends = Vec::new();
    for _ in 0..2 {
        visitor.visit("/").await;
        ends.push(town.site_saw().headers["x-genesys-session-expires"].clone());
    }
    assert_eq!(town.minted(), 1);
    assert_eq!(ends[0], ends[1]);
}

/// A stranger's reached the site, where the access log knew the request by another.
#[tokio::test]
async fn the_request_id_of_a_stranger_is_not_passed_on() {
    let town = Town::raise().await;
    for name in ["x-request-id", "x_request_id"] {
        let answer = town.visitor().ask(Method::GET, "/", &[(name, "mine")]).await;
        let seen = town.site_saw();
        assert_eq!(seen.headers["x-request-id"], answer.headers["x-request-id"]);
        assert!(seen.headers.values().all(|value| value != "mine"), "{name}");
    }
}
