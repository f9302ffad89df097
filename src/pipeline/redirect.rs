//! The listener that sends everybody to `https://`, and does nothing else.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::Service;

use crate::access_log::{Exchange, LoggedBody};
use crate::context::{Connection, Context, Malformed};
use crate::refusal::{Addressee, Code, Refusal};
use crate::server::Handler;

use super::{RequestBody, Shared, connection, tell_request_id};

/// Answers 308 (RFC 9110, section 15.4.9: the method stays) to hosts that are served, 421 to others.
#[derive(Clone, Debug)]
pub struct Redirect {
    shared: Arc<Shared>,
    https_port: u16,
}

impl Redirect {
    /// Sends visitors to `https_port`, which is the one that they see.
    pub(super) fn new(shared: Arc<Shared>, https_port: u16) -> Self {
        Self { shared, https_port }
    }

    fn location(&self, context: &Context) -> Result<HeaderValue, Refusal> {
        if let Some(error) = context.misaddressed {
            return Err(error.into());
        }
        // Without a host there is nowhere to send anybody.
        if context.host.is_empty() || !self.shared.routes.serves(&context.host) {
            return Err(Refusal::new(Code::UnknownHost, "no route names this host"));
        }
        let port = if self.https_port == 443 { String::new() } else { format!(":{}", self.https_port) };
        let target = context.uri.path_and_query().map_or("/", |target| target.as_str());
        HeaderValue::from_str(&format!("https://{}{port}{target}", context.host))
            .map_err(|_| Refusal::new(Code::BadRequest, "a target that no header can hold"))
    }
}

impl Service<Request<RequestBody>> for Redirect {
    type Response = Response<LoggedBody<Full<Bytes>>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let connection = connection(&request);
        let (head, body) = request.into_parts();
        let context = Arc::new(self.shared.read_context(&head, connection));
        let exchange = Exchange::begin(&self.shared.log, Arc::clone(&context), body.count());
        let mut response = self.location(&context).map(redirection).unwrap_or_else(|refusal| {
            let to = Addressee::new(&head.headers, &context.host, context.request_id.as_str());
            self.shared.renderer.render(&refusal, &to)
        });
        self.shared.tell_refusal(&response, &context);
        tell_request_id(response.headers_mut(), &context.request_id);
        ready(Ok(exchange.respond(response)))
    }
}

impl Handler for Redirect {
    type Body = LoggedBody<Full<Bytes>>;

    fn reject(&self, request: &Malformed, connection: Connection) -> Response<LoggedBody<Full<Bytes>>> {
        let (context, exchange, mut response) = self.shared.reject(request, connection);
        self.shared.tell_refusal(&response, &context);
        tell_request_id(response.headers_mut(), &context.request_id);
        exchange.respond(response)
    }
}

/// Without `Strict-Transport-Security`, which anybody could have said over plain HTTP (RFC 6797, section 7.2).
fn redirection(location: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response
}
