//! Keys are staged, promoted and rotated under visitors of whom none is refused.

use std::path::Path;
use std::time::Duration;

use super::h2load::H2load;
use crate::harness::program::{self, Program};
use crate::harness::{Machine, Plan, Visitor, eventually};

#[tokio::test]
#[ignore = "needs h2load and a release build"]
async fn nobody_is_refused_while_keys_are_staged_promoted_and_rotated() {
    const TIMES: usize = 3;
    let keys: toml::Table = "file = 'keys.toml'".parse().unwrap();
    let machine = Machine::planned(Plan::default().set("keys", keys)).await;
    guestpass_keys(machine.folder(), &["new", "keys.toml"]);
    let (program, address) = machine.run();
    let somebody_new = async || {
        let mut visitor = Visitor::over_http1(address);
        visitor.visit("/").await;
        visitor
    };
    let mut visitors = vec![somebody_new().await];
    let cookie = format!("cookie: genesys_session={}", visitors[0].cookie.as_deref().unwrap());
    let loads = [&["--h1"][..], &["-m", "10"]].map(|protocol| {
        H2load::start(address, "/account/", Duration::from_secs(12), &[protocol, &["-c", "25", "-H", &cookie]].concat())
    });

    for _ in 0..TIMES {
        for step in [&["rotate"][..], &["promote"], &["rotate", "--now"]] {
            guestpass_keys(machine.folder(), step);
            let reads = reads(&program);
            program.signal("HUP");
            eventually("it is read again", || self::reads(&program) > reads).await;
            visitors.push(somebody_new().await);
            for visitor in &mut visitors {
                assert_eq!(visitor.visit("/account/").await.status, 200, "{step:?}");
            }
        }
    }
    let keys: std::collections::BTreeSet<&str> = visitors.iter().filter_map(key_of).collect();
    assert_eq!(keys.len(), 1 + 2 * TIMES, "each of the keys has signed: {keys:?}");
    for load in loads {
        load.all_succeed(1_000);
    }
    for visitor in &mut visitors {
        assert_eq!(visitor.visit("/account/").await.status, 200);
    }
    assert_eq!(machine.genesys.sessions().len(), visitors.len(), "and nobody needed another session");
}

fn guestpass_keys(folder: &Path, arguments: &[&str]) {
    let output = program::run(folder, &[&["keys"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn reads(program: &Program) -> usize {
    program.complained().matches("the key ring was read").count()
}

fn key_of(visitor: &Visitor) -> Option<&str> {
    visitor.cookie.as_deref()?.split('.').nth(1)
}
