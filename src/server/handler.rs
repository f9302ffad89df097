//! What a service must be to be served here, said once.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;

use crate::body::Bounded;

/// A service of requests, such as [`hyper::service::service_fn`] makes of a function. Implemented for every service
/// that fits; there is nothing to write.
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
}

impl<S, B> Handler for S
where
    S: Service<Request<Bounded<Incoming>>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Body = B;
}
