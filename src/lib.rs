//! **guestpass** gives each visitor of a site a Genesys Cloud Web Messaging guest session in a signed cookie, verifies it
//! on every later request without asking anybody, and lets nobody without one into what is guarded.
//!
//! It is two things.
//!
//! # A proxy
//!
//! A program that terminates TLS and stands in front of a site in any language: the feature `proxy`, which is on by
//! default. `cargo run --release -- demo` shows it on one machine, and the README says how it is run for real.
//!
//! # A layer
//!
//! A site in Rust on axum, on hyper or on anything else that speaks tower can wear the proxy's gate itself. That takes
//! neither server nor TLS nor command line:
//!
//! ```toml
//! [dependencies]
//! guestpass = { path = "guestpass", default-features = false }
//! ```
//!
//! ```
//! use std::sync::Arc;
//!
//! use axum::{Extension, Router, routing::get};
//! use guestpass::cookie::Key;
//! use guestpass::gate::GateLayer;
//! use guestpass::policy::Policy;
//! use guestpass::secret::SecretBytes;
//! use guestpass::session::{MadeUp, Session};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let secret = "7wk0m3xTnTBSnTk0h1VvTqGh7VCGQ0bJ8wXmFhKpmhY=".to_owned();
//! // The same secret on every replica: `openssl rand -base64 32` makes one.
//! let key = Key::from_secret(&SecretBytes::new(secret.into_bytes()))?;
//! // A visit gets a session, and below /account nobody passes without one.
//! let gate = GateLayer::new(key, MadeUp::default()).on("/account/**", Policy::Require)?;
//!
//! async fn account(Extension(session): Extension<Arc<Session>>) -> String {
//!     format!("You are {}.\n", session.id)
//! }
//!
//! let site: Router = Router::new().route("/account", get(account)).layer(gate);
//! # Ok(())
//! # }
//! ```
//!
//! [`gate::GateLayer`] says how paths are guarded and how, on a router, that is done without any, [`gate::GateBuilder`]
//! what else there is to set. The guarded service finds an `Arc<`[`session::Session`]`>` in the request's extensions,
//! and whoever stands in front of the gate a [`gate::Outcome`] in the answer's.
//! `examples/axum.rs` and `examples/hyper.rs` are whole sites.
//!
//! [`session::MadeUp`] makes up sessions for tests and examples. Real ones come from Genesys, or from a
//! [`session::Provider`] of one's own. Cookies are the proxy's: whoever has the same keys can read them, on both sides.
//!
//! # Features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | none | the gate, and all that it needs: [`gate`], [`cookie`], [`session`], [`policy`], [`routes`], [`event`], [`refusal`], [`stock`] and [`store`] |
//! | `rest` | [`genesys::Rest`], a provider over Genesys' REST interface, with an HTTP client and TLS |
//! | `ring-file` | [`keys`]: key rings that stand in a file, are watched and rotated |
//! | `proxy` (default) | both, and the program with all of its modules, whose interface is not for others and may change at any time |
//!
//! The modules below stand in the order in which a request meets them.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "proxy")]
pub mod cli;
#[cfg(feature = "proxy")]
#[doc(hidden)]
pub mod demo;
#[cfg(feature = "proxy")]
pub mod app;
#[cfg(feature = "proxy")]
pub mod config;
#[cfg(feature = "proxy")]
pub mod admin;
#[cfg(feature = "proxy")]
pub mod metrics;

#[cfg(feature = "proxy")]
pub mod server;
#[cfg(feature = "proxy")]
pub mod tls;
#[cfg(feature = "proxy")]
pub mod pipeline;
#[doc(hidden)]
pub mod context;
pub mod routes;
#[doc(hidden)]
pub mod hygiene;
pub mod gate;
pub mod cookie;
pub mod session;
pub mod store;
pub mod stock;
#[cfg(feature = "rest")]
pub mod genesys;
#[cfg(feature = "ring-file")]
pub mod keys;
#[cfg(feature = "proxy")]
pub mod forward;

#[cfg(feature = "proxy")]
pub mod audit;
#[cfg(feature = "proxy")]
pub mod outbox;
#[cfg(feature = "proxy")]
pub mod access_log;
pub mod event;
pub mod refusal;
pub mod policy;

pub mod secret;
pub mod clock;
#[cfg(feature = "ring-file")]
#[doc(hidden)]
pub mod fingerprint;
pub mod random;
#[cfg(feature = "rest")]
#[doc(hidden)]
pub mod backoff;
#[cfg(feature = "proxy")]
pub mod body;
