//! The provider itself: one session, with all the tries that its budget and Genesys' error table allow.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::Clock;
use crate::genesys::answer::{Asked, judge};
use crate::genesys::breaker::Breaker;
use crate::genesys::budget::{Budget, PATIENCE};
use crate::genesys::call::Caller;
use crate::genesys::figures::{Endpoint, Figures, add};
use crate::genesys::nonce::{Nonce, Nonces};
use crate::genesys::retry::{BACKOFF, Failure, Next, Tried, next};
use crate::genesys::token::{Token, Tokens};
use crate::genesys::wire::SessionRequest;
use crate::genesys::{Config, Error, PayloadError, check_organization_id};
use crate::random::Random;
use crate::session::{MintError, Minting, Provider, Session};

/// Makes guest sessions over Genesys' REST interface.
///
/// ```
/// use std::sync::Arc;
///
/// use guestpass::clock::SystemClock;
/// use guestpass::cookie::Key;
/// use guestpass::gate::GateLayer;
/// use guestpass::genesys::{Config, Rest};
/// use guestpass::random::SystemRandom;
/// use guestpass::secret::{SecretBytes, SecretText};
///
/// # let [client_id, organization_id] = ["id", "organization"].map(str::to_owned);
/// # let client_secret = SecretText::new("secret".to_owned());
/// # let key = Key::from_secret(&SecretBytes::new(vec![7; 32]))?;
/// let api = "https://api.mypurecloud.com".to_owned();
/// let config = Config::new(api, client_id, client_secret, organization_id);
/// let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
/// let gate = GateLayer::new(key, rest);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Provider::mint`] must run within a tokio runtime. Dropping what it returned gives everything up at once and
/// leaves nothing behind but a spent nonce.
#[derive(Debug)]
pub struct Rest {
    config: Config,
    sessions_url: String,
    /// The body is the same for every session, so it is checked and written once.
    body: Result<Bytes, PayloadError>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    caller: Arc<Caller>,
    tokens: Arc<Tokens>,
    nonces: Nonces,
    budget: Budget,
    breaker: Arc<Breaker>,
}

impl Rest {
    /// A provider that has not called anybody yet. A payload that breaks Genesys' rules is no error here: each
    /// [`Provider::mint`] then says so, and sends nothing.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use guestpass::clock::SystemClock;
    /// use guestpass::genesys::{Config, Error, Rest};
    /// use guestpass::random::SystemRandom;
    ///
    /// fn provider(config: Config) -> Result<Rest, Error> {
    ///     Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// An address that cannot be called, or no root certificates on this machine although an address needs them.
    pub fn new(config: Config, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, Error> {
        let caller = Arc::new(Caller::new(&config, Arc::clone(&clock))?);
        let breaker = Arc::new(Breaker::new(config.breaker_failures, config.breaker_retry, Arc::clone(&clock)));
        let tokens = Tokens::new(&config, Arc::clone(&caller), Arc::clone(&breaker), Arc::clone(&clock));
        Ok(Self {
            sessions_url: config.sessions_url(),
            body: body(&config),
            caller,
            tokens,
            nonces: Nonces::new(Arc::clone(&clock), Arc::clone(&random)),
            budget: Budget::new(config.rate_limit, Arc::clone(&clock)),
            breaker,
            config,
            clock,
            random,
        })
    }

    /// How it fares, now and later.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use guestpass::{clock::SystemClock, genesys::{Config, Rest}, random::SystemRandom, secret::SecretText};
    /// # let [api, client_id, organization_id] = ["https://api.mypurecloud.ie", "id", "organ"].map(str::to_owned);
    /// # let config = Config::new(api, client_id, SecretText::new("secret".to_owned()), organization_id);
    /// # let rest = Rest::new(config, Arc::new(SystemClock::new()), Arc::new(SystemRandom))?;
    /// let figures = rest.figures();
    /// assert_eq!(figures.retries(), 0); // Nobody was called yet.
    /// # Ok::<(), guestpass::genesys::Error>(())
    /// ```
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (counts, breaker) = (Arc::clone(self.caller.counts()), Arc::clone(&self.breaker));
        Figures { counts, breaker, tokens: Arc::clone(&self.tokens) }
    }

    /// Draws the first nonce, and lets go of the last one when there is no session in the end.
    async fn session(&self, budget: Duration) -> Result<Session, MintError> {
        let body = self.body.as_ref().map_err(|error| MintError::InvalidPayload(error.to_string()))?;
        let visit = Visit { body, started: Instant::now(), budget };
        let mut nonce = self.fresh_nonce()?;
        let session = self.try_until_done(&visit, &mut nonce).await;
        if session.is_err() {
            nonce.release();
        }
        session
    }

