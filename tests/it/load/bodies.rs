//! A body takes no memory, however long it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use reqwest::Body;

use super::{GIB, MIB, Street, memory, resident};
use crate::harness::program::Program;

/// What is buffered on the way is far below this, whatever the body's length; a body that were collected is far above.
const BUFFERS: u64 = 16 * MIB;

#[tokio::test]
#[ignore = "needs a release build"]
async fn a_gibibyte_down_takes_no_memory() {
    let street = Street::build();
    for mut visitor in street.visitors() {
        assert_eq!(visitor.visit("/bytes/1000000").await.status, 200);
        let watch = Watch::begin(&street.proxy);
        let answer = visitor.request(Method::GET, &format!("/bytes/{GIB}")).send().await.unwrap();
        let mut body = answer.bytes_stream();
        let (mut length, mut looked_at) = (0, 0);
        while let Some(chunk) = body.next().await {
            length += chunk.unwrap().len() as u64;
            if length - looked_at > 16 * MIB {
                looked_at = length;
                watch.look();
            }
        }
        assert_eq!(length, GIB);
        assert!(watch.grown() < BUFFERS, "{} bytes more", watch.grown());
    }
}

#[tokio::test]
#[ignore = "needs a release build"]
async fn a_gibibyte_up_takes_no_memory() {
    const CHUNK: u64 = 64 * 1024;
    let street = Street::build();
    for mut visitor in street.visitors() {
        assert_eq!(visitor.ask(Method::POST, "/body", &[]).await.status, 200);
        let watch = Watch::begin(&street.proxy);
        let chunk = Bytes::from(vec![b'u'; CHUNK as usize]);
        let looking = watch.clone();
        let chunks = (0..GIB / CHUNK).map(move |sent| {
            if sent % 256 == 0 {
                looking.look();
            }
            Ok::<_, std::io::Error>(chunk.clone())
        });
        let request = visitor.request(Method::POST, "/body").body(Body::wrap_stream(stream::iter(chunks)));
        let answer: serde_json::Value = serde_json::from_str(&visitor.send(request).await.body).unwrap();
        assert_eq!(answer["length"], GIB, "{answer}");
        assert!(watch.grown() < BUFFERS, "{} bytes more", watch.grown());
    }
}

/// How much memory a program takes at most while it is looked at.
#[derive(Clone)]
struct Watch {
    program: u32,
    before: u64,
    most: Arc<AtomicU64>,
}

impl Watch {
    fn begin(program: &Program) -> Self {
        let before = memory(program);
        Self { program: program.id(), before, most: Arc::new(AtomicU64::new(before)) }
    }

    fn look(&self) {
        self.most.fetch_max(resident(self.program), Ordering::Relaxed);
    }

    fn grown(&self) -> u64 {
        self.look();
        self.most.load(Ordering::Relaxed) - self.before
    }
}
