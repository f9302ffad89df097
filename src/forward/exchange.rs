//! One request and its answer: find a connection, send, wait for the head, and say what went wrong if it did.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep_until};

use super::balance::Places;
use super::body::{Body, Download, Silence};
use super::headers::{self, Target};
use super::pool::{Lent, Link, Pool, Wish};
use super::retry;
use super::servers::{Busy, Group};
use super::upgrade;
use super::upload::{Broken, Upload};
use super::{Balance, HostHeader, Protocol, Surroundings, Upstream};
use crate::context::Context;
use crate::hygiene;
use crate::policy::Policy;
use crate::refusal::{Code, Refusal};
use crate::routes::Matched;
use crate::session::{Ending, Session};

/// How often a request may meet a connection that died under it before it is given up. Each time it goes out on a new
/// one, so a second death in a row says more of the upstream than of bad luck.
const ATTEMPTS: usize = 3;

/// An upstream and the core's connections to it.
pub(super) struct Destination {
    pub(super) group: Arc<Group>,
    /// One for each of its servers.
    pub(super) pools: Vec<Arc<Pool>>,
}

/// One request on its way.
pub(super) struct Exchange<'a> {
    pub(super) to: &'a Destination,
    pub(super) around: &'a Surroundings,
    pub(super) context: Arc<Context>,
    pub(super) upload: Upload,
    /// Of the client's connection, when it wishes to change to a WebSocket.
    websocket: Option<OnUpgrade>,
    /// What the client speaks.
    version: Version,
    /// The session that the route required, which nothing that was opened under it may outlast.
    required: Option<Arc<Session>>,
}

/// A request as it goes out, but for the form that its connection's HTTP has for it.
pub(super) struct Outgoing {
    pub(super) request: Request<Upload>,
    pub(super) target: Target,
}

/// Why there is no head.
enum Failure {
    /// Nothing of it was sent: here it is again.
    Unsent(Box<Request<Upload>>),
    /// The connection or the stream failed.
    Lost(hyper::Error),
    TooLate,
}

