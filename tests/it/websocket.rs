//! WebSockets pass, under the same rules as everything else.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{Plan, Town, raw};

pub(crate) type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

pub(crate) async fn open(town: &Town, path: &str, cookie: Option<&str>) -> Result<Socket, Error> {
    let mut request = format!("wss://localhost:{}{path}", town.address().port()).into_client_request().unwrap();
    if let Some(cookie) = cookie {
        request.headers_mut().insert("cookie", format!("genesys_session={cookie}").parse().unwrap());
    }
    let stream = raw::connect(town.address(), &["http/1.1"]).await;
    client_async(request, stream).await.map(|(socket, _)| socket)
}

#[tokio::test]
async fn what_is_said_comes_back_and_both_sides_may_close() {
    let town = Town::raise().await;
    let mut socket = open(&town, "/echo", None).await.unwrap();
    let large = "x".repeat(1 << 20);
    for said in ["hello", "", &large] {
        socket.send(Message::text(said)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(said));
    }
    socket.close(None).await.unwrap();
    while let Some(message) = socket.next().await {
        assert!(matches!(message.unwrap(), Message::Close(_)));
    }
    assert_eq!(town.minted(), 0, "an upgrade is no visit");
}

#[tokio::test]
async fn behind_require_it_needs_the_cookie() {
    let town = Town::planned(Plan::default().routes(&["path = \"/echo\"\nsession = \"require\""])).await;
    let mut visitor = town.visitor();
    visitor.visit("/").await;

    let Err(Error::Http(refused)) = open(&town, "/echo", None).await else { panic!("it opened") };
    assert_eq!(refused.status(), 401);
    assert!(town.site.seen().iter().all(|seen| seen.target != "/echo"));

    let mut socket = open(&town, "/echo", visitor.cookie.as_deref()).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    assert!(town.site_saw().headers.contains_key("x-genesys-session-id"));
}

#[tokio::test]
async fn a_site_that_does_not_change_protocols_is_simply_answered_for() {
    let town = Town::raise().await;
    let Err(Error::Http(answer)) = open(&town, "/status/404", None).await else { panic!("it opened") };
    assert_eq!(answer.status(), 404);
}
