//! One HTTP call to Genesys, bounded in time and in size, and how its failure is read.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::clock::{Clock, Timestamp};
use crate::genesys::figures::{Counts, Endpoint};
use crate::genesys::retry::{Failure, Refused, retry_after};
use crate::genesys::wire::{ErrorBody, TokenErrorBody};
use crate::genesys::{Config, Error};

/// A session and a token are less than 2 KiB, an error body seldom more: a server that lies must not fill our memory.
const LARGEST_BODY: usize = 64 * 1024;

/// What is repeated of Genesys' words: enough for a sentence, too little to flood a log.
const LONGEST_MESSAGE: usize = 300;

/// Makes the calls.
#[derive(Debug)]
pub(super) struct Caller {
    client: Client,
    attempt_timeout: Duration,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
}

/// An answer with all of its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// A token may stand in it.
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) received: Timestamp,
}

impl Caller {
    pub(super) fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let addresses = [("base_url", config.sessions_url()), ("token_url", config.token_url.clone())];
        let mut encrypted = false;
        for (key, address) in addresses {
            encrypted |= callable(key, &address)?.scheme() == "https";
        }
        // No proxy: what the environment says of proxies is meant for people's programs, and may lead loopback astray.
        // No redirect: it would carry a credential to an address that nobody configured.
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none());
        // Without TLS there is nobody to trust: a machine without root certificates can still talk to the simulator.
        let client = if encrypted { client } else { client.tls_certs_only([]) };
        let client = client.build().map_err(Error::Client)?;
        Ok(Self { client, attempt_timeout: config.attempt_timeout, clock, counts: Arc::default() })
    }

    pub(super) const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    pub(super) fn post(&self, url: &str) -> RequestBuilder {
        self.client.post(url)
    }

    /// Sends `request` and reads the whole answer, whatever its status, within `attempt_timeout` and `limit`.
    pub(super) async fn send(
        &self,
        endpoint: Endpoint,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let exchange = async {
            let response = request.send().await.map_err(unreachable)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = match read(response).await {
                // What is wrong with an error's body does not change that it is an error.
                Err(Failure::Malformed(_)) if !status.is_success() => Zeroizing::default(),
                other => other?,
            };
            Ok(Answer { status, headers, body, received: self.clock.now() })
        };
        let came_to = timeout(limit.min(self.attempt_timeout), exchange).await.unwrap_or(Err(Failure::TimedOut));
        self.counts.called(endpoint, &came_to);
        came_to
    }
}

impl Answer {
    /// An error of the sessions' endpoint.
    pub(super) fn refused(&self, secrets: &[&str]) -> Refused {
        let body: ErrorBody = serde_json::from_slice(&self.body).unwrap_or_default();
        self.refused_with(body.message.as_deref(), body.context_id.as_deref(), secrets)
    }

    /// An error of the token endpoint (RFC 6749, section 5.2).
    pub(super) fn refused_token(&self, secrets: &[&str]) -> Refused {
        let body: TokenErrorBody = serde_json::from_slice(&self.body).unwrap_or_default();
        let words = [body.error, body.error_description.or(body.description)];
        let message = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
        self.refused_with(Some(message.as_str()).filter(|message| !message.is_empty()), None, secrets)
    }

    fn refused_with(&self, message: Option<&str>, context_id: Option<&str>, secrets: &[&str]) -> Refused {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let message = message.or_else(|| self.status.canonical_reason()).unwrap_or("no message");
        Refused {
            status: self.status.as_u16(),
            message: quotable(message, secrets),
            context_id: context_id.map(|id| quotable(id, secrets)),
            correlation_id: header("inin-correlation-id").map(|id| quotable(id, secrets)),
            retry_after: header("retry-after").and_then(|value| retry_after(value, self.received)),
        }
    }
}

fn callable(key: &'static str, address: &str) -> Result<Url, Error> {
    let wrong = |reason: &str| Error::Address { key, reason: reason.to_owned() };
    let url = Url::parse(address).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it begins with neither https:// nor http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it has a user name or a password in it"));
    }
    Ok(url)
}

async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(Failure::Malformed(format!("the body is larger than {LARGEST_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Says the innermost cause too ("connection refused"), since the outer ones only say that it did not work; and not
/// the address, which the operator knows.
fn unreachable(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(|cause| cause.source()) {
        cause = Some(deeper);
    }
    Failure::Unreachable(match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

/// Genesys' words as they may stand in a log: short, on one line, and without what nobody may read there.
fn quotable(words: &str, secrets: &[&str]) -> String {
    let mut words = words.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        words = words.replace(secret, "…");
    }
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_made_fit_for_a_log() {
        assert_eq!(quotable("bad\r\nINFO all is well\u{7}", &[]), "bad  INFO all is well ");
        assert_eq!(quotable("token hush is stale, hush!", &["hush", ""]), "token … is stale, …!");
        assert_eq!(quotable(&"ä".repeat(1_000), &[]).chars().count(), LONGEST_MESSAGE);
    }

    #[test]
    fn an_address_that_cannot_be_called_is_named_without_being_shown() {
        for address in ["", "api.mypurecloud.com", "ftp://api.example", "http://", "https://me:hush@api.example"] {
            let said = callable("base_url", address).unwrap_err().to_string();
            assert!(said.starts_with("base_url is no address") && !said.contains("hush"), "{said}");
        }
        assert_eq!(callable("base_url", "http://127.0.0.1:9/x").unwrap().scheme(), "http");
    }

    fn answer(status: u16, header: (&'static str, &str), body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(header.0, header.1.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let body = Zeroizing::new(body.as_bytes().to_vec());
        Answer { status, headers, body, received: Timestamp::from_seconds(1_795_357_200) }
    }

    #[test]
    fn genesys_own_words_are_kept_and_what_there_is_otherwise() {
        let body = r#"{"message":"no such org","code":"x","status":404,"contextId":"c-1","details":[],"errors":[]}"#;
        let refused = answer(404, ("inin-correlation-id", "i-1"), body).refused(&[]);
        assert_eq!((refused.status, refused.message.as_str()), (404, "no such org"));
        assert_eq!((refused.context_id.as_deref(), refused.correlation_id.as_deref()), (Some("c-1"), Some("i-1")));

        let refused = answer(503, ("retry-after", "7"), "<html>").refused(&[]);
        assert_eq!(
            (refused.message.as_str(), refused.retry_after),
            ("Service Unavailable", Some(Duration::from_secs(7)))
        );
    }

    #[test]
    fn the_token_endpoint_speaks_oauth() {
        let body = r#"{"error":"invalid_client","description":"client not found","error_description":"client gone"}"#;
        let refused = answer(400, ("x", "y"), body).refused_token(&[]);
        assert_eq!(refused.message, "invalid_client: client gone");
        assert_eq!(answer(401, ("x", "y"), "{}").refused_token(&[]).message, "Unauthorized");
    }
}
