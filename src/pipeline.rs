//! The order of the layers, in one function: [`Pipeline::answer`].
//!
//! Catch panic → context → access log → limits → own paths → routes → hygiene → gate → forward. What can be judged is
//! judged before one byte goes upstream; what a client may not say is dropped before the gate, and what we say is added
//! behind it.

mod own;
mod redirect;
mod wire;

pub use self::own::Own;
pub use self::redirect::Redirect;

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, Entry, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::Service;
use tower_layer::Layer;
use tower_service::Service as _;

use crate::access_log::{CoreLog, Exchange, LoggedBody};
use crate::body::{Bounded, Count};
use crate::clock::Clock;
use crate::context::{Connection, Context, Malformed, RequestId, Trust};
use crate::event::{Event, Sink};
use crate::forward::{self, Forward};
use crate::gate::{GateLayer, GateService};
use crate::hygiene;
use crate::random::Random;
use crate::refusal::{Addressee, Code, Refusal, Renderer};
use crate::routes::{self, Table};
use crate::server::{Handler, Limits};

/// What a request's body is when it comes: bounded, and otherwise as hyper reads it.
pub type RequestBody = Bounded<Incoming>;

/// What a response's body is when it leaves.
pub type ResponseBody = LoggedBody<Either<Either<forward::Body, Full<Bytes>>, Full<Bytes>>>;

/// What all layers of one core share.
#[derive(Debug)]
pub struct Shared {
    /// Whose forwarded headers are believed.
    pub trust: Trust,
    /// Where to write what happened.
    pub log: CoreLog,
    /// How much of us a request can take.
    pub limits: Limits,
    /// What is answered here and goes no way at all.
    pub own: Own,
    /// Which way a request goes.
    pub routes: Arc<Table>,
    /// Under which number whoever counts knows each route, by its place.
    pub slots: Arc<[usize]>,
    /// Headers that pass although upstreams mistake them for the path, for each upstream.
    pub keep_headers: Vec<Vec<HeaderName>>,
    /// `Strict-Transport-Security`, where the operator wants it (RFC 6797).
    pub hsts: Option<HeaderValue>,
    /// How refusals look.
    pub renderer: Renderer,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub random: Arc<dyn Random>,
    /// Who is told of refusals.
    pub sink: Arc<dyn Sink>,
}

/// One core's way from a request to its answer.
#[derive(Clone, Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
    gate: GateService<Forward>,
}

impl Pipeline {
    /// Puts the gate around `forward`, and all else in front of it.
    #[must_use]
    pub fn new(shared: Shared, gate: &GateLayer, forward: Forward) -> Self {
        Self { shared: Arc::new(shared), gate: gate.layer(forward) }
    }

    /// What stands in its place on a listener that only redirects, to `https_port`.
    #[must_use]
    pub fn redirect(&self, https_port: u16) -> Redirect {
        Redirect::new(Arc::clone(&self.shared), https_port)
    }

    async fn answer(mut self, connection: Connection, request: Request<RequestBody>) -> Response<ResponseBody> {
        let shared = Arc::clone(&self.shared);
        let (head, body) = request.into_parts();

        let context = Arc::new(shared.read_context(&head, connection));
        let exchange = Exchange::begin(&shared.log, Arc::clone(&context), body.count());
        let addressee = Addressee::new(&head.headers, &context.host, context.request_id.as_str());

        let judged = AssertUnwindSafe(self.judge(head, body, &context)).catch_unwind().await;
        let mut response = match judged.unwrap_or_else(|panic| Err(internal(&*panic))) {
            Ok(response) => response.map(Either::Left),
            Err(refusal) => shared.renderer.render(&refusal, &addressee).map(Either::Right),
        };
        shared.finish(&mut response, &context);
        exchange.respond(response)
    }

    async fn judge(
        &mut self,
        mut head: Parts,
        body: RequestBody,
        context: &Arc<Context>,
    ) -> Result<Response<Either<forward::Body, Full<Bytes>>>, Refusal> {
        if let Some(name) = self.shared.own_path(&head, context)? {
            let answer = self.shared.answer_own(&name, head, body, context).await?;
            return Ok(answer.map(Either::Right));
        }
        self.shared.admit(&mut head, context)?;
        let Ok(response) = self.gate.call(Request::from_parts(head, body)).await;
        Ok(response)
    }
}

impl Shared {
    /// Places a request.
    #[must_use]
    pub fn read_context(&self, head: &Parts, connection: Connection) -> Context {
        Context::read(head, connection, &self.trust, &*self.random, self.clock.uptime())
    }

    /// Refuses what is no request: it has its name and its line in the log like everything else that is refused.
    fn reject(&self, request: &Malformed, connection: Connection) -> (Arc<Context>, Exchange, Response<Full<Bytes>>) {
        let received = self.clock.uptime();
        let context = Arc::new(Context::of_malformed(request, connection, &self.trust, &*self.random, received));
        let exchange = Exchange::begin(&self.log, Arc::clone(&context), Count::default());
        let to = Addressee { request_id: context.request_id.as_str().into(), ..Addressee::default() };
        let response = self.renderer.render(&request.rule.into(), &to);
        (context, exchange, response)
    }

