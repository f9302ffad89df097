//! The program has as many files open as the system allows it, and says so where its limits may need more.

use std::process::Command;

use crate::harness::House;
use crate::harness::program;

/// What a shell's `ulimit` does before the program starts in its place.
fn under(limit: &str, command: &mut Command) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap());
    *command = shell;
}

/// The soft and the hard limit of a process (proc_pid_limits(5)).
fn limits(process: u32) -> [String; 2] {
    let all = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(str::to_owned);
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_the_hard_one() {
    let house = House::build_with("limits.connections = 100", |command| under("-S -n 64", command));
    let [soft, hard] = limits(house.program.id());
    assert!(soft == hard && soft != "64", "{soft} {hard}");
    assert!(!house.program.complained().contains("open files"));
}

#[tokio::test]
async fn too_few_are_told_of_at_the_start_and_by_check() {
    let house = House::build_with("limits.connections = 1000", |command| under("-n 512", command));
    let told = "limits.connections = 1000 may need 2200 open files, and this process may have 512";
    assert!(house.program.complained().contains(told), "{}", house.program.complained());
    for (limit, is_told) in [("-n 512", true), ("-S -n 512", false)] {
        let mut check = program::command(&house.path(""), &["check"]);
        check.env("HMAC_SECRET", "a secret of the environment, long enough");
        under(limit, &mut check);
        let output = check.output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stderr).unwrap().contains(told), is_told, "{limit}");
    }
}
