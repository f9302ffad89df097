//! The running proxy, as other commands reach it: by its admin listener, over TLS where that is configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, ClientBuilder, Method};
use serde_json::Value;
use tokio::runtime;

use crate::admin;
use crate::secret::SecretText;
use crate::tls::{self, CertificateFiles};

/// Whom the commands ask.
#[derive(Debug)]
pub(super) struct Operator {
    client: Client,
    origin: String,
    token: Option<SecretText>,
}

impl Operator {
    /// The proxy that runs with this configuration. No call takes longer than `patience`.
    pub(super) fn of(config: &admin::Config, patience: Duration) -> Result<Self> {
        let address = reachable(config.address);
        // It is on this machine, whatever proxy the environment names.
        let client = Client::builder().no_proxy().timeout(patience);
        let (client, origin) = match &config.tls {
            None => (client, format!("http://{address}")),
            Some(files) => secured(client, files, address)?,
        };
        Ok(Self { client: client.build()?, origin, token: config.token.clone() })
    }

    /// Asks for something, in JSON.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None)
    }

    /// Has something changed.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        if self.token.is_none() {
            bail!("no admin token: set GUESTPASS_ADMIN_TOKEN, for the running proxy and for this command");
        }
        self.call(Method::POST, path, Some(body))
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let Self { client, origin, token } = self;
        let request = client.request(method, format!("{origin}{path}"));
        let request = token.iter().fold(request, |request, token| request.bearer_auth(token.expose()));
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let response = request.send().await.with_context(|| format!("the proxy does not answer on {origin}"))?;
            let status = response.status();
            let answer: Value = response.json().await.context("the answer is no JSON: is this guestpass?")?;
            if !status.is_success() {
                let why = answer["detail"].as_str().or_else(|| answer["title"].as_str()).unwrap_or_default();
                bail!("the proxy refused with {status}: {why}");
            }
            Ok(answer)
        })
    }
}

/// Where a listener on every address is reached from this machine.
const fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The listener is asked for by a name that its certificate bears: it turns away any other.
fn secured(client: ClientBuilder, files: &CertificateFiles, address: SocketAddr) -> Result<(ClientBuilder, String)> {
    let client = client.tls_backend_preconfigured(tls::client_config(files)?);
    let names = tls::inspect(files)?.names;
    let own = address.ip().to_string();
    // A listener takes its own address from anybody.
    let Some(name) = names.first().filter(|_| !names.contains(&own)) else {
        return Ok((client, format!("https://{address}")));
    };
    // A wildcard is for any one label.
    let name = name.replacen('*', "admin", 1);
    let origin = format!("https://{name}:{}", address.port());
    Ok((client.resolve(&name, address), origin))
}
