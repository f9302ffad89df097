//! One delivery: a POST, signed as Standard Webhooks 1.0 says, bounded in time.

use std::error::Error as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Certificate, Client, Url, redirect};

use crate::backoff::retry_after;
use crate::clock::Clock;

use super::message::Message;
use super::{Config, Error, SigningSecret};

/// Of an answer's body nothing is of interest but that it comes to its end. One that is longer is no receiver's: some
/// page, for whatever is asked of a server that knows no webhooks, or a body without end.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A receiver that asks for more than an hour is asked again after one.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Makes deliveries.
#[derive(Debug)]
pub(super) struct Courier {
    client: Client,
    url: Url,
    secret: SigningSecret,
    clock: Arc<dyn Clock>,
}

/// Why a delivery may not have arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) why: String,
    /// How long the receiver wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Courier {
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let url = Url::parse(&config.url).map_err(|error| Error::Address(error.to_string()))?;
        // No proxy: what the environment says of proxies is meant for people's programs. No redirect: it would carry an
        // event to an address that nobody configured, or lose it on the way (a POST may become a GET).
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(config.timeout);
        let client = match &config.ca {
            Some(path) => {
                let pem = fs::read(path).map_err(|source| Error::Authorities { path: path.clone(), source })?;
                client.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(Error::Client)?)
            }
            None if url.scheme() == "https" => client,
            // Without TLS there is nobody to trust: that needs no root certificates on this machine.
            None => client.tls_certs_only([]),
        };
        let client = client.user_agent("guestpass").build().map_err(Error::Client)?;
        Ok(Self { client, url, secret: config.secret.clone(), clock })
    }

    /// Returns `Ok` when the receiver has accepted it: a 2xx with all of its body. What breaks off before is no
    /// acceptance, since it may be the end of a receiver that had not kept anything yet. Everything else is tried again,
    /// 410 too: the address is the operator's own choice, and to stop telling it would lose what only he can decide on.
    pub(super) async fn deliver(&self, message: Message) -> Result<(), Failure> {
        let timestamp = self.clock.now().seconds();
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-signature", self.secret.sign(&message.id, timestamp, &message.body))
            .header("webhook-timestamp", timestamp)
            .header("webhook-id", message.id)
            .body(message.body);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let asks = matches!(status.as_u16(), 429 | 503);
            let named = response.headers().get(RETRY_AFTER).filter(|_| asks).and_then(|value| value.to_str().ok());
            let wait = named.and_then(|value| retry_after(value, self.clock.now()));
            let why = format!("the receiver answered {status}");
            return Err(Failure { why, retry_after: wait.map(|wait| wait.min(LONGEST_WAIT)) });
        }
        let mut read = 0;
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            read += chunk.len();
            if read > LONGEST_ANSWER {
                let why = format!("the receiver answered {status}, and with more than {LONGEST_ANSWER} bytes");
                return Err(Failure { why, retry_after: None });
            }
        }
        Ok(())
    }
}

/// Says the innermost cause too ("connection refused"), and not the address, which may hold a credential.
fn unreachable(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    let why = match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    Failure { why, retry_after: None }
}
