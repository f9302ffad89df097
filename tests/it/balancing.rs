//! Several servers stand behind one upstream: who is sent where, and what a server that goes costs its visitors.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use guestpass::demo::site::{Settings, Site};
use http::Method;
use toml::Value;

use crate::harness::{ANYWHERE, Plan, Town, eventually};

fn sites(count: usize) -> Vec<Site> {
    (0..count).map(|_| Site::start(ANYWHERE, Settings::recording()).unwrap()).collect()
}

fn in_front_of(sites: &[Site]) -> Plan {
    let servers: Vec<Value> = sites.iter().map(|site| format!("http://{}", site.address()).into()).collect();
    Plan::default().set("upstream.servers", servers)
}

/// How many of them ask at once while a server is killed.
const CROWD: usize = 8;

#[tokio::test]
async fn of_a_server_that_is_killed_only_what_it_had_at_that_moment_is_lost_and_it_comes_back() {
    let mut sites = sites(3);
    let town = Town::planned(in_front_of(&sites)).await;
    let over = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let (mut visitor, over) = (town.visitor(), Arc::clone(&over));
            tokio::spawn(async move {
                let (mut asked, mut lost) = (0_usize, 0_usize);
                while !over.load(Ordering::SeqCst) {
                    // What has a body is never sent twice once a byte of it has left.
                    let request = visitor.request(Method::POST, "/public/").body("buy");
                    let status = visitor.send(request).await.status;
                    assert!([200, 502].contains(&status.as_u16()), "{status}");
                    asked += 1;
                    lost += usize::from(status == 502);
                }
                (asked, lost)
            })
        })
        .collect();
    eventually("all three are asked", || sites.iter().all(|site| site.seen().len() > CROWD)).await;
    let address: SocketAddr = sites.remove(1).address();
    let before: Vec<usize> = sites.iter().map(|site| site.seen().len()).collect();
    let more = |site: &Site, before: usize| site.seen().len() > before + 10 * CROWD;
    eventually("the others go on", || sites.iter().zip(&before).all(|(site, before)| more(site, *before))).await;
    let back = Site::start(address, Settings::recording()).unwrap();
    eventually("it is asked again", || back.seen().len() > CROWD).await;
    over.store(true, Ordering::SeqCst);
    let (mut asked, mut lost) = (0, 0);
    for visitor in crowd {
        let (one_asked, one_lost) = visitor.await.unwrap();
        (asked, lost) = (asked + one_asked, lost + one_lost);
    }
    assert!(lost <= CROWD, "{lost} of {asked} were lost");
}

#[tokio::test]
async fn a_visitor_stays_on_a_server_from_the_first_visit_on() {
    let sites = sites(3);
    let town = Town::planned(in_front_of(&sites).set("upstream.balance", "session")).await;
    // As many as one address gets sessions for in a minute.
    for _ in 0..10 {
        let mut visitor = town.visitor();
        for _ in 0..3 {
            assert_eq!(visitor.visit("/").await.status, 200);
        }
    }
    let sessions = |site: &Site| -> BTreeSet<String> {
        let id = |seen: &guestpass::demo::site::Seen| seen.headers["x-genesys-session-id"].to_str().unwrap().to_owned();
        site.seen().iter().map(id).collect()
    };
    let of_each: Vec<BTreeSet<String>> = sites.iter().map(sessions).collect();
    assert_eq!(of_each.iter().map(BTreeSet::len).sum::<usize>(), 10, "nobody was on two: {of_each:?}");
    assert_eq!(sites.iter().map(|site| site.seen().len()).sum::<usize>(), 30);
}

#[tokio::test]
async fn where_every_check_fails_the_site_is_served_all_the_same() {
    let sites = sites(2);
    let ill: toml::Table = "path = '/status/503'\ninterval = '10ms'\nfail_after = 1".parse().unwrap();
    let town = Town::planned(in_front_of(&sites).set("upstream.health_check", ill)).await;
    let checked = |site: &Site| site.seen().iter().any(|seen| seen.target == "/status/503");
    eventually("both are checked", || sites.iter().all(checked)).await;
    let mut visitor = town.visitor();
    for _ in 0..4 {
        assert_eq!(visitor.visit("/public/").await.status, 200, "a check that is wrong must not take the site down");
    }
    let visited = |site: &Site| site.seen().iter().filter(|seen| seen.target == "/public/").count();
    assert_eq!([visited(&sites[0]), visited(&sites[1])], [2, 2]);
}