/// An answer's head, and what belongs to it.
struct Answered {
    response: Response<Incoming>,
    link: Link,
    /// Where it came from.
    place: usize,
    busy: Busy,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        to: &'a Destination,
        around: &'a Surroundings,
        context: Arc<Context>,
        head: &mut Parts,
        upload: Upload,
    ) -> Self {
        let wish = head.extensions.remove::<hygiene::Upgrade>();
        let websocket = head
            .extensions
            .remove::<OnUpgrade>()
            .filter(|_| wish.is_some() && head.version == Version::HTTP_11 && upload.is_empty());
        Self { to, around, context, upload, websocket, version: head.version, required: None }
    }

    /// Sends the request and returns the response, its body still under way.
    pub(super) async fn run(mut self, head: Parts) -> Result<Response<Body>, Refusal> {
        let websocket = self.websocket.is_some();
        let session = head.extensions.get::<Arc<Session>>();
        self.required = session.filter(|_| is_required(&head)).cloned();
        let by_session = self.to.group.settings.balance == Balance::Session;
        let session_id = session.filter(|_| by_session).map(|session| session.id.clone());
        let Outgoing { request, target } = Outgoing::new(self.to, &self.context, head, self.upload.clone(), websocket)?;

        let handed_over = self.around.clock.uptime();
        let answered = self.send(request, &target, session_id.as_deref()).await?;
        let waited = self.around.clock.uptime().saturating_sub(handed_over);
        self.context.record.note(|entry| entry.upstream_time = Some(waited));
        self.receive(answered)
    }

    /// Sends, and sends again where nothing can have been acted on.
    async fn send(
        &self,
        mut request: Request<Upload>,
        target: &Target,
        session: Option<&str>,
    ) -> Result<Answered, Refusal> {
        let clock = &*self.around.clock;
        let group = &*self.to.group;
        let mut tried = Places::default();
        let mut place = group.choose(tried, session, clock).ok_or_else(|| no_server("it has none"))?;
        let mut fresh = false;
        let mut deaths = 0;
        while deaths < ATTEMPTS {
            let (member, pool) = (&group.members[place], &self.to.pools[place]);
            let busy = member.busy();
            self.context.record.note(|entry| entry.server = Some(Arc::clone(&member.address)));
            let Lent { mut link, reused } = match pool.lend(Wish { only_http1: self.websocket.is_some(), fresh }).await
            {
                Ok(lent) => lent,
                Err(error) => {
                    if !error.is_for_want_of_sockets() {
                        member.did_not_connect(&group.settings.name, clock, describe(&error));
                    }
                    tried.insert(place);
                    fresh = false;
                    place = group.choose(tried, session, clock).ok_or_else(|| no_server(describe(&error)))?;
                    continue;
                }
            };
            if !reused {
                member.works(&group.settings.name, clock);
            }
            let over_http2 = matches!(link, Link::Http2(_));
            headers::shape(&mut request, target, &member.own_host, over_http2, self.websocket.is_some())
                .ok_or_else(|| Refusal::new(Code::BadRequest, "the host is no authority"))?;
            let spare = retry::spare(&request, reused);
            let failure = match self.answered(&mut link, request).await {
                Ok(response) => {
                    member.works(&group.settings.name, clock);
                    return Ok(Answered { response, link, place, busy });
                }
                Err(failure) => failure,
            };
            request = match failure {
                Failure::Unsent(unsent) => *unsent,
                Failure::Lost(error) => match spare.filter(|_| retry::died_unheard(&link, &error)) {
                    Some(spare) => spare,
                    None => return Err(self.lost(&link, &error)),
                },
                Failure::TooLate => {
                    return Err(Refusal::new(Code::UpstreamTimeout, "the upstream did not answer in time"));
                }
            };
            if let Link::Http2(shared) = &link {
                pool.retire(shared);
            }
            fresh = true;
            deaths += 1;
        }
        Err(no_server("the upstream's connections die as soon as they are used"))
    }

    /// Waits for the head, as long as the upstream may take.
    async fn answered(&self, link: &mut Link, request: Request<Upload>) -> Result<Response<Incoming>, Failure> {
        let failed = |mut error: hyper::client::conn::TrySendError<Request<Upload>>| match error.take_message() {
            Some(unsent) => Failure::Unsent(Box::new(unsent)),
            None => Failure::Lost(error.into_error()),
        };
        match link {
            Link::Http1(http1) => {
                let head = http1.sender.try_send_request(request);
                self.in_time(async { head.await.map_err(failed) }).await
            }
            Link::Http2(shared) => {
                let head = shared.sender.try_send_request(request);
                self.in_time(async { head.await.map_err(failed) }).await
            }
        }
    }

    async fn in_time<T>(&self, head: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let sent = Instant::now();
        let patience = self.to.group.settings.response_timeout;
        let mut head = std::pin::pin!(head);
        let mut due = std::pin::pin!(sleep_until(sent + patience));
        loop {
            tokio::select! {
                biased;
                answer = &mut head => return answer,
                () = &mut due => {
                    let later = self.upload.answer_due(sent, patience);
                    if later <= Instant::now() {
                        return Err(Failure::TooLate);
                    }
                    due.as_mut().reset(later);
                }
            }
        }
    }

    fn receive(&mut self, answered: Answered) -> Result<Response<Body>, Refusal> {
        let Answered { response, link, place, busy } = answered;
        let mut busy = Some(busy);
        let (mut head, incoming) = response.into_parts();
        let over_http2 = matches!(link, Link::Http2(_));
        if !over_http2 && !headers::framing_is_sound(&head.headers) {
            return Err(Refusal::new(Code::UpstreamInvalid, "the answer's framing is ambiguous"));
        }
        let switched = match (head.status, self.websocket.take()) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(client)) if upgrade::is_websocket(&head.headers) => Some(client),
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                return Err(Refusal::new(Code::UpstreamInvalid, "the upstream changed protocols unasked"));
            }
            _ => None,
        };
        headers::tell_client(&mut head.headers, head.status, head.version);
        let upstream = head.extensions.remove::<OnUpgrade>();
        if let (Some(client), Some(upstream)) = (switched, upstream) {
            head.headers.insert(UPGRADE, upgrade::WEBSOCKET);
            head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            let idle = self.to.group.settings.stream_idle_timeout;
            let (drain, ending, busy) = (self.around.drain.clone(), self.ending(), busy.take());
            self.around.tunnels.spawn(async move {
                upgrade::tunnel(client, upstream, idle, drain, ending).await;
                drop(busy);
            });
        }
        let streams = head.headers.get(CONTENT_TYPE).is_some_and(is_stream);
        let Upstream { idle_timeout, stream_idle_timeout, .. } = self.to.group.settings;
        // What the client is answered in is its own connection's affair.
        head.version = Version::HTTP_11;
        let body = Body::upstream(Download {
            incoming,
            link: link.into_http1(),
            pool: Arc::clone(&self.to.pools[place]),
            busy,
            upload: self.upload.clone(),
            lingers: self.lingers(),
            over_http2,
            idle_timeout: if streams { stream_idle_timeout } else { idle_timeout },
            ending: self.ending().filter(|_| streams).map(Ending::boxed),
            context: Arc::clone(&self.context),
            silence: Silence::default(),
            done: false,
        });
        Ok(Response::from_parts(head, body))
    }

    /// The end of the required session.
    fn ending(&self) -> Option<Ending> {
        let Surroundings { revocations, clock, .. } = self.around;
        let session = Arc::clone(self.required.as_ref()?);
        Some(Ending::of(session, Arc::clone(revocations), Arc::clone(clock)))
    }

    /// HTTP/2 tells a client to stop sending (RFC 9113, section 8.1); HTTP/1 must hear it out.
    pub(super) fn lingers(&self) -> bool {
        self.version != Version::HTTP_2
    }

    /// A request that was lost for good. If its own body broke, the upstream is not to blame.
    fn lost(&self, link: &Link, error: &hyper::Error) -> Refusal {
        match self.upload.broken() {
            Some(Broken::TooLarge) => {
                return Refusal::new(Code::BodyTooLarge, "the body is larger than it may be").closing();
            }
            Some(Broken::TimedOut) => return Refusal::new(Code::BodyTimeout, "the body stalled").closing(),
            Some(Broken::Malformed(rule)) => return rule.into(),
            // Nobody is there to read this.
            Some(Broken::Cut) => return Refusal::new(Code::BadRequest, "the body broke off").closing(),
            None => {}
        }
        let invalid = match link {
            // A head that ends in its middle is no more HTTP than one that does not parse.
            Link::Http1(http1) => error.is_parse() || http1.heard.anything(),
            Link::Http2(_) => retry::http2_error(error).is_some_and(|error| error.is_library()),
        };
        let code = if invalid { Code::UpstreamInvalid } else { Code::UpstreamUnreachable };
        Refusal::new(code, describe(error))
    }
}

