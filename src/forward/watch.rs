//! What is done for an upstream's servers whether or not anybody asks for them: they are asked how they are, and where
//! their names lead is looked up. Once for the process, beside the cores and not on them.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Protocol;
use super::connect::Fresh;
use super::exchange::describe;
use super::headers::{self, Target};
use super::resolve;
use super::servers::{Group, Member, Servers};
use super::upload::Upload;

const AGENT: HeaderValue = HeaderValue::from_static("guestpass");

impl Servers {
    /// Watches over all of them until it is `over`.
    pub async fn watch(self: Arc<Self>, over: CancellationToken) {
        let of_group = |group: &Arc<Group>| {
            (0..group.members.len()).map(|place| watch(Arc::clone(&self), Arc::clone(group), place)).collect::<Vec<_>>()
        };
        let all = futures_util::future::join_all(self.groups.iter().flat_map(of_group));
        over.run_until_cancelled(all).await;
    }
}

async fn watch(servers: Arc<Servers>, group: Arc<Group>, place: usize) {
    let member = &group.members[place];
    let resolving = async {
        loop {
            member.connector.keep_fresh().await;
            sleep(resolve::LIFETIME).await;
        }
    };
    let checking = async {
        let Some(path) = &group.settings.health_check.path else { return };
        loop {
            let outcome = check(&group, member, path).await;
            member.was_checked(&group.settings.name, &*servers.clock, outcome);
            sleep(group.settings.health_check.interval).await;
        }
    };
    tokio::join!(resolving, checking);
}

/// One question, on a connection of its own, as a visitor who comes anew would have one.
async fn check(group: &Group, member: &Member, path: &PathAndQuery) -> Result<(), String> {
    let patience = group.settings.health_check.timeout;
    let asked = timeout(patience, ask(group, member, path)).await;
    let response = asked.unwrap_or_else(|_| Err(format!("no answer to a check in {} ms", patience.as_millis())))?;
    // A page that is elsewhere is a page: many sites send whoever asks without a cookie to one.
    if response.status().is_success() || response.status().is_redirection() {
        return Ok(());
    }
    Err(format!("a check was answered with {}", response.status()))
}

async fn ask(group: &Group, member: &Member, path: &PathAndQuery) -> Result<Response<Incoming>, String> {
    let target =
        Target { path: path.clone(), authority: None, tls: matches!(group.settings.protocol, Protocol::Https(_)) };
    let mut request = Request::new(Upload::new(Empty::<Bytes>::new()));
    *request.method_mut() = Method::GET;
    request.headers_mut().insert(USER_AGENT, AGENT);
    let fresh = member.connector.connect(false).await.map_err(|error| describe(&error))?;
    let over_http2 = matches!(fresh, Fresh::Http2(..));
    headers::shape(&mut request, &target, &member.own_host, over_http2, false).ok_or("the host is no authority")?;
    let answered = match fresh {
        Fresh::Http1(mut http1) => {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            http1.sender.send_request(request).await
        }
        Fresh::Http2(mut sender, _) => sender.send_request(request).await,
    };
    answered.map_err(|error| describe(&error))
}
