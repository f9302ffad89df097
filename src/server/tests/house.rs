//! A server with a small service behind it, on a port of its own.

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http_body_util::combinators::BoxBody;
use hyper::body::{Frame, Incoming};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::body::{Bounded, Error};
use crate::context::{Malformed, Rule};

type Answer = Response<BoxBody<Bytes, Infallible>>;

pub(super) struct House {
    pub(super) address: SocketAddr,
    pub(super) server: Server,
    pub(super) certificate: CertificateDer<'static>,
    site: Arc<Site>,
    socket: Option<std::net::TcpListener>,
    serving: Option<JoinHandle<io::Result<()>>>,
}

impl House {
    pub(super) async fn open(limits: Limits, tls: bool) -> Self {
        Self::build(limits, tls).start()
    }

    /// It listens, and accepts nobody.
    pub(super) fn build(limits: Limits, tls: bool) -> Self {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = identity.cert.der().clone();
        let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let scheme = if tls { Scheme::Https } else { Scheme::Http };
        let server = Server {
            listener: Listener { address, tls, scheme, proxy_protocol: ProxyProtocol::Off, redirect_to_https: None },
            tls: tls.then(|| Arc::new(config)),
            admission: Admission::new(&limits, Trust::default()),
            limits,
            drain: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        Self { address, server, certificate, site: Arc::default(), socket: Some(socket), serving: None }
    }

    pub(super) fn start(mut self) -> Self {
        let (server, service) = (self.server.clone(), self.service());
        let socket = self.socket.take().unwrap();
        self.serving = Some(tokio::spawn(async move { server.serve(socket, service).await }));
        self
    }

    pub(super) fn service(&self) -> impl Handler + use<> {
        Door(Arc::clone(&self.site))
    }

    /// Drops the server's future.
    pub(super) fn kill(&self) {
        self.serving.as_ref().unwrap().abort();
    }

    /// Waits until the server has returned by itself.
    pub(super) async fn ended(&mut self) {
        let serving = self.serving.take().unwrap();
        tokio::time::timeout(Duration::from_secs(5), serving).await.expect("it returns").unwrap().unwrap();
    }

    /// What the site noted down.
    pub(super) fn seen(&self) -> Vec<String> {
        self.site.seen.lock().unwrap().clone()
    }

    /// How many requests have come to `/wait`.
    pub(super) fn waiting(&self) -> usize {
        self.site.waiting.load(Ordering::Relaxed)
    }

    /// Lets all of them go.
    pub(super) fn release(&self) {
        self.site.released.send_replace(true);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// Asks again and again, for as long as a busy machine may need.
pub(super) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[derive(Default)]
struct Site {
    seen: Mutex<Vec<String>>,
    waiting: AtomicUsize,
    released: watch::Sender<bool>,
}

impl Site {
    fn note(&self, what: impl Into<String>) {
        self.seen.lock().unwrap().push(what.into());
    }
}

/// The site as the server knows it.
#[derive(Clone)]
struct Door(Arc<Site>);

impl Service<Request<Bounded<Incoming>>> for Door {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Bounded<Incoming>>) -> Self::Future {
        Box::pin(answer(Arc::clone(&self.0), request))
    }
}

impl Handler for Door {
    type Body = BoxBody<Bytes, Infallible>;

    fn reject(&self, request: &Malformed, _: Connection) -> Answer {
        let mut response = text(request.rule.to_string());
        *response.status_mut() = match request.rule {
            Rule::HeadSize | Rule::FieldCount => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        response
    }
}

async fn answer(site: Arc<Site>, mut request: Request<Bounded<Incoming>>) -> Result<Answer, Infallible> {
    Ok(match request.uri().path() {
        "/facts" => {
            let connection = request.extensions().get::<Connection>().unwrap();
            let Connection { peer, local, scheme, .. } = connection;
            text(format!("{peer} {local} {} {:?}", scheme.as_str(), request.version()))
        }
        "/dated" => {
            let mut response = text("hello");
            response.headers_mut().insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
            response
        }
        "/echo" => match request.into_body().collect().await {
            Ok(body) => text(body.to_bytes()),
            Err(error) => {
                let error = match error {
                    Error::TooLarge => "TooLarge",
                    Error::TimedOut => "TimedOut",
                    Error::Broken(_) => "Broken",
                };
                site.note(error);
                text(error)
            }
        },
        "/later" => {
            tokio::spawn(async move {
                let body = request.into_body().collect().await.unwrap();
                site.note(format!("{} bytes later", body.to_bytes().len()));
            });
            text("hello")
        }
        "/refuse" => {
            let mut response = text("no");
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        }
        "/wait" => {
            site.waiting.fetch_add(1, Ordering::Relaxed);
            site.released.subscribe().wait_for(|released| *released).await.unwrap();
            text("waited")
        }
        "/endless" => endless(site),
        "/tunnel" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
            let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
            response.body(Empty::new().boxed()).unwrap()
        }
        _ => text("hello"),
    })
}

fn text(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()).boxed())
}

/// A body without end, which notes when it is dropped.
fn endless(site: Arc<Site>) -> Answer {
    struct Noting(Arc<Site>);
    impl Drop for Noting {
        fn drop(&mut self) {
            self.0.note("endless dropped");
        }
    }
    let noting = Noting(site);
    let frames = futures_util::stream::repeat_with(move || {
        let _held = &noting;
        Ok(Frame::data(Bytes::from_static(&[0; 16_384])))
    });
    Response::new(StreamBody::new(frames).boxed())
}
