//! kill -9 at random moments under load, as often as one likes.

use std::env;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guestpass::cookie;
use guestpass::random::{Random, SystemRandom};
use http::Method;

use super::eventually;
use super::machine::Machine;
use super::visitor::{Answer, Visitor};

/// Visitors at once, each of whom has come back for another session by the time he has got one.
const CROWD: usize = 8;

/// How often: few times by default, and `GUESTPASS_TEST_KILLS` says otherwise.
fn kills() -> usize {
    env::var("GUESTPASS_TEST_KILLS").map_or(20, |count| count.parse().expect("a number of kills"))
}

/// Runs the program with visitors who all want sessions, and kills it, again and again. `look` hears which of the
/// sessions clients hold a cookie of, each time those of the last run.
pub(crate) async fn killed_under_load(machine: &Machine, mut look: impl FnMut(&[String])) {
    for _ in 0..kills() {
        let (program, address) = machine.run();
        let held = Arc::<Mutex<Vec<String>>>::default();
        let crowd: Vec<_> = (0..CROWD).map(|_| tokio::spawn(come_and_go(address, Arc::clone(&held)))).collect();
        eventually("somebody has a session", || !held.lock().unwrap().is_empty()).await;
        // At no moment of its own choice.
        tokio::time::sleep(Duration::from_millis(300).mul_f64(SystemRandom.unit())).await;
        // As SIGKILL.
        drop(program);
        for visitor in crowd {
            visitor.await.unwrap();
        }
        look(&held.lock().unwrap());
    }
}

/// Asks for one session after the other until nobody answers any more.
async fn come_and_go(address: SocketAddr, held: Arc<Mutex<Vec<String>>>) {
    let visitor = Visitor::over_http1(address);
    while let Ok(response) = visitor.request(Method::GET, "/lounge/").send().await {
        let answer = Answer { status: response.status(), headers: response.headers().clone(), body: String::new() };
        let Some(cookie) = answer.session_cookie() else { continue };
        let peek = cookie::peek(cookie.value.as_bytes(), "genesys_session", None).unwrap();
        held.lock().unwrap().push(peek.session.unwrap().id);
        // What is left of the answer keeps the connection from being used again.
        let _ = response.bytes().await;
    }
}
