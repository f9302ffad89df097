//! A new process takes over the sockets, and nobody notices.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use http::Method;
use tokio::task::JoinHandle;

use crate::harness::program::Program;
use crate::harness::{House, Visitor, eventually, eventually_found};

const OPEN: &str = "route = [{ path = \"/**\", session = \"open\" }]";

/// A process that was started by the program and is none of our children. It is killed when this is dropped.
pub(crate) struct Successor(String);

impl Successor {
    /// The last one that the program has spoken of.
    pub(crate) fn of(house: &House, count: usize) -> Self {
        let complained = || house.program.complained();
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let said = complained();
            let processes: Vec<_> =
                said.lines().filter_map(|line| line.split_once("successor was started process=")).collect();
            if let Some((_, id)) = processes.get(count - 1) {
                return Self(id.trim().to_owned());
            }
            assert!(Instant::now() < until, "{said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {} 2>/dev/null", self.0);
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }

    fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

#[tokio::test]
async fn it_is_started_by_a_signal_and_has_the_port_when_the_first_has_gone() {
    let mut house = House::build(OPEN);
    let slow = tokio::spawn(house.visitor().request(Method::POST, "/slow?ms=1500").send());
    eventually("it is under way", || !house.site.seen().is_empty()).await;
    house.program.signal("USR2");
    let successor = Successor::of(&house, 1);
    house.program.says("the successor serves");
    assert_eq!(house.visitor().ask(Method::POST, "/status/404", &[]).await.status, 404);
    assert_eq!(slow.await.unwrap().unwrap().status(), 200, "the first ends what it has begun");
    assert!(house.program.ends_within(Duration::from_secs(5)).success());
    let mut visitor = house.visitor();
    visitor.ask(Method::POST, "/", &[]).await;
    successor.signal("TERM");
    eventually("it ends as any other", || !successor.is_alive()).await;
    assert!(visitor.request(Method::POST, "/").send().await.is_err());
}

/// Two processes hold the operator's socket meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_successor_alone_answers_the_operator() {
    let house = House::build(&format!("{OPEN}\nadmin.address = \"127.0.0.1:0\""));
    let url = format!("http://{}/readyz", house.program.says("admin=").trim());
    let slow = tokio::spawn(house.visitor().request(Method::POST, "/slow?ms=2000").send());
    eventually("it is under way", || !house.site.seen().is_empty()).await;
    house.program.signal("USR2");
    let _successor = Successor::of(&house, 1);
    house.program.says("the successor serves");
    // One that was queued before may still be the first's.
    let ask = async || reqwest::Client::builder().no_proxy().build().unwrap().get(&url).send().await.unwrap().status();
    eventually_found("the successor", Duration::from_secs(1), async || (ask().await == 200).then_some(())).await;
    for _ in 0..50 {
        assert_eq!(ask().await, 200);
    }
    assert!(!slow.is_finished());
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn one_that_cannot_start_changes_nothing() {
    let house = House::build(OPEN);
    house.write("proxy.toml", "workers = 'many'");
    house.program.signal("USR2");
    house.program.says("the successor has ended before it served");
    assert_eq!(house.visitor().ask(Method::POST, "/status/404", &[]).await.status, 404);
    house.configure(OPEN);
    house.program.signal("USR2");
    let _successor = Successor::of(&house, 2);
    house.program.says("the successor serves");
}

/// Requests by a crowd of clients, of whom none sends anything twice.
pub(crate) struct Crowd {
    done: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    visitors: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub(crate) async fn gather(house: &House) -> Self {
        let (done, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let visitors = (0..8).map(|number| {
            let (address, done, answered) = (house.address, Arc::clone(&done), Arc::clone(&answered));
            let make = if number % 2 == 0 { Visitor::over_http1 } else { Visitor::over_http2 };
            // Some come on a new connection each time.
            let stays = number < 6;
            tokio::spawn(async move {
                let mut visitor = make(address);
                while !done.load(Ordering::Relaxed) {
                    let answer = visitor.request(Method::POST, "/status/404").body("x").send().await.unwrap();
                    assert_eq!(answer.status(), 404);
                    answer.bytes().await.unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                    if !stays {
                        visitor = make(address);
                    }
                }
            })
        });
        let this = Self { visitors: visitors.collect(), done, answered };
        this.is_answered_again().await;
        this
    }

    async fn is_answered_again(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("the crowd is answered", || self.answered.load(Ordering::Relaxed) > before + 50).await;
    }

    pub(crate) async fn leaves(self) {
        self.is_answered_again().await;
        self.done.store(true, Ordering::Relaxed);
        for visitor in self.visitors {
            visitor.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_refused_reset_or_lost() {
    let mut house = House::build(OPEN);
    let crowd = Crowd::gather(&house).await;
    house.program.signal("USR2");
    let successor = Successor::of(&house, 1);
    assert!(house.program.ends_within(Duration::from_secs(10)).success());
    successor.signal("USR2");
    let second = Successor::of(&house, 2);
    eventually("the first successor has gone", || !successor.is_alive()).await;
    assert!(second.is_alive());
    crowd.leaves().await;
}

/// What systemd does: it holds the socket, and is told how things stand.
#[tokio::test]
async fn a_service_manager_passes_the_socket_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let heard = || {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let passed = OwnedFd::from(socket.try_clone().unwrap());
    let mut house = House::build_with(OPEN, |command| {
        command
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env("WATCHDOG_USEC", "200000")
            .env("LISTEN_FDS", "1");
        command.fd_mappings(vec![FdMapping { parent_fd: passed, child_fd: 3 }]).unwrap();
    });
    assert_eq!(house.address, socket.local_addr().unwrap());
    assert_eq!(heard(), format!("MAINPID={}\nREADY=1\nSTATUS=serving\n", house.program.id()));
    assert_eq!(heard(), "WATCHDOG=1\n");
    house.program.signal("HUP");
    let next = || std::iter::repeat_with(heard).find(|said| !said.starts_with("WATCHDOG")).unwrap();
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert!(next().contains("READY=1"));
    house.program.signal("TERM");
    assert!(next().starts_with("STOPPING=1"));
    assert!(house.program.ends_within(Duration::from_secs(5)).success());

    // Nobody accepts, and nobody is refused.
    let waiting = tokio::spawn(house.visitor().request(Method::POST, "/status/404").send());
    let mut command = crate::harness::program::command(house.path("").as_path(), &["run"]);
    command.env("HMAC_SECRET", "a secret of the environment, long enough").env("LISTEN_FDS", "1");
    command.fd_mappings(vec![FdMapping { parent_fd: socket.into(), child_fd: 3 }]).unwrap();
    let _restarted = Program::start(command);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 404);
}
