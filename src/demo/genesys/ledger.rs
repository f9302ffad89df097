//! What the simulator saw and is told to do: calls, counters, and the faults in force.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::json;

use crate::clock::Timestamp;
use crate::demo::genesys::contract::{Answer, LARGEST_BODY};
use crate::demo::genesys::faults::{Faults, Struck};
use crate::demo::genesys::wire::{FaultsForm, StateReport};
use crate::demo::genesys::{Notice, Trouble};
use crate::random::Random;
use crate::secret::SecretText;

/// What is remembered one by one: a demonstration may run for days.
const REMEMBERED: usize = 10_000;

/// Where a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Where tokens come from.
    Token,
    /// Where sessions come from.
    Session,
    /// The simulator's own.
    Simulator,
    /// Nowhere.
    Other,
}

/// One call, and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where it went.
    pub endpoint: Endpoint,
    /// When it came.
    pub at: Timestamp,
    /// What it was answered with; `None` when it never was, since it hung or the client left.
    pub status: Option<StatusCode>,
    /// The nonce it came with.
    pub nonce: Option<String>,
    /// The fault that it met.
    pub trouble: Option<Trouble>,
    /// The session that was made.
    pub minted: Option<Minted>,
}

/// One session that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// Its id.
    pub id: String,
    /// Its token.
    pub token: SecretText,
    /// The nonce it was asked for under.
    pub nonce: String,
    /// `web`, `mobile` or `desktop`.
    pub channel: String,
    /// What came with it.
    pub metadata: BTreeMap<String, String>,
    /// How long it was to last, in seconds.
    pub expiration_seconds: u32,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Endpoint {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let sessions = path.strip_prefix("/api/v2/webmessaging/organizations/");
        let sessions = sessions.and_then(|rest| rest.strip_suffix("/sessions"));
        match path {
            _ if path.starts_with("/simulator/") => Self::Simulator,
            "/oauth/token" if method == Method::POST => Self::Token,
            _ if method == Method::POST && sessions.is_some_and(|id| !id.contains('/')) => Self::Session,
            _ => Self::Other,
        }
    }
}

/// Calls, counters and faults.
pub(super) struct Ledger {
    notice: Option<Notice>,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    faults: Faults,
    calls: VecDeque<Call>,
    /// How many calls came before the first of `calls`.
    forgotten: u64,
    token_calls: u64,
    session_calls: u64,
    other_calls: u64,
    sessions: u64,
    statuses: BTreeMap<String, u64>,
}

impl Ledger {
    pub(super) fn new(faults: Faults, notice: Option<Notice>) -> Self {
        Self { notice, pages: Mutex::new(Pages { faults, ..Pages::default() }) }
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.pages().faults = faults;
    }

    pub(super) fn strike(&self, endpoint: Endpoint, random: &dyn Random) -> Struck {
        self.pages().faults.strike(endpoint, random)
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.pages().calls.iter().cloned().collect()
    }

    /// Answers the simulator's own endpoints.
    pub(super) async fn steer(&self, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/simulator/faults") => {
                let body = Limited::new(request.into_body(), LARGEST_BODY).collect().await;
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                let read = serde_json::from_slice::<FaultsForm>(&body).map_err(|error| error.to_string());
                match read.and_then(|form| Faults::try_from(form).map_err(|error| error.to_string())) {
                    Ok(faults) => {
                        let answer = json!({ "faults": FaultsForm::from(&faults) });
                        self.set_faults(faults);
                        in_json(StatusCode::OK, answer.to_string())
                    }
                    Err(message) => in_json(StatusCode::BAD_REQUEST, json!({ "message": message }).to_string()),
                }
            }
            (&Method::GET, "/simulator/state") => {
                let report = serde_json::to_string(&self.report()).expect("counters and text always make JSON");
                in_json(StatusCode::OK, report)
            }
            _ => {
                let message = "here are POST /simulator/faults and GET /simulator/state";
                in_json(StatusCode::NOT_FOUND, json!({ "message": message }).to_string())
            }
        }
    }

    fn report(&self) -> StateReport {
        let pages = self.pages();
        StateReport {
            token_calls: pages.token_calls,
            session_calls: pages.session_calls,
            other_calls: pages.other_calls,
            sessions: pages.sessions,
            statuses: pages.statuses.clone(),
            faults: FaultsForm::from(&pages.faults),
        }
    }

    /// Notes that a call came in, so that calls stand in the order of their arrival and one that hangs can be seen.
    pub(super) fn note(&self, call: Call) -> Noting<'_> {
        let mut pages = self.pages();
        match call.endpoint {
            Endpoint::Token => pages.token_calls += 1,
            Endpoint::Session => pages.session_calls += 1,
            Endpoint::Other | Endpoint::Simulator => pages.other_calls += 1,
        }
        if pages.calls.len() == REMEMBERED {
            pages.calls.pop_front();
            pages.forgotten += 1;
        }
        let place = pages.forgotten + pages.calls.len() as u64;
        pages.calls.push_back(call.clone());
        Noting { ledger: self, place, call }
    }

    fn note_end(&self, place: u64, call: &Call) {
        if let Some(notice) = &self.notice {
            notice(call);
        }
        let mut pages = self.pages();
        pages.sessions += u64::from(call.minted.is_some());
        let status = call.status.map_or_else(|| "none".to_owned(), |status| status.as_str().to_owned());
        *pages.statuses.entry(status).or_default() += 1;
        let index = place.checked_sub(pages.forgotten).and_then(|index| usize::try_from(index).ok());
        if let Some(noted) = index.and_then(|index| pages.calls.get_mut(index)) {
            *noted = call.clone();
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("pages", &self.pages).finish_non_exhaustive()
    }
}

/// A call that is being answered. Its end is noted when this is dropped, so also when the client went away.
pub(super) struct Noting<'a> {
    ledger: &'a Ledger,
    place: u64,
    pub(super) call: Call,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        self.ledger.note_end(self.place, &self.call);
    }
}

pub(super) fn in_json(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_where_its_path_says() {
        for (method, path, endpoint) in [
            (Method::POST, "/oauth/token", Endpoint::Token),
            (Method::GET, "/oauth/token", Endpoint::Other),
            (Method::POST, "/api/v2/webmessaging/organizations/demo/sessions", Endpoint::Session),
            (Method::POST, "/api/v2/webmessaging/organizations/a/b/sessions", Endpoint::Other),
            (Method::GET, "/api/v2/webmessaging/organizations/demo/sessions", Endpoint::Other),
            (Method::GET, "/simulator/state", Endpoint::Simulator),
            (Method::GET, "/", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::of(&method, path), endpoint, "{method} {path}");
        }
    }

    #[test]
    fn the_ledger_is_bounded_and_its_counters_are_not() {
        let ledger = Ledger::new(Faults::default(), None);
        let call = Call {
            endpoint: Endpoint::Token,
            at: Timestamp::from_seconds(0),
            status: None,
            nonce: None,
            trouble: None,
            minted: None,
        };
        let slow = ledger.note(call.clone());
        for _ in 0..REMEMBERED {
            let mut noting = ledger.note(call.clone());
            noting.call.status = Some(StatusCode::OK);
        }
        drop(slow);
        assert_eq!(ledger.calls().len(), REMEMBERED);
        assert!(ledger.calls().iter().all(|call| call.status.is_some()), "the slow one was forgotten before it ended");
        let report = ledger.report();
        assert_eq!((report.statuses["200"], report.statuses["none"]), (REMEMBERED as u64, 1));
        assert_eq!(report.token_calls, REMEMBERED as u64 + 1);
    }
}
