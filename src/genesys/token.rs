//! The OAuth token that acts for us at Genesys: fetched once, kept in memory, fetched anew before it ends.
//!
//! However many visits wait, one fetch is in flight. It belongs to all of them: the visit that began it may go away,
//! and the fetch goes on for as long as anybody waits.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use http::HeaderValue;
use http::header::AUTHORIZATION;

use crate::clock::Clock;
use crate::genesys::answer::misread;
use crate::genesys::breaker::Breaker;
use crate::genesys::call::{Answer, Caller};
use crate::genesys::figures::Endpoint;
use crate::genesys::retry::Failure;
use crate::genesys::wire::{TokenAnswer, TokenRequest};
use crate::genesys::{ClientAuth, Config};
use crate::secret::SecretText;

/// A token is fetched anew this long before its end: time for several tries, should Genesys be failing just then.
const MARGIN: Duration = Duration::from_secs(60);

/// A client that is not accepted is tried again this rarely: nothing changes until a person acts, who then waits a
/// minute at most.
const CLIENT_RETRY: Duration = Duration::from_secs(60);

/// While the old token is still good a failed fetch is not repeated for this long, so that only a few visits of that
/// last minute wait for it.
const REFRESH_RETRY: Duration = Duration::from_secs(5);

/// A token.
#[derive(Clone)]
pub(super) struct Token {
    value: Arc<SecretText>,
    /// Which fetch it came from.
    generation: u64,
    /// Both in [`Clock::uptime`].
    fresh_until: Duration,
    good_until: Duration,
}

/// Keeps the token.
pub(super) struct Tokens {
    caller: Arc<Caller>,
    breaker: Arc<Breaker>,
    clock: Arc<dyn Clock>,
    url: String,
    client_auth: ClientAuth,
    client_id: String,
    client_secret: SecretText,
    region: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    generation: u64,
    /// Weak, so that a fetch that nobody waits for any more is gone, and the next visit begins its own.
    fetching: Option<WeakShared<Fetch>>,
    hold: Option<Hold>,
    /// Whether it was said that the client is not accepted: once is enough.
    client_lamented: bool,
}

/// No fetch before `until`, for this reason.
struct Hold {
    until: Duration,
    failure: Failure,
}

type Fetch = Pin<Box<dyn Future<Output = Result<Token, Failure>> + Send>>;

