//! A visitor: a client with a cookie jar of his own.

use std::net::SocketAddr;

use http::{HeaderMap, Method, StatusCode};
use reqwest::Client;
use reqwest::redirect::Policy;

/// The host that visitors ask for. Its certificate names it.
pub(crate) const HOST: &str = "localhost";

/// Somebody with a jar. Only the session cookie is kept in it, as it was set, without looking at its attributes.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    client: Client,
    address: SocketAddr,
    scheme: &'static str,
    pub(crate) cookie: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Visitor {
    pub(crate) fn over_http1(address: SocketAddr) -> Self {
        Self::with(Client::builder().http1_only(), address)
    }

    pub(crate) fn over_http2(address: SocketAddr) -> Self {
        Self::with(Client::builder().http2_prior_knowledge(), address)
    }

    /// To a listener without TLS, as a terminator in front of it would come.
    pub(crate) fn in_the_clear(address: SocketAddr) -> Self {
        Self { scheme: "http", ..Self::over_http1(address) }
    }

    fn with(client: reqwest::ClientBuilder, address: SocketAddr) -> Self {
        let client = client.no_proxy().redirect(Policy::none()).tls_danger_accept_invalid_certs(true);
        let client = client.resolve(HOST, address).build().unwrap();
        Self { client, address, scheme: "https", cookie: None }
    }

    /// The same person with another cookie in his jar.
    pub(crate) fn holding(&self, cookie: impl Into<String>) -> Self {
        Self { cookie: Some(cookie.into()), ..self.clone() }
    }

    /// A GET as any HTTP library sends it, which counts as a visit.
    pub(crate) async fn visit(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }

    /// A request with these header fields; a session cookie that comes back goes into the jar.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.request(method, path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request).await
    }

    /// A request to be filled in, with the jar's cookie.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}://{HOST}:{}{path}", self.scheme, self.address.port());
        let request = self.client.request(method, url);
        match &self.cookie {
            Some(cookie) => request.header("cookie", format!("genesys_session={cookie}")),
            None => request,
        }
    }

    pub(crate) async fn send(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = Answer { status, headers, body: response.text().await.unwrap() };
        if let Some(cookie) = answer.session_cookie() {
            // An empty one takes it away.
            self.cookie = Some(cookie.value).filter(|value| !value.is_empty());
        }
        answer
    }
}

/// A `Set-Cookie` taken apart.
#[derive(Clone, Debug)]
pub(crate) struct SetCookie {
    pub(crate) value: String,
    /// In lower case, in the order they stand.
    pub(crate) attributes: Vec<String>,
}

impl Answer {
    /// The session cookie that it sets.
    pub(crate) fn session_cookie(&self) -> Option<SetCookie> {
        self.headers.get_all("set-cookie").iter().find_map(|value| {
            let (pair, attributes) = value.to_str().unwrap().split_once(';').unwrap();
            let value = pair.strip_prefix("genesys_session=")?.to_owned();
            let attributes = attributes.split(';').map(|attribute| attribute.trim().to_ascii_lowercase()).collect();
            Some(SetCookie { value, attributes })
        })
    }

    /// Whether it takes the marker of a session away, which goes with its session.
    pub(crate) fn expires_marker(&self) -> bool {
        let is_expired = |cookie: &str| {
            cookie.starts_with("genesys_session_seen=;") && cookie.to_ascii_lowercase().contains("max-age=0")
        };
        self.headers.get_all("set-cookie").iter().any(|value| value.to_str().is_ok_and(is_expired))
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        problem["code"].as_str().unwrap().to_owned()
    }
}
