//! A visit that is to have a session: it gets one, within its address's limit and in writing where somebody must have it
//! so, or goes the way that the route has for that.

use std::time::Duration;

use bytes::Bytes;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{Request, Response};
use http_body_util::{Either, Full};
use tower_service::Service;

use crate::cookie::SetCookies;
use crate::event::Event;
use crate::policy::OnMintFailure;
use crate::refusal::{Code, Refusal};
use crate::session::{MintError, Session, Source};

use super::outcome::Action;
use super::service::Visit;
use super::visit;

/// Mints, and hands the request on; `otherwise` says what becomes of it without a session.
pub(super) async fn mint_and_pass<S, B, R>(
    mut visit: Visit,
    otherwise: OnMintFailure,
    mut inner: S,
    mut request: Request<B>,
) -> Result<Response<Either<R, Full<Bytes>>>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    let started = visit.gate.clock.uptime();
    let host = visit.host(request.headers());
    let minted = visit.mint(&host, visit::has_fetch_metadata(request.headers())).await;
    let waited = visit.gate.clock.uptime().saturating_sub(started);
    visit.note(|entry| entry.mint_time = Some(waited));
    match minted {
        Ok((session, cookies, source)) => {
            visit.note(|entry| {
                entry.decision = Some("mint");
                entry.mint = Some(source.as_str());
                entry.session_id = Some(session.id.clone());
            });
            // The answer is to be whole: a 304 or 206 could not carry the cookie.
            for condition in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
                request.headers_mut().remove(condition);
            }
            visit.outcome.action = Action::Mint(source);
            visit.hand_on(session.into(), &mut request);
            let response = inner.call(request).await?;
            Ok(visit.finish(response, cookies.into_iter().collect()))
        }
        Err(why) => {
            let refusal = visit.without_session(&why, waited);
            match otherwise {
                OnMintFailure::Refuse if !visit.rules.shadow => {
                    Ok(visit.refuse(&refusal, request.headers()).map(Either::Right))
                }
                OnMintFailure::Pass | OnMintFailure::Refuse => {
                    if otherwise == OnMintFailure::Refuse {
                        visit.shadow(refusal.code.as_str());
                    }
                    visit.note(|entry| {
                        entry.decision = Some("pass");
                        entry.reason = Some(refusal.reason);
                    });
                    let response = inner.call(request).await?;
                    Ok(visit.finish(response, Vec::new()))
                }
            }
        }
    }
}

impl Visit {
    /// A session for this visit, the cookies that carry it, and where it came from.
    /// When this returns, whoever must have it in writing has it.
    async fn mint(&self, host: &str, is_browser: bool) -> Result<(Session, SetCookies, Source), NoSession> {
        let started = self.gate.clock.uptime();
        if let Some(client) = self.client {
            self.gate.limiter.take(client, is_browser).map_err(NoSession::Limited)?;
        }
        let (session, source) = match self.at_hand() {
            Some(session) => (session, Source::Pool),
            None => (self.mint_directly().await?, Source::Direct),
        };
        let cookies = self.gate.jar.write(&session, host, self.gate.clock.now()).map_err(MintError::from)?;
        if let Some(key_id) = cookies.key_id {
            let waited = self.gate.clock.uptime().saturating_sub(started);
            let protection = self.gate.jar.protection();
            let minted = Event::Minted { session: &session, key_id, protection, waited, source };
            let recorded = self.gate.sink.record(&minted, self.context.as_deref()).await;
            recorded.map_err(|error| MintError::Unrecorded(error.to_string()))?;
            self.tell(&minted);
        }
        Ok((session, cookies, source))
    }

    /// A session that was made ahead may have been taken back since, with all that were issued before some moment.
    fn at_hand(&self) -> Option<Session> {
        std::iter::from_fn(|| self.gate.provider.at_hand()).find(|session| !self.gate.revocations.is_revoked(session))
    }

    async fn mint_directly(&self) -> Result<Session, MintError> {
        let budget = self.gate.config.mint_timeout;
        // The provider is bound to keep the budget; a visitor is not to wait for one that does not.
        let minted = tokio::time::timeout(budget, self.unrevoked(budget)).await;
        minted.unwrap_or(Err(MintError::TimedOut { waited: budget }))
    }

    /// What the provider gives may have been left over by another visit; one that is made now was not taken back.
    async fn unrevoked(&self, budget: Duration) -> Result<Session, MintError> {
        let asked = self.gate.clock.now();
        loop {
            let session = self.gate.provider.mint(budget).await?;
            if session.issued_at >= asked || !self.gate.revocations.is_revoked(&session) {
                return Ok(session);
            }
        }
    }

    /// What a visit without a session is told, where it is told anything.
    fn without_session(&self, why: &NoSession, waited: Duration) -> Refusal {
        match why {
            NoSession::Limited(wait) => {
                self.tell(&Event::MintLimited);
                Refusal::new(Code::TooManySessions, "mint_limit").retry_after(*wait)
            }
            NoSession::Failed(error) => {
                self.tell(&Event::MintFailed { error, waited });
                self.note(|entry| entry.mint = Some("failed"));
                // Where nothing better is known, a second: the next attempt is as likely to work as any.
                let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
                Refusal::new(Code::SessionUnavailable, error.code()).retry_after(wait)
            }
        }
    }
}

/// Why a visit gets no session.
enum NoSession {
    Limited(Duration),
    Failed(MintError),
}

impl From<MintError> for NoSession {
    fn from(error: MintError) -> Self {
        Self::Failed(error)
    }
}
