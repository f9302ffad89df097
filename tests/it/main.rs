//! What guestpass promises, a module a promise.
#![expect(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not what stands around them")]

mod harness;

// What a visitor is promised.
/// A first visit gets a session, and notices nothing else of it.
mod first_visit;
/// With a warm pool a first visit does not wait for Genesys.
mod warm_pool;
/// A visitor who has a session is verified without Genesys.
mod return_visit;
/// A protected path lets nobody in without a valid session.
mod protected;
/// A cookie that was changed, moved or made elsewhere is never valid.
mod bad_cookies;
/// Keys change under visitors who notice nothing.
mod rotation;
/// A visitor who comes from another site is known again, and never gets a second session for it.
mod arrival;
/// Of two good sessions in one request neither is used, and what was planted is cleared away.
mod twins;
/// Every row of Genesys' error table: what is tried again, and what is said.
mod genesys_faults;
/// A session that cannot be recorded is nobody's.
mod recording;
/// What happens to a session is written down, and whatever is done to what was written shows.
mod audit;
/// When Genesys does not answer, the site stays up.
mod genesys_down;

/// Whoever tries to get past the gate, or to speak in its name, fails.
mod hostile;
/// What is promised of sessions holds in a real browser.
mod browser;
/// In no spelling does a protected path lead anywhere without a valid cookie.
mod spellings;
/// Behind a load balancer every visitor still has the address that is his.
mod proxy_protocol;
/// Floods of HTTP/2 frames end with their connection.
mod floods;
/// What is no request never reaches the site, and what is one reaches it as we write it.
mod framing;
/// A page's script may ask for its session, get one, and sign out; nobody else may.
mod own_paths;
/// What was taken back lets nobody in any more, and ends what it had opened.
mod revocation;

// What a site is promised.
/// What it is told of a visitor is the proxy's own word.
mod identity;
/// Bodies stream both ways, and what breaks looks broken.
mod bodies;
/// Several servers share an upstream, and one that goes costs nobody else a request.
mod balancing;
/// gRPC passes whole, both ways at once.
mod grpc;
/// WebSockets pass, under the same rules as everything else.
mod websocket;
/// WebSockets as clients of other languages speak them.
mod websocket_clients;
/// The plain listener sends visitors to `https://`.
mod redirect;

// What an operator is promised.
/// What would become of a request can be asked without sending it.
mod explain;
/// One line a request, and nothing secret in it.
mod access_log;
/// Whatever the program says, it never tells a secret.
mod secrets;
/// The KMS hears of every session, and nobody waits for it.
mod outbox;
/// What is under way is finished when the program is told to stop.
mod drain;
/// What has changed is read again while requests are under way, whole or not at all.
mod reload;
/// A new process takes over, and nobody notices.
#[cfg(target_os = "linux")]
mod takeover;
/// Everything changes under load, and only a killed server's requests are lost.
#[cfg(target_os = "linux")]
mod upheaval;
/// A route in shadow turns nobody away, and says whom it would have.
mod shadow;
/// The operator's listener: who may call it, and what the calls do.
mod admin;
/// Commands reach the running proxy's listener, in the clear and over TLS.
mod operator;
/// What happened is counted, and said on the admin listener.
mod metrics;
/// Every mistake in the configuration at once.
mod config;
/// What editors are told of the configuration is what the program takes.
mod schema;
/// A cookie is judged at a terminal as it is at the gate.
mod inspect;
/// What the commands have in common: help, completions, manual pages, colours, and mistakes that say what would be right.
mod command_line;
/// It has as many files open as it may, and says when that may be too few.
#[cfg(target_os = "linux")]
mod open_files;
/// Under load no request fails and no memory is lost, and a slow client costs the others nothing.
#[cfg(target_os = "linux")]
mod load;
/// Beside floods, slow clients and thousands of idle ones, a well-behaved visitor is served as ever.
#[cfg(target_os = "linux")]
mod flooded;

// What a newcomer is promised.
/// `guestpass demo` shows the main job on a fresh machine.
mod demo;
/// The gate can be worn without the proxy, and pulls nothing of it in.
mod library;

// What whoever changes the house is promised.
/// The house stands as ARCHITECTURE.md draws it.
mod layers;
/// The documents keep up with the code.
mod documents;
