//! An axum site that wears the gate: `cargo run --example axum`.
//!
//! No account is needed, since the sessions are made up. From another terminal:
//!
//! ```sh
//! curl -i -c jar http://127.0.0.1:3000/            # a first visit: the answer sets genesys_session
//! curl -i http://127.0.0.1:3000/account            # a guarded path without a session: 401
//! curl -i -b jar http://127.0.0.1:3000/account     # and with one: 200
//! ```
//!
//! Browsers keep the cookie over https alone, and on the loopback. `PORT` takes another port than 3000, and
//! `HMAC_SECRET` the secret that signs.
#![expect(clippy::print_stdout, reason = "this is a program")]

use std::env;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use guestpass::cookie::Key;
use guestpass::gate::{GateLayer, Outcome};
use guestpass::policy::Policy;
use guestpass::secret::SecretBytes;
use guestpass::session::{MadeUp, Session};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A secret of one's own, the same on every replica; this one is for looking on alone.
    let secret = env::var("HMAC_SECRET").unwrap_or_else(|_| "not a secret, since everyone can read it".to_owned());
    let key = Key::from_secret(&SecretBytes::new(secret.into_bytes()))?;
    // A real site has `genesys::Rest` here, of the feature `rest`, or a provider of its own.
    let gate = GateLayer::new(key, MadeUp::default())
        .client_by(|request| Some(request.get::<ConnectInfo<SocketAddr>>()?.ip()));

    let guarded = Router::new().route("/account", get(account)).layer(gate.clone().with(Policy::Require));
    let site = Router::new().route("/", get(home)).layer(gate).merge(guarded).layer(middleware::from_fn(log));

    let port = env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, site.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// A page for everyone. Who has no session yet gets one on the way here, unless none can be had.
async fn home(session: Option<Extension<Arc<Session>>>) -> String {
    match session {
        Some(Extension(session)) => format!("Welcome, {}.\n", session.id),
        None => "Welcome.\n".to_owned(),
    }
}

/// Nobody gets here without a session.
async fn account(Extension(session): Extension<Arc<Session>>) -> String {
    format!("The account of {}, until {}.\n", session.id, session.expires_at)
}

/// What the gate did stands in each answer.
async fn log(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if let Some(outcome) = response.extensions().get::<Outcome>() {
        println!("{} {} {path}", outcome.action.as_str(), outcome.reading.as_str());
    }
    response
}
