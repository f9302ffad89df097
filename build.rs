//! Tells the program which commit it is built from, for `guestpass --version`.
//!
//! Release builds alone ask: while one develops, each commit would otherwise have everything built again. Nothing here
//! needs a network, and where there is no git, or no repository as in an unpacked archive, the commit is unknown.
//! `GUESTPASS_COMMIT` says it instead of git, for builds in a container that is not given the repository.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GUESTPASS_COMMIT");
    let said = std::env::var("GUESTPASS_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = said.or_else(|| if is_release { of_the_repository() } else { None });
    println!("cargo::rustc-env=GUESTPASS_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn of_the_repository() -> Option<String> {
    // An archive may have been unpacked within another repository, whose commit says nothing of us.
    if !Path::new(".git").exists() {
        return None;
    }
    // What changes with a commit or a checkout: HEAD, the branch that it names, and the log of both, which is enough where
    // the branch is packed. Only what is there is followed, since cargo takes what is missing for changed, each time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    // The checkout may belong to somebody else than the one who builds it, as in a container.
    let trusted = format!("safe.directory={}", std::env::current_dir().ok()?.display());
    let output = Command::new("git").args(["-c", &trusted]).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