impl Tokens {
    pub(super) fn new(config: &Config, caller: Arc<Caller>, breaker: Arc<Breaker>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            caller,
            breaker,
            clock,
            url: config.token_url.clone(),
            client_auth: config.client_auth,
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            region: config.region.clone(),
            state: Mutex::default(),
        })
    }

    /// A token to use now.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Token, Failure> {
        let fetch = match self.at_hand() {
            Ok(known) => return known,
            Err(fetch) => fetch,
        };
        fetch.await.or_else(|failure| self.still_good().ok_or(failure))
    }

    /// Genesys does not accept `token`: it is not used again. One that came after it stays.
    pub(super) fn refuse(&self, token: &Token) {
        let mut state = self.locked();
        if state.token.as_ref().is_some_and(|kept| kept.generation == token.generation) {
            state.token = None;
        }
    }

    /// What is known without a call, or the fetch to wait for.
    fn at_hand(self: &Arc<Self>) -> Result<Result<Token, Failure>, Shared<Fetch>> {
        let now = self.clock.uptime();
        let mut state = self.locked();
        let good = state.token.clone().filter(|token| now < token.good_until);
        if let Some(token) = good.clone().filter(|token| now < token.fresh_until) {
            return Ok(Ok(token));
        }
        if let Some(fetch) = state.fetching.as_ref().and_then(WeakShared::upgrade) {
            return Err(fetch);
        }
        if let Some(hold) = state.hold.as_ref().filter(|hold| now < hold.until) {
            match (good, &hold.failure) {
                (Some(token), _) => return Ok(Ok(token)),
                (None, Failure::Client(_)) => return Ok(Err(hold.failure.clone())),
                // The old token ended meanwhile, and what was wrong with the fetch may be over.
                (None, _) => {}
            }
        }
        let tokens = Arc::clone(self);
        let fetch: Fetch = Box::pin(async move {
            let fetched = tokens.fetch().await;
            tokens.keep(fetched)
        });
        let fetch = fetch.shared();
        state.fetching = fetch.downgrade();
        Err(fetch)
    }

    /// For how long the token is good, if there is one that is.
    pub(super) fn left(&self) -> Option<Duration> {
        let token = self.still_good()?;
        Some(token.good_until.saturating_sub(self.clock.uptime()))
    }

    fn still_good(&self) -> Option<Token> {
        let now = self.clock.uptime();
        self.locked().token.clone().filter(|token| now < token.good_until)
    }

    async fn fetch(&self) -> Result<Token, Failure> {
        let in_body = self.client_auth == ClientAuth::Body;
        let request = self.caller.post(&self.url).form(&TokenRequest {
            grant_type: "client_credentials",
            client_id: in_body.then_some(self.client_id.as_str()),
            client_secret: in_body.then_some(self.client_secret.expose()),
            region: &self.region,
        });
        let request = match self.client_auth {
            ClientAuth::Body => request,
            ClientAuth::Basic => request.basic_auth(&self.client_id, Some(self.client_secret.expose())),
        };
        // Counted from before the call, so that we never think a token good for longer than Genesys does.
        let asked = self.clock.uptime();
        let answer = self.caller.send(Endpoint::Token, request, Duration::MAX).await?;
        self.made(&answer, asked)
    }

    fn made(&self, answer: &Answer, asked: Duration) -> Result<Token, Failure> {
        let (value, lifetime) = self.judge(answer)?;
        let good_until = asked.saturating_add(lifetime);
        // Half of a token's life is left to it where a whole margin would leave it none.
        let fresh_until = good_until - MARGIN.min(lifetime / 2);
        Ok(Token { value: Arc::new(value), generation: 0, fresh_until, good_until })
    }

    fn judge(&self, answer: &Answer) -> Result<(SecretText, Duration), Failure> {
        if !answer.status.is_success() {
            let refused = answer.refused_token(&[self.client_secret.expose()]);
            return Err(match refused.status {
                400 | 401 | 403 => Failure::Client(refused.message),
                _ => Failure::Refused(refused),
            });
        }
        let malformed = |reason: &str| Failure::Malformed(format!("of the token: {reason}"));
        let body: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|error| malformed(&misread(&error)))?;
        let value = body.access_token.map(SecretText::new).ok_or_else(|| malformed("access_token is missing"))?;
        let seconds = body.expires_in.ok_or_else(|| malformed("expires_in is missing"))?;
        if body.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(malformed("token_type is not bearer"));
        }
        if value.expose().is_empty() || !value.expose().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed("access_token cannot stand in a header"));
        }
        Ok((value, Duration::from_secs(seconds)))
    }

    /// Keeps what a fetch came to, and ends that fetch for those who come later.
    fn keep(&self, fetched: Result<Token, Failure>) -> Result<Token, Failure> {
        let now = self.clock.uptime();
        self.caller.counts().fetched_token(fetched.is_ok());
        let mut state = self.locked();
        state.fetching = None;
        match fetched {
            Ok(mut token) => {
                state.generation += 1;
                token.generation = state.generation;
                state.token = Some(token.clone());
                state.hold = None;
                if std::mem::take(&mut state.client_lamented) {
                    tracing::info!("Genesys accepts the OAuth client again");
                }
                Ok(token)
            }
            Err(failure) => {
                if failure.breaks() {
                    self.breaker.failed();
                }
                let until = now + if matches!(failure, Failure::Client(_)) { CLIENT_RETRY } else { REFRESH_RETRY };
                state.hold = Some(Hold { until, failure: failure.clone() });
                if let Failure::Client(message) = &failure
                    && !std::mem::replace(&mut state.client_lamented, true)
                {
                    tracing::error!(
                        client_id = self.client_id,
                        // Not `message`: that is what tracing calls its own sentence.
                        answer = message,
                        "Genesys does not accept the OAuth client: check its id and secret. No session can be made; \
                         it is tried again every {} s",
                        CLIENT_RETRY.as_secs()
                    );
                }
                Err(failure)
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// `Authorization` (RFC 6750, section 2.1).
    pub(super) fn authorize(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.value.expose()))
            .expect("a token is kept only if it is visible ASCII");
        value.set_sensitive(true);
        request.header(AUTHORIZATION, value)
    }

    /// For finding it in the words of others. See [`Answer::refused`].
    pub(super) fn expose(&self) -> &str {
        self.value.expose()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("url", &self.url).field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::genesys::{Channel, Payload};

    /// Keeps tokens of an endpoint that is never asked here.
    fn tokens() -> Arc<Tokens> {
        let config = Config {
            base_url: "http://127.0.0.1:9".to_owned(),
            token_url: "http://127.0.0.1:9/oauth/token".to_owned(),
            client_auth: ClientAuth::Body,
            client_id: "client".to_owned(),
            client_secret: SecretText::new("secret".to_owned()),
            organization_id: "org".to_owned(),
            region: "us-east-1".to_owned(),
            scopes: Vec::new(),
            payload: Payload { channel: Channel::Web, expiration_seconds: 600, metadata: BTreeMap::new() },
            rate_limit: 100,
            attempt_timeout: Duration::from_secs(1),
            max_attempts: 3,
            breaker_failures: 5,
            breaker_retry: Duration::from_secs(10),
        };
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let caller = Arc::new(Caller::new(&config, Arc::clone(&clock)).unwrap());
        let breaker = Arc::new(Breaker::new(5, Duration::from_secs(10), Arc::clone(&clock)));
        Tokens::new(&config, caller, breaker, clock)
    }

    fn fetched(tokens: &Tokens, lifetime: u64) -> Token {
        let body = format!(r#"{{"access_token":"t","token_type":"Bearer","expires_in":{lifetime}}}"#);
        tokens.keep(tokens.made(&answer(&body), Duration::ZERO)).unwrap()
    }

    fn answer(body: &str) -> Answer {
        Answer {
            status: http::StatusCode::OK,
            headers: http::HeaderMap::new(),
            body: body.as_bytes().to_vec().into(),
            received: Timestamp::from_seconds(0),
        }
    }

    #[test]
    fn a_late_refusal_does_not_throw_the_new_token_away() {
        let tokens = tokens();
        let (old, new) = (fetched(&tokens, 600), fetched(&tokens, 600));
        tokens.refuse(&old);
        assert_eq!(tokens.still_good().unwrap().generation, new.generation);
        tokens.refuse(&new);
        assert!(tokens.still_good().is_none());
    }

    #[test]
    fn a_token_is_fresh_until_a_minute_before_its_end_or_for_half_of_a_short_life() {
        for (lifetime, fresh) in [(86_400, 86_340), (120, 60), (90, 45), (1, 0), (0, 0)] {
            assert_eq!(fetched(&tokens(), lifetime).fresh_until.as_secs(), fresh, "{lifetime}");
        }
        assert!(fetched(&tokens(), u64::MAX).fresh_until > Duration::from_secs(u64::MAX - 61));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for body in [
            "{}",
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"","expires_in":600}"#,
            r#"{"access_token":"a b","expires_in":600}"#,
            r#"{"access_token":"t","expires_in":"600"}"#,
            r#"{"access_token":"t","expires_in":-1}"#,
            r#"{"access_token":"t","expires_in":600,"token_type":"mac"}"#,
        ] {
            let judged = tokens().made(&answer(body), Duration::ZERO);
            assert!(matches!(judged, Err(Failure::Malformed(_))), "{body}: {judged:?}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = Token { value: Arc::new(SecretText::new("hush".to_owned())), ..fetched(&tokens(), 600) };
        assert!(!format!("{token:?}").contains("hush"));
    }
}
