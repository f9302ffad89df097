//! What the simulator demands and answers when nothing is wrong with it: Genesys' side of the contract.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::clock::Clock;
use crate::demo::genesys::ledger::in_json;
use crate::demo::genesys::wire::{ApiError, OauthError, SessionForm, SessionMade, TokenMade};
use crate::demo::genesys::{Endpoint, Malformation, Minted, Settings};
use crate::genesys::{Channel, EXPIRATION_SECONDS, METADATA_LIMIT, REQUIRED_SCOPE, metadata_size};
use crate::secret::SecretText;

/// An answer that is ready to be sent.
pub(super) type Answer = Response<Bytes>;

/// Nothing that Genesys is told is longer.
pub(super) const LARGEST_BODY: usize = 64 * 1024;

/// How many tokens and nonces are remembered, and the nonces for how long.
const REMEMBERED: usize = 100_000;
const NONCES_REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Genesys as it should be.
pub(super) struct Contract {
    settings: Settings,
    limiter: RateLimiter<NotKeyed, InMemoryState, Uptime, NoOpMiddleware<Duration>>,
    memory: Mutex<Memory>,
}

/// Oldest first; moments are in [`Clock::uptime`].
#[derive(Default)]
struct Memory {
    tokens: VecDeque<(String, Duration)>,
    nonces: VecDeque<(String, Duration)>,
    /// The same nonces, for looking them up.
    spent: HashSet<String>,
}