    /// Everything in front of the gate: what is wrong with the request is refused, its route is found, and what its client
    /// may not say is dropped.
    ///
    /// # Errors
    ///
    /// The refusal, when the request goes no further.
    pub fn admit(&self, head: &mut Parts, context: &Arc<Context>) -> Result<(), Refusal> {
        if let Some(error) = context.misaddressed {
            return Err(error.into());
        }
        self.limit(head)?;
        let keep = self.route(head, context)?;
        hygiene::cleanse(head, context.peer_is_trusted, keep);
        head.extensions.insert(Arc::clone(context));
        Ok(())
    }

    /// What stands behind our own prefix, where the request is for that.
    ///
    /// # Errors
    ///
    /// When the path could be read as ours and as the site's.
    pub fn own_path(&self, head: &Parts, context: &Context) -> Result<Option<String>, Refusal> {
        match context.misaddressed {
            None => Ok(self.own.find(head.uri.path())?.map(str::to_owned)),
            Some(error) => Err(error.into()),
        }
    }

    /// The answer of what stands under that name behind our own prefix.
    ///
    /// # Errors
    ///
    /// When the request is too large.
    pub async fn answer_own<B: Body + Send + 'static>(
        &self,
        name: &str,
        head: Parts,
        body: B,
        context: &Arc<Context>,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        self.limit(&head)?;
        Ok(self.own.answer(name, head, body, context, &self.routes).await)
    }

    /// What every answer gets on its way out.
    pub fn finish<B>(&self, response: &mut Response<B>, context: &Context) {
        self.tell_refusal(response, context);
        tell_request_id(response.headers_mut(), &context.request_id);
        if let Some(hsts) = &self.hsts {
            response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
        }
    }

    /// A body that says how large it is, and is too large, is refused before any of it is read. One that does not say
    /// is cut off where it gets too large.
    fn limit(&self, head: &Parts) -> Result<(), Refusal> {
        let declared = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match self.limits.body_size.zip(declared) {
            Some((limit, declared)) if declared > limit => {
                Err(Refusal::new(Code::BodyTooLarge, "limits.body_size").closing())
            }
            _ => Ok(()),
        }
    }

    /// Finds the route, leaves it in the extensions, and says which headers its upstream is to keep.
    fn route(&self, head: &mut Parts, context: &Context) -> Result<&[HeaderName], Refusal> {
        let overrides = routes::override_methods(&head.headers);
        let matched = self.routes.find(&context.host, head.uri.path(), &head.method, &overrides)?;
        context.record.note(|entry| {
            entry.route = Some(Arc::clone(&matched.pattern));
            entry.slot = self.slots.get(matched.place).copied();
            entry.policy = Some(matched.rules.policy);
        });
        let keep = self.keep_headers.get(matched.upstream).map_or(&[][..], Vec::as_slice);
        head.extensions.insert(matched.clone());
        Ok(keep)
    }

    /// What a refusal was is written down and told, wherever below it was made.
    fn tell_refusal<B>(&self, response: &Response<B>, context: &Context) {
        if let Some(refusal) = response.extensions().get::<Refusal>() {
            context.record.note(|entry| {
                entry.decision.get_or_insert("refuse");
                entry.reason = Some(refusal.reason.clone());
            });
            self.sink.notice(&Event::Refused { refusal }, Some(context));
        }
    }
}

impl Service<Request<RequestBody>> for Pipeline {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(self.clone().answer(connection(&request), request).map(Ok))
    }
}

impl Handler for Pipeline {
    type Body = ResponseBody;

    fn reject(&self, request: &Malformed, connection: Connection) -> Response<ResponseBody> {
        let (context, exchange, mut response) = self.shared.reject(request, connection);
        self.shared.finish(&mut response, &context);
        exchange.respond(response.map(Either::Right))
    }
}

/// What the server tells of the connection that a request came on.
fn connection<B>(request: &Request<B>) -> Connection {
    *request.extensions().get().expect("the server tells it with each request")
}

/// Every answer has a name to quote, our refusals first of all. A site that names its answers itself is left to it.
fn tell_request_id(headers: &mut HeaderMap, id: &RequestId) {
    if let (Entry::Vacant(vacant), Ok(id)) = (headers.entry(RequestId::HEADER), HeaderValue::from_str(id.as_str())) {
        vacant.insert(id);
    }
}

/// A panic is a bug: one request's, and nobody else's.
fn internal(panic: &(dyn Any + Send)) -> Refusal {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = said.unwrap_or("without words"), "a request panicked; please report this as a bug");
    Refusal::new(Code::Internal, "panic")
}
