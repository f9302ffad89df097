//! The ways through the gate, as one future: only the one that mints is boxed.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::{Either, Full};
use pin_project_lite::pin_project;

use super::service::Visit;

/// What a boxed way through the gate is.
type Boxed<R, E> = Pin<Box<dyn Future<Output = Result<Response<Either<R, Full<Bytes>>>, E>> + Send>>;

pin_project! {
    /// A request on its way through the gate.
    ///
    /// ```
    /// use guestpass::gate::GateFuture;
    /// use http::{Response, StatusCode};
    ///
    /// /// What a middleware around the gate sees of an answer.
    /// async fn status<F, R, E>(answer: GateFuture<F, R, E>) -> Result<StatusCode, E>
    /// where
    ///     F: Future<Output = Result<Response<R>, E>>,
    /// {
    ///     Ok(answer.await?.status())
    /// }
    /// ```
    pub struct GateFuture<F, R, E> {
        #[pin]
        way: Way<F, R, E>,
    }
}

pin_project! {
    #[project = WayProjection]
    enum Way<F, R, E> {
        Passing { #[pin] inner: F, visit: Visit, cookies: Vec<HeaderValue> },
        Minting { boxed: Boxed<R, E> },
        Answered { response: Option<Response<Full<Bytes>>> },
    }
}

impl<F, R, E> GateFuture<F, R, E> {
    /// Straight through; the answer sets these cookies.
    pub(super) fn passing(inner: F, visit: Visit, cookies: Vec<HeaderValue>) -> Self {
        Self { way: Way::Passing { inner, visit, cookies } }
    }

    /// With a wait for a session before it.
    pub(super) fn minting(boxed: Boxed<R, E>) -> Self {
        Self { way: Way::Minting { boxed } }
    }

    /// No further.
    pub(super) fn answered(response: Response<Full<Bytes>>) -> Self {
        Self { way: Way::Answered { response: Some(response) } }
    }
}

impl<F, R, E> Future for GateFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Either<R, Full<Bytes>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            WayProjection::Passing { inner, visit, cookies } => {
                let response = ready!(inner.poll(cx))?;
                Poll::Ready(Ok(visit.finish(response, std::mem::take(cookies))))
            }
            WayProjection::Minting { boxed } => boxed.as_mut().poll(cx),
            WayProjection::Answered { response } => {
                let response = response.take().expect("a future is not polled after it was ready");
                Poll::Ready(Ok(response.map(Either::Right)))
            }
        }
    }
}

impl<F, R, E> fmt::Debug for GateFuture<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateFuture").finish_non_exhaustive()
    }
}
