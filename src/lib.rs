//! **guestpass** is a TLS-terminating reverse proxy for sites that use Genesys Cloud Web Messaging.
//!
//! The modules below stand in the order in which a request meets them.

pub mod cli;
#[doc(hidden)]
pub mod demo;
pub mod app;
pub mod config;
pub mod admin;

pub mod server;
pub mod tls;
pub mod pipeline;
pub mod context;
pub mod routes;
pub mod hygiene;
pub mod gate;
pub mod cookie;
pub mod session;
pub mod store;
pub mod stock;
pub mod genesys;
pub mod keys;
pub mod forward;

pub mod access_log;
pub mod event;
pub mod refusal;
pub mod policy;

pub mod secret;
pub mod clock;
pub mod random;
pub mod backoff;
pub mod body;
