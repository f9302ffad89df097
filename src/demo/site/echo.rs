//! A WebSocket (RFC 6455) that says everything back, over the connection of the request that asked for it.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::House;

/// What one visitor may make the site hold: a message of 1 MiB is plenty for an echo.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// Answers a handshake, and runs the echo once the connection has become a WebSocket. What is no handshake is told
/// what would be, RFC 9110, section 15.5.22.
pub(super) fn answer<B: From<Bytes>>(headers: &HeaderMap, upgrade: OnUpgrade, house: &House) -> Response<B> {
    let Some(accept) = accept_key(headers) else {
        let mut response = Response::new(B::from(Bytes::from_static(b"This path speaks WebSocket, version 13.\n")));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response.headers_mut().extend([
            (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        ]);
        return response;
    };
    house.spawn(async move {
        if let Ok(connection) = upgrade.await {
            echo(connection).await;
        }
    });
    let mut response = Response::new(B::from(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend([
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ]);
    response
}

/// The answer to a client's key, if this is a handshake at all: RFC 6455, section 4.2.1.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let lists = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(wanted))
    };
    let version_fits = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    if !lists(UPGRADE, "websocket") || !lists(CONNECTION, "upgrade") || !version_fits {
        return None;
    }
    HeaderValue::from_str(&derive_accept_key(headers.get(SEC_WEBSOCKET_KEY)?.as_bytes())).ok()
}

/// Until the other side closes, breaks off or says something that is no WebSocket message. Pings and the closing
/// handshake are answered by the stream itself.
async fn echo(connection: Upgraded) {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
