//! A KMS: whom the webhook tells of sessions and keys, in all the ways in which one can behave.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::ANYWHERE;

/// What it shares with guestpass.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// With a 204.
    Accepting,
    /// With a 204, half a second later.
    Slow,
    /// With this status.
    Answering(u16),
    /// Not at all, and the connection stays.
    Silent,
    /// Not at all, and the connection goes.
    Gone,
    /// With a 200 whose body breaks off.
    Lying,
    /// With a 200 whose body never ends.
    Endless,
    /// With a 200 after the head of the request, before it has read more.
    Hasty,
}

/// One delivery, whatever was answered. Its signature was verified.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) body: Value,
    pub(crate) is_accepted: bool,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    url: String,
    mood: Arc<Mutex<Mood>>,
    heard: Arc<Mutex<Vec<Delivery>>>,
    listening: AbortHandle,
}

impl Receiver {
    pub(crate) async fn start(mood: Mood) -> Self {
        Self::behind(mood, None).await
    }

    /// One that speaks TLS alone, and the PEM of who vouches for it.
    pub(crate) async fn over_tls(mood: Mood) -> (Self, String) {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let own = own.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.into()], key).unwrap();
        (Self::behind(mood, Some(TlsAcceptor::from(Arc::new(config)))).await, pem)
    }

    async fn behind(mood: Mood, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(ANYWHERE).await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/hook", listener.local_addr().unwrap());
        let (mood, heard) = (Arc::new(Mutex::new(mood)), Arc::<Mutex<Vec<_>>>::default());
        let (moods, hearing) = (Arc::clone(&mood), Arc::clone(&heard));
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (moods, hearing, tls) = (Arc::clone(&moods), Arc::clone(&hearing), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return receive(stream, moods, hearing).await };
                    // Who does not trust us goes away.
                    if let Ok(stream) = tls.accept(stream).await {
                        receive(stream, moods, hearing).await;
                    }
                });
            }
        });
        Self { url, mood, heard, listening: listening.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn is_now(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// All deliveries so far.
    pub(crate) fn heard(&self) -> Vec<Delivery> {
        self.heard.lock().unwrap().clone()
    }

    /// Of the accepted ones what they tell of, in order: the event, and the session.
    pub(crate) fn accepted(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let accepted = self.heard().into_iter().filter(|delivery| delivery.is_accepted);
        accepted.map(|Delivery { body, .. }| (text(&body["event"]), text(&body["sessionId"]))).collect()
    }

    /// Whether it has accepted that this session was made.
    pub(crate) fn knows(&self, session_id: &str) -> bool {
        self.accepted().iter().any(|(event, session)| event == "session.created" && session == session_id)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One request after the other, as HTTP/1.1 has them.
async fn receive<T>(mut stream: T, moods: Arc<Mutex<Mood>>, heard: Arc<Mutex<Vec<Delivery>>>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    loop {
        let Some((head, length)) = head(&bytes) else {
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => continue,
                _ => return,
            }
        };
        let mood = *moods.lock().unwrap();
        if mood == Mood::Hasty && stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
        while bytes.len() < head + length {
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        }
        let request: Vec<u8> = bytes.drain(..head + length).collect();
        let is_accepted = matches!(mood, Mood::Accepting | Mood::Slow | Mood::Hasty);
        heard.lock().unwrap().push(verified(&request[..head], &request[head..], is_accepted));
        if mood == Mood::Slow {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let answer = match mood {
            Mood::Accepting | Mood::Slow => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            Mood::Answering(status) => format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\nlocation: /\r\n\r\n"),
            Mood::Lying => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok".to_owned(),
            Mood::Endless => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            Mood::Gone => return,
            Mood::Hasty => continue,
            // Longer than any test asks: the client goes first.
            Mood::Silent => return tokio::time::sleep(Duration::from_secs(60)).await,
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || mood == Mood::Lying {
            return;
        }
        if mood == Mood::Endless {
            // Until the client has had enough of it.
            while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
            return;
        }
    }
}

/// Where the body begins, and how long it is, once all of the head is there.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    Some((head, field(&bytes[..head], "content-length").parse().unwrap()))
}

fn field(head: &[u8], name: &str) -> String {
    let head = std::str::from_utf8(head).unwrap();
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(said, _)| said.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).expect(name)
}

/// As the specification says it, and not as guestpass does it.
fn verified(head: &[u8], body: &[u8], is_accepted: bool) -> Delivery {
    let (id, timestamp) = (field(head, "webhook-id"), field(head, "webhook-timestamp"));
    let key = BASE64_STANDARD.decode(WEBHOOK_SECRET.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(field(head, "webhook-signature"), signature);
    assert_eq!(field(head, "content-type"), "application/json");
    Delivery { id, body: serde_json::from_slice(body).unwrap(), is_accepted }
}