/// An error in the making: status, code, message.
type Objection = (StatusCode, &'static str, String);

impl Contract {
    pub(super) fn new(settings: Settings) -> Self {
        let quota = Quota::per_second(NonZeroU32::new(settings.rate_limit).unwrap_or(NonZeroU32::MIN));
        let limiter = RateLimiter::direct_with_clock(quota, Uptime(Arc::clone(&settings.clock)));
        Self { settings, limiter, memory: Mutex::default() }
    }

    pub(super) fn revoke_tokens(&self) {
        self.memory().tokens.clear();
    }

    /// An error that was ordered.
    pub(super) fn fault(&self, endpoint: Endpoint, status: StatusCode, retry_after: Option<&str>) -> Answer {
        let mut answer = match endpoint {
            Endpoint::Token => oauth_error(status, "server_error", "ordered from the simulator"),
            _ => self.error(&(status, "simulated.fault", "ordered from the simulator".to_owned())),
        };
        if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(value).ok()) {
            answer.headers_mut().insert(RETRY_AFTER, value);
        }
        answer
    }

    /// Answers as Genesys would, but for the malformation.
    pub(super) async fn answer(
        &self,
        endpoint: Endpoint,
        request: Request<Incoming>,
        malformation: Option<Malformation>,
    ) -> (Answer, Option<Minted>) {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
            let objection = (StatusCode::PAYLOAD_TOO_LARGE, "request.too.large", "the body is too large".to_owned());
            return (self.error(&objection), None);
        };
        let body = body.to_bytes();
        match endpoint {
            Endpoint::Token => (self.token(&head.headers, &body, malformation), None),
            Endpoint::Session => match self.session(head.uri.path(), &head.headers, &body) {
                Ok(minted) => (session_made(&minted, malformation), Some(minted)),
                Err(objection) => (self.error(&objection), None),
            },
            Endpoint::Simulator | Endpoint::Other => {
                (self.error(&(StatusCode::NOT_FOUND, "not.found", "there is nothing here".to_owned())), None)
            }
        }
    }

    fn token(&self, headers: &HeaderMap, body: &[u8], malformation: Option<Malformation>) -> Answer {
        if !is_of_type(headers, "application/x-www-form-urlencoded") {
            return oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "a token is asked for with a form");
        }
        let field = |name: &str| form_field(body, name);
        if field("grant_type").as_deref() != Some("client_credentials") {
            return oauth_error(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "only client_credentials is offered",
            );
        }
        if field("region").is_none_or(|region| region.is_empty()) {
            return oauth_error(StatusCode::BAD_REQUEST, "invalid_request", "region is missing");
        }
        let basic = basic_credentials(headers);
        // RFC 6749, section 5.2: 401 answers a client that tried the Authorization header.
        let status = if basic.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        let client = basic.or_else(|| Some((field("client_id")?, field("client_secret")?)));
        let known = client.is_some_and(|(id, secret)| {
            id == self.settings.client_id && SecretText::new(secret) == self.settings.client_secret
        });
        if !known {
            return oauth_error(status, "invalid_client", "client not found, or its secret is another");
        }
        self.token_made(malformation)
    }

    fn token_made(&self, malformation: Option<Malformation>) -> Answer {
        let token = self.random_text();
        let until = self.settings.clock.uptime() + self.settings.token_lifetime;
        let mut memory = self.memory();
        if memory.tokens.len() >= REMEMBERED {
            memory.tokens.pop_front();
        }
        memory.tokens.push_back((token.clone(), until));
        drop(memory);
        let access_token = match malformation {
            Some(Malformation::MissingToken) => None,
            Some(Malformation::BadToken) => Some("not a\r\ntoken"),
            _ => Some(token.as_str()),
        };
        let expires_in = self.settings.token_lifetime.as_secs();
        let made = written(&TokenMade { access_token, token_type: "bearer", expires_in });
        in_json(StatusCode::OK, misshapen(made, malformation))
    }

    /// The checks in Genesys' order: who asks, whether they may, how often, and only then for what.
    fn session(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> Result<Minted, Objection> {
        self.check_organization(path)?;
        self.check_token(headers)?;
        self.limiter.check().map_err(|_| {
            let message = format!("more than {} sessions a second", self.settings.rate_limit);
            (StatusCode::TOO_MANY_REQUESTS, "too.many.requests", message)
        })?;
        let form = session_form(headers, body)?;
        let nonce = nonce(headers)
            .filter(|nonce| Uuid::try_parse(nonce).is_ok_and(|nonce| nonce.get_version_num() == 4))
            .ok_or_else(|| bad_request("X-Genesys-Request-Nonce is no UUID of version 4"))?;
        self.spend(&nonce)?;
        let now = self.settings.clock.now();
        Ok(Minted {
            id: self.random_uuid().to_string(),
            token: SecretText::new(self.random_text()),
            nonce,
            channel: form.channel,
            metadata: form.metadata,
            expiration_seconds: form.expiration_seconds,
            expires_at: now.plus(Duration::from_secs(form.expiration_seconds.into())),
        })
    }

    fn check_organization(&self, path: &str) -> Result<(), Objection> {
        // …/organizations/{organizationId}/sessions
        let segment = path.rsplit('/').nth(1).unwrap_or_default();
        let organization = percent_decode_str(segment).decode_utf8_lossy();
        let not_found = |message: &str| Err((StatusCode::NOT_FOUND, "organization.not.found", message.to_owned()));
        if Uuid::try_parse(&organization).is_ok() {
            return not_found(
                "this is guestpass' simulator, and the organization asked for looks like a real one: the simulator \
                 never makes sessions for those",
            );
        }
        if organization != self.settings.organization_id {
            return not_found("there is no such organization here");
        }
        Ok(())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Objection> {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let now = self.settings.clock.uptime();
        let known = bearer
            .is_some_and(|bearer| self.memory().tokens.iter().any(|(token, until)| token == bearer && now < *until));
        if !known {
            let message = "the token is invalid or expired".to_owned();
            return Err((StatusCode::UNAUTHORIZED, "bad.credentials", message));
        }
        if !self.settings.scopes.iter().any(|scope| scope == REQUIRED_SCOPE) {
            let message = format!("the client lacks the scope {REQUIRED_SCOPE}");
            return Err((StatusCode::FORBIDDEN, "missing.scope", message));
        }
        Ok(())
    }

    fn spend(&self, nonce: &str) -> Result<(), Objection> {
        let now = self.settings.clock.uptime();
        let mut memory = self.memory();
        while let Some((_, until)) = memory.nonces.front()
            && (*until <= now || memory.nonces.len() >= REMEMBERED)
        {
            if let Some((old, _)) = memory.nonces.pop_front() {
                memory.spent.remove(&old);
            }
        }
        if !memory.spent.insert(nonce.to_owned()) {
            return Err((StatusCode::CONFLICT, "nonce.already.used", "the nonce was used before".to_owned()));
        }
        memory.nonces.push_back((nonce.to_owned(), now + NONCES_REMEMBERED_FOR));
        Ok(())
    }

    /// Genesys' error body. A rate limit names when to come again: its buckets refill every second.
    fn error(&self, (status, code, message): &Objection) -> Answer {
        let trace = self.random_uuid().to_string();
        let body = ApiError {
            message,
            code,
            status: status.as_u16(),
            message_params: Default::default(),
            context_id: &trace,
            details: Vec::new(),
            errors: Vec::new(),
        };
        let mut answer = in_json(*status, written(&body));
        let trace = HeaderValue::from_str(&trace).expect("a UUID is visible ASCII");
        answer.headers_mut().insert("inin-correlation-id", trace);
        if *code == "too.many.requests" {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }

    fn random_uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.settings.random.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// 43 characters that may stand in a URL.
    fn random_text(&self) -> String {
        let mut bytes = [0; 32];
        self.settings.random.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The nonce as it was sent.
pub(super) fn nonce(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("x-genesys-request-nonce")?.to_str().ok()?.to_owned())
}

fn session_form(headers: &HeaderMap, body: &[u8]) -> Result<SessionForm, Objection> {
    if !is_of_type(headers, "application/json") {
        let message = "a session is asked for with JSON".to_owned();
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported.media.type", message));
    }
    let form: SessionForm = serde_json::from_slice(body).map_err(|error| bad_request(&error.to_string()))?;
    if Channel::parse(&form.channel).is_none() {
        return Err(bad_request("channel is web, mobile or desktop"));
    }
    if !EXPIRATION_SECONDS.contains(&form.expiration_seconds) {
        return Err(bad_request("expirationSeconds lies between 300 and 86400"));
    }
    if metadata_size(&form.metadata) > METADATA_LIMIT {
        return Err(bad_request("metadata is longer than 2048 bytes"));
    }
    Ok(form)
}

fn session_made(minted: &Minted, malformation: Option<Malformation>) -> Answer {
    let expires_at = match malformation {
        Some(Malformation::Past) => "2001-01-01T00:00:00Z".to_owned(),
        Some(Malformation::TooFar) => minted.expires_at.plus(Duration::from_secs(10 * 86_400)).to_string(),
        _ => minted.expires_at.to_string(),
    };
    let session_token = match malformation {
        Some(Malformation::MissingToken) => None,
        Some(Malformation::BadToken) => Some("no token; Path=/"),
        _ => Some(minted.token.expose()),
    };
    let made = SessionMade {
        id: &minted.id,
        session_token,
        expiration_seconds: minted.expiration_seconds,
        expiration_timestamp: expires_at,
    };
    in_json(StatusCode::CREATED, misshapen(written(&made), malformation))
}

fn bad_request(message: &str) -> Objection {
    (StatusCode::BAD_REQUEST, "bad.request", message.to_owned())
}

/// RFC 6749, section 5.2, with Genesys' `description`.
fn oauth_error(status: StatusCode, error: &str, description: &str) -> Answer {
    in_json(status, written(&OauthError { error, description, error_description: description }))
}

fn written<T: serde::Serialize>(body: &T) -> String {
    serde_json::to_string(body).expect("text and numbers always make JSON")
}

/// What malformations do to the whole of a body.
fn misshapen(body: String, malformation: Option<Malformation>) -> String {
    match malformation {
        Some(Malformation::NotJson) => format!("<html>{body}</html>"),
        // Sound JSON but for its size.
        Some(Malformation::Huge) => body + &" ".repeat(1 << 20),
        _ => body,
    }
}

fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    sent.split(';').next().is_some_and(|sent| sent.trim().eq_ignore_ascii_case(media_type))
}

/// RFC 7617.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    decoded.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// One field of an `application/x-www-form-urlencoded` body.
fn form_field(body: &[u8], name: &str) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let value = body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8().ok()?.into_owned())
}

/// The simulator's clock as its limiter wants it.
struct Uptime(Arc<dyn Clock>);

impl governor::clock::Clock for Uptime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.uptime()
    }
}
