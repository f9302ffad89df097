//! Who may call the operator's listener.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Request};

use crate::context::Connection;
use crate::refusal::{Code, Refusal};
use crate::secret::SecretText;
use crate::tls::SharedFacts;

/// What a caller is measured by.
#[derive(Debug)]
pub(super) struct Access {
    /// What calls that change something must bring, and on any address but loopback most others too.
    pub(super) token: Option<SecretText>,
    /// What our certificate says of itself, where we speak TLS.
    pub(super) certificate: Option<SharedFacts>,
    /// Whether only this machine can reach us.
    pub(super) is_loopback: bool,
}

impl Access {
    /// A page in the operator's browser must not reach us through a name that its author has pointed here (DNS
    /// rebinding): a host is ours if it is the very address that was connected to, or a name that our certificate bears.
    pub(super) fn is_our_host<B>(&self, request: &Request<B>) -> bool {
        let Some(connection) = request.extensions().get::<Connection>() else { return false };
        let mut hosts = request.headers().get_all(HOST).iter();
        let (host, several) = (hosts.next(), hosts.next().is_some());
        let Ok(host) = host.map(|host| Authority::try_from(host.as_bytes())).transpose() else { return false };
        let target = request.uri().authority();
        // RFC 9110, section 7.2, has the target's own authority replace `Host`; but where both are said, neither may be
        // another's.
        let is_said = target.is_some() || host.is_some();
        is_said && !several && target.into_iter().chain(&host).all(|authority| self.is_ours(authority, connection))
    }

    fn is_ours(&self, authority: &Authority, connection: &Connection) -> bool {
        // `user@` is no part of a Host (RFC 9110, section 4.2.4).
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().to_ascii_lowercase();
        let is_ours = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => ip == connection.local.ip(),
            Err(_) if host == "localhost" && self.is_loopback => true,
            Err(_) => self.bears(&host),
        };
        let port = authority.port_u16().unwrap_or_else(|| if self.certificate.is_some() { 443 } else { 80 });
        is_ours && port == connection.local.port()
    }

    fn bears(&self, host: &str) -> bool {
        let mut facts = self.certificate.iter().flat_map(SharedFacts::load);
        facts.any(|facts| facts.are_for(host))
    }

    /// To look on, this machine is trusted and nobody else.
    pub(super) fn may_look(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.is_loopback { Ok(()) } else { self.brings_token(headers) }
    }

    /// To change something the token is needed everywhere, and a page that asks for it is to be ours.
    pub(super) fn may_change<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        self.brings_token(request.headers())?;
        if self.is_our_page(request) { Ok(()) } else { Err(Refusal::new(Code::CrossOrigin, "admin: another origin")) }
    }

    /// A browser says with every POST which page it comes from (the Fetch standard, section 3.2); programs say nothing.
    /// The host was found ours before.
    fn is_our_page<B>(&self, request: &Request<B>) -> bool {
        let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
        let host = request.uri().authority().map(|authority| authority.as_str().as_bytes()).or(host);
        let scheme = if self.certificate.is_some() { "https://" } else { "http://" };
        let ours = host.map(|host| [scheme.as_bytes(), host].concat());
        let said = request.headers().get_all(ORIGIN).iter();
        said.map(HeaderValue::as_bytes).all(|said| ours.as_ref().is_some_and(|ours| said.eq_ignore_ascii_case(ours)))
    }

    fn brings_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            return Err(Refusal::new(Code::AdminTokenMissing, "admin: no token is configured"));
        };
        let said = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        match said {
            Some((scheme, said))
                if scheme.eq_ignore_ascii_case("bearer") && SecretText::new(said.trim().to_owned()) == *token =>
            {
                Ok(())
            }
            _ => Err(Refusal::new(Code::AdminTokenRequired, "admin: another token")),
        }
    }
}
