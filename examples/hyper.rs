//! A site on hyper alone that wears the gate, with a provider of its own: `cargo run --example hyper`.
//!
//! No account is needed, since the sessions are made up. From another terminal:
//!
//! ```sh
//! curl -i -c jar http://127.0.0.1:3000/                  # a first visit: the answer sets genesys_session
//! curl -i http://127.0.0.1:3000/account/orders           # a guarded path without a session: 401
//! curl -i -b jar http://127.0.0.1:3000/account/orders    # and with one: 200
//! curl -i http://127.0.0.1:3000/x%2f..%2faccount         # which path is that? Nobody is to find out: 400
//! ```
//!
//! `PORT` takes another port than 3000, and `HMAC_SECRET` the secret that signs.
#![expect(clippy::print_stdout, reason = "this is a program")]

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use guestpass::clock::{Clock, SystemClock};
use guestpass::cookie::Key;
use guestpass::gate::GateLayer;
use guestpass::policy::Policy;
use guestpass::random::{Random, SystemRandom};
use guestpass::secret::{SecretBytes, SecretText};
use guestpass::session::{Minting, Provider, Session};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Layer, service_fn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A secret of one's own, the same on every replica; this one is for looking on alone.
    let secret = env::var("HMAC_SECRET").unwrap_or_else(|_| "not a secret, since everyone can read it".to_owned());
    let key = Key::from_secret(&SecretBytes::new(secret.into_bytes()))?;
    let gate = GateLayer::new(key, Dice).on("/account/**", Policy::Require)?;

    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, client) = listener.accept().await?;
        let guarded = gate.clone().client_by(move |_| Some(client.ip())).layer(service_fn(site));
        tokio::spawn(async move {
            let served =
                http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(guarded));
            if let Err(error) = served.await {
                eprintln!("{client}: {error}");
            }
        });
    }
}

/// Who has a session is known here; who may come here was the gate's to say.
async fn site(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let visitor = request.extensions().get::<Arc<Session>>().map_or("nobody", |session| &session.id);
    Ok(Response::new(Full::from(format!("This is {}, and you are {visitor}.\n", request.uri().path()))))
}

/// Makes sessions where one would ask Genesys, or whoever has been asked.
#[derive(Debug)]
struct Dice;

impl Provider for Dice {
    fn mint(&self, _budget: Duration) -> Minting<'_> {
        Box::pin(async {
            let mut bytes = [0; 16];
            SystemRandom.fill(&mut bytes);
            let id = format!("{:032x}", u128::from_be_bytes(bytes));
            let now = SystemClock::new().now();
            Ok(Session {
                token: SecretText::new(format!("token of {id}")),
                id,
                organization_id: self.organization_id().to_owned(),
                issued_at: now,
                expires_at: now.plus(Duration::from_secs(3_600)),
            })
        })
    }

    fn organization_id(&self) -> &str {
        "example"
    }
}
