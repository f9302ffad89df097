//! What a service must be to be served here, said once.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;

use crate::body::Bounded;
use crate::context::{Connection, Malformed};

/// A service of requests, and of what is none.
///
/// It has no error: whatever goes wrong in it is a response by then. It is cloned for each connection.
pub trait Handler:
    Service<
        Request<Bounded<Incoming>>,
        Response = Response<<Self as Handler>::Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// What is said to a client that sent no request. On HTTP/1 the connection ends behind it.
    fn reject(&self, request: &Malformed, connection: Connection) -> Response<<Self as Handler>::Body>;
}