    async fn try_until_done<'a>(&'a self, visit: &Visit<'_>, nonce: &mut Nonce<'a>) -> Result<Session, MintError> {
        let mut tried = Tried { max_calls: self.config.max_attempts, ..Tried::default() };
        let mut patience = PATIENCE;
        let mut backoffs = 0;
        let mut failed: Option<Failure> = None;
        loop {
            // A try that the budget then holds back is lost to the breaker's next one: rare, and it harms nobody.
            let admitted = match self.breaker.admit() {
                Err(retry_after) => Err(MintError::BreakerOpen { retry_after }),
                Ok(()) => self.turn(&mut patience, visit).await,
            };
            if let Err(error) = admitted {
                // What went wrong first says more than that there was no second time.
                return Err(failed.map_or(error, |failure| self.error(failure, visit)));
            }
            if tried.calls > 0 {
                add(&self.caller.counts().retries, 1);
            }
            tried.calls += 1;
            let failure = match self.attempt(visit, nonce, tried).await {
                Ok(session) => return Ok(session),
                Err(failure) => failure,
            };
            if let Some(wait) = failure.pause() {
                self.budget.pause(wait);
            }
            match next(&failure, tried) {
                Next::FreshToken => tried.fresh_token = true,
                Next::FreshNonce => {
                    tried.fresh_nonce = true;
                    *nonce = self.fresh_nonce()?;
                }
                Next::Again(named) => {
                    let wait = named.unwrap_or_else(|| BACKOFF.wait(backoffs, &*self.random));
                    backoffs += 1;
                    if wait >= visit.left() {
                        return Err(self.error(failure, visit));
                    }
                    sleep(wait).await;
                }
                Next::GiveUp => return Err(self.error(failure, visit)),
            }
            failed = Some(failure);
        }
    }

    /// Waits for the organization's budget, never past the visit's own.
    async fn turn(&self, patience: &mut Duration, visit: &Visit<'_>) -> Result<(), MintError> {
        *patience = visit.left().min(*patience);
        let before = *patience;
        let turn = self.budget.turn(patience).await;
        self.caller.counts().turn(before.saturating_sub(*patience), turn.is_ok());
        turn.map_err(|retry_after| MintError::RateLimited { retry_after })
    }

    /// A token and one session call.
    async fn attempt(&self, visit: &Visit<'_>, nonce: &Nonce<'_>, tried: Tried) -> Result<Session, Failure> {
        let token = timeout_at(visit.started + visit.budget, self.tokens.current()).await;
        let token = token.unwrap_or(Err(Failure::TimedOut))?;
        let session = self.call(visit, nonce, &token).await;
        match &session {
            Ok(_) => self.breaker.succeeded(),
            Err(failure) if failure.breaks() => self.breaker.failed(),
            // Garbage says neither that Genesys works nor that it does not.
            Err(Failure::Malformed(_)) => {}
            Err(_) => self.breaker.succeeded(),
        }
        // Once per session: were each 401 to throw a token away, a Genesys that accepts none would be asked for two a
        // visit.
        if let Err(Failure::Refused(refused)) = &session
            && refused.status == 401
            && !tried.fresh_token
        {
            self.tokens.refuse(&token);
        }
        session
    }

    async fn call(&self, visit: &Visit<'_>, nonce: &Nonce<'_>, token: &Token) -> Result<Session, Failure> {
        let request = token
            .authorize(self.caller.post(&self.sessions_url))
            .header(CONTENT_TYPE, "application/json")
            .header("x-genesys-request-nonce", nonce.value().to_string())
            .body(visit.body.clone());
        let answer = self.caller.send(Endpoint::Sessions, request, visit.left()).await?;
        if !answer.status.is_success() {
            return Err(Failure::Refused(answer.refused(&[token.expose(), self.config.client_secret.expose()])));
        }
        let asked = Asked {
            organization_id: &self.config.organization_id,
            expiration_seconds: self.config.payload.expiration_seconds,
            received: self.clock.now(),
        };
        judge(&answer.body, asked).map_err(Failure::Malformed)
    }

    fn fresh_nonce(&self) -> Result<Nonce<'_>, MintError> {
        let lacking = || MintError::InvalidPayload("the random source repeats itself: no fresh nonce".to_owned());
        self.nonces.draw().ok_or_else(lacking)
    }

    fn error(&self, failure: Failure, visit: &Visit<'_>) -> MintError {
        failure.into_error(&self.config.organization_id, visit.started.elapsed())
    }
}

impl Provider for Rest {
    fn mint(&self, budget: Duration) -> Minting<'_> {
        Box::pin(self.session(budget.min(LONGEST_BUDGET)))
    }

    fn organization_id(&self) -> &str {
        &self.config.organization_id
    }
}

/// Nobody waits a day for a session; up to here a deadline can be computed without overflow.
const LONGEST_BUDGET: Duration = Duration::from_secs(86_400);

/// What stays the same over all tries for one session.
struct Visit<'a> {
    body: &'a Bytes,
    started: Instant,
    budget: Duration,
}

impl Visit<'_> {
    fn left(&self) -> Duration {
        self.budget.saturating_sub(self.started.elapsed())
    }
}

fn body(config: &Config) -> Result<Bytes, PayloadError> {
    check_organization_id(&config.organization_id)?;
    let payload = &config.payload;
    payload.check()?;
    let request = SessionRequest {
        channel: payload.channel.as_str(),
        expiration_seconds: payload.expiration_seconds,
        metadata: &payload.metadata,
    };
    Ok(serde_json::to_vec(&request).expect("text and numbers always make JSON").into())
}