impl Outgoing {
    /// Adds what the site is told. `websocket` says whether the client's connection can become one.
    pub(super) fn new(
        to: &Destination,
        context: &Context,
        mut head: Parts,
        upload: Upload,
        websocket: bool,
    ) -> Result<Self, Refusal> {
        if head.method == Method::CONNECT {
            return Err(Refusal::new(Code::UpgradeRefused, "CONNECT is not for a reverse proxy"));
        }
        if websocket && to.group.settings.protocol == Protocol::H2c {
            return Err(Refusal::new(Code::UpgradeRefused, "the upstream speaks HTTP/2, over which none is offered"));
        }
        let target = to.target(&head, context)?;
        let session = head.extensions.remove::<Arc<Session>>();
        headers::tell_upstream(&mut head.headers, head.version, context);
        if let Some(session) = session {
            headers::tell_identity(&mut head.headers, &session, to.group.settings.forward_token);
        }
        let mut request = Request::new(upload);
        *request.method_mut() = head.method;
        *request.headers_mut() = head.headers;
        Ok(Self { request, target })
    }
}

impl Destination {
    fn target(&self, head: &Parts, context: &Context) -> Result<Target, Refusal> {
        let path = head.uri.path_and_query().cloned();
        let path = path.ok_or_else(|| Refusal::new(Code::BadRequest, "the request names no path"))?;
        // An absolute target may have no path (`http://host#x`), which is written as nothing though it reads as `/`.
        let path = if path == "/" { PathAndQuery::from_static("/") } else { path };
        let authority = match self.group.settings.host {
            HostHeader::Preserve if !context.authority.is_empty() => {
                let said = head.headers.get(HOST).filter(|said| *said == context.authority.as_str());
                let said = said.cloned().map_or_else(|| HeaderValue::from_str(&context.authority), Ok);
                Some(said.map_err(|_| Refusal::new(Code::BadRequest, "the host cannot be written"))?)
            }
            // HTTP/1.0 may name none, and HTTP/1.1 cannot do without.
            HostHeader::Preserve | HostHeader::Upstream => None,
        };
        Ok(Target { path, authority, tls: matches!(self.group.settings.protocol, Protocol::Https(_)) })
    }
}

/// Whether its route lets nobody in without a session.
fn is_required(head: &Parts) -> bool {
    head.extensions
        .get::<Matched>()
        .is_some_and(|matched| matched.rules.policy == Policy::Require && !matched.rules.shadow)
}

/// Whether an answer of this type is meant to go on.
fn is_stream(content_type: &HeaderValue) -> bool {
    [&b"text/event-stream"[..], b"application/grpc"]
        .iter()
        .any(|kind| content_type.as_bytes().get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind)))
}

/// Too slow to connect is unreachable as well: a timeout's 504 is for an upstream that has taken a request.
fn no_server(reason: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::UpstreamUnreachable, reason)
}

/// For the access log: hyper keeps the cause one link further down.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}
