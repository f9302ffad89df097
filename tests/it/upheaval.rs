//! Under load everything changes all the time, in no order: configurations good and bad, certificates, processes, and the
//! servers behind. Of all that, only a server that is killed costs anybody a request, and only those that it had.

use std::path::Path;
use std::time::{Duration, Instant};

use guestpass::clock::{Clock, SystemClock, Timestamp};
use serde_json::Value;

use crate::harness::House;
use crate::harness::house::Upstream;
use crate::harness::program::{self, Program};
use crate::load::h2load::{H2load, Outcome};
use crate::reload::exchange_certificate;
use crate::takeover::{Crowd, Successor};

const OPEN: &str = "route = [{ path = \"/**\", session = \"open\" }]";

/// For how many seconds: few by default, and `GUESTPASS_TEST_SECONDS` says otherwise.
fn seconds() -> u64 {
    std::env::var("GUESTPASS_TEST_SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"))
}

/// What is changed, by lot: the same lots on every run, and no rhythm in them.
struct Upheaval<'a> {
    house: &'a House,
    successors: Vec<Successor>,
    lot: u32,
}

impl<'a> Upheaval<'a> {
    const fn of(house: &'a House) -> Self {
        Self { house, successors: Vec::new(), lot: 7 }
    }

    /// Something, and then nothing for a while.
    async fn goes_on(&mut self) {
        self.lot = self.lot.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        match self.lot >> 16 & 3 {
            0 => {
                self.house.configure(&format!("{OPEN} # {}", self.lot));
                self.signal("HUP");
            }
            1 => self.house.write("proxy.toml", "workers = 'many'"),
            2 => exchange_certificate(self.house),
            _ => {
                self.house.configure(OPEN);
                self.signal("USR2");
                let count = self.successors.len() + 1;
                self.successors.push(Successor::of(self.house, count));
                self.house.says_again("the successor serves", count).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(u64::from(self.lot >> 18 & 511))).await;
    }

    /// To whoever serves now.
    fn signal(&self, name: &str) {
        self.successors.last().map_or_else(|| self.house.program.signal(name), |last| last.signal(name));
    }

    fn has_shown_all(&self) {
        let complained = self.house.program.complained();
        assert!(self.successors.len() > 1 && complained.contains("the certificates were read"), "{complained}");
    }
}

fn load(house: &House, path: &str, flags: &[&str]) -> H2load {
    H2load::start(house.address, path, Duration::from_secs(seconds()), flags)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs h2load and a release build"]
async fn reloads_certificates_and_takeovers_cost_no_request() {
    let house = House::build(OPEN);
    let loads =
        [load(&house, "/bytes/1000", &["-c", "20", "--h1"]), load(&house, "/bytes/1000", &["-c", "20", "-m", "10"])];
    let crowd = Crowd::gather(&house).await;
    let until = Instant::now() + Duration::from_secs(seconds());
    let mut upheaval = Upheaval::of(&house);
    while Instant::now() < until {
        upheaval.goes_on().await;
    }
    for load in loads {
        load.all_succeed(100 * seconds());
    }
    crowd.leaves().await;
    upheaval.has_shown_all();
}

/// A server in a process of its own, or what is left of it.
struct Server {
    address: String,
    program: Option<Program>,
}

/// When one was killed: at the latest moment before, and at the first after.
struct Kill {
    server: String,
    from: Timestamp,
    to: Timestamp,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut this = Self { address: "http://127.0.0.1:0".to_owned(), program: None };
        this.address = this.stands(folder);
        this
    }

    /// Has it listen where it did before.
    fn stands(&mut self, folder: &Path) -> String {
        let listen = self.address.trim_start_matches("http://");
        let program = Program::start(program::command(folder, &["simulate", "site", "--listen", listen]));
        let address = program.says("a sample site stands at ").trim().trim_end_matches('/').to_owned();
        self.program = Some(program);
        address
    }

    fn is_killed(&mut self) -> Kill {
        let clock = SystemClock::new();
        let from = clock.now();
        drop(self.program.take());
        Kill { server: self.address.clone(), from, to: clock.now() }
    }
}

/// How late after a server's end the proxy may still send something on a connection to it: it has to hear of the end, on a
/// machine that has no core to spare.
const UNHEARD: Duration = Duration::from_millis(500);

/// Whether a request that was lost was on its way to a server when that was killed.
fn is_explained(line: &Value, kills: &[Kill]) -> bool {
    let began = Timestamp::from_rfc3339(line["time"].as_str().unwrap()).unwrap();
    let ended = began.plus(Duration::from_secs_f64(line["duration_ms"].as_f64().unwrap() / 1000.0));
    // Both are whole milliseconds, of two processes.
    let a_moment = Duration::from_millis(2);
    let of_its_server = kills.iter().filter(|kill| line["server"] == kill.server);
    of_its_server.into_iter().any(|kill| began <= kill.to.plus(UNHEARD) && ended.plus(a_moment) >= kill.from)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs h2load and a release build"]
async fn of_servers_that_are_killed_only_what_they_had_is_lost_whatever_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = [(); 3].map(|()| Server::start(folder.path()));
    let addresses = servers.iter().map(|server| server.address.clone()).collect();
    let house = House::build_before(Upstream { servers: addresses, log: "access.log" }, OPEN);
    std::fs::write(folder.path().join("order"), "buy").unwrap();
    let order = folder.path().join("order");
    // What has a body is never sent twice. Each takes a while, so that a server has some at any moment.
    let clients = [&["-c", "10", "--h1", "-d", order.to_str().unwrap()][..], &["-c", "5", "-m", "2"]];
    let loads = clients.map(|flags| load(&house, "/slow?ms=20", flags));

    let until = Instant::now() + Duration::from_secs(seconds());
    let (mut upheaval, mut kills) = (Upheaval::of(&house), Vec::<Kill>::new());
    while Instant::now() < until {
        upheaval.goes_on().await;
        match servers.iter_mut().find(|server| server.program.is_none()) {
            Some(killed) => drop(killed.stands(folder.path())),
            None => kills.push(servers[(upheaval.lot >> 16) as usize % 3].is_killed()),
        }
    }
    let outcomes = loads.map(H2load::outcome);
    upheaval.has_shown_all();

    let log = std::fs::read_to_string(house.path("access.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // 499: h2load leaves when its time is over.
    let is_lost = |line: &&Value| line["status"] != 499 && (line["status"] != 200 || line["cut"] == true);
    let lost: Vec<&Value> = lines.iter().filter(is_lost).collect();
    let unexplained: Vec<&&Value> = lost.iter().filter(|line| !is_explained(line, &kills)).collect();
    assert!(unexplained.is_empty(), "of {} that were lost, nobody took these: {unexplained:#?}", lost.len());
    // Each of the twenty that may be under way, and another one of it that the proxy had not heard of the end for.
    assert!(!lost.is_empty() && lost.len() <= 40 * kills.len(), "{} at {} kills", lost.len(), kills.len());
    let count =
        |outcome: &Outcome| [" failed", " errored", " timeout"].map(|word| outcome.count(word)).iter().sum::<u64>();
    let failed: u64 = outcomes.iter().map(count).sum();
    assert!(failed <= lost.len() as u64, "{failed} failed, and {} have a line: {outcomes:#?}", lost.len());
    for server in &servers {
        let answered = lines.iter().filter(|line| line["server"] == server.address && line["status"] == 200).count();
        assert!(answered as u64 > 20 * seconds(), "{} answered {answered}", server.address);
    }
    println!("{} requests, {} kills, {} lost", lines.len(), kills.len(), lost.len());
}
