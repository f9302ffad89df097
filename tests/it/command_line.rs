//! What the commands have in common: completions, manual pages, colours, and mistakes that say what would be right.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{Machine, Plan, Visitor, program};

/// What a command that ends well prints.
fn printed(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = program::run(Path::new("/"), arguments);
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// What one that does not complains of, and its exit code.
fn complained(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = program::run(folder, arguments);
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn each_shell_gets_its_completions() {
    for (shell, word) in [
        ("bash", "complete -F _guestpass"),
        ("zsh", "#compdef guestpass"),
        ("fish", "complete -c guestpass"),
        ("elvish", "edit:completion:arg-completer[guestpass]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = printed(&["completions", shell]);
        assert!(script.contains(word) && script.contains("issued-before"), "{shell}:\n{script}");
    }
    let (code, why) = complained(Path::new("/"), &["completions", "cmd"]);
    assert!(code == Some(2) && why.contains("bash, elvish, fish, powershell, zsh"), "{why}");
}

#[test]
#[ignore = "needs bash"]
fn bash_completes_commands_flags_and_values() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("completions"), printed(&["completions", "bash"])).unwrap();
    for (words, last, offered) in [
        ("guestpass", "sess", "sessions"),
        ("guestpass keys", "ro", "rotate"),
        ("guestpass audit show", "--ev", "--event"),
        ("guestpass completions", "z", "zsh"),
    ] {
        let before = words.rsplit(' ').next().unwrap();
        let count = words.split(' ').count();
        let script = format!(
            "set -u; source ./completions; COMP_WORDS=({words} {last}); COMP_CWORD={count}; \
             _guestpass guestpass {last} {before}; echo \"${{COMPREPLY[*]}}\""
        );
        let ended = Command::new("bash").args(["--norc", "-c", &script]).current_dir(folder.path()).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ended.stdout).trim(),
            offered,
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man1");
    printed(&["man", "--out", pages.to_str().unwrap()]);
    let names: Vec<_> =
        fs::read_dir(&pages).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    for name in ["guestpass.1", "guestpass-run.1", "guestpass-keys-rotate.1", "guestpass-man.1"] {
        assert!(names.iter().any(|it| it == name), "{name} is not among {names:?}");
    }
    for name in &names {
        let page = fs::read_to_string(pages.join(name)).unwrap();
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH EXAMPLES"] {
            assert!(page.contains(section), "{name} has no {section}:\n{page}");
        }
    }
    let one = printed(&["man", "keys", "rotate"]);
    assert_eq!(one, fs::read_to_string(pages.join("guestpass-keys-rotate.1")).unwrap());
    let (code, why) = complained(Path::new("/"), &["man", "keys", "bake"]);
    assert!(code == Some(1) && why.contains("`guestpass keys` has no command `bake`, but new, list"), "{why}");
}

#[test]
#[ignore = "needs groff"]
fn groff_finds_nothing_wrong_with_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    printed(&["man", "--out", folder.path().to_str().unwrap()]);
    for page in fs::read_dir(folder.path()).unwrap() {
        let page = page.unwrap().path();
        let ended =
            Command::new("groff").args(["-man", "-ww", "-Kutf8", "-Tutf8", "-P-cbou"]).arg(&page).output().unwrap();
        let warnings = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
        let read = String::from_utf8(ended.stdout).unwrap();
        assert!(read.contains("guestpass") && read.contains("EXAMPLES"), "{read}");
    }
}

#[test]
fn the_version_says_what_it_was_built_from_and_with() {
    let short = printed(&["-V"]);
    assert_eq!(short, concat!("guestpass ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = printed(&["--version"]);
    assert!(long.starts_with(short.trim_end()), "{long}");
    assert!(long.contains("\ncommit:   ") && long.contains("\nfeatures: proxy rest ring-file\n"), "{long}");
}

#[test]
#[ignore = "needs git and a release build"]
fn a_release_build_names_its_commit() {
    let root = env!("CARGO_MANIFEST_DIR");
    let trusted = format!("safe.directory={root}");
    let git =
        Command::new("git").args(["-C", root, "-c", &trusted, "rev-parse", "--short=12", "HEAD"]).output().unwrap();
    let commit = String::from_utf8(git.stdout).unwrap();
    assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    assert!(printed(&["--version"]).contains(&format!("\ncommit:   {commit}")), "{commit}");
}

#[test]
fn colour_is_for_terminals_and_for_those_who_ask_for_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("proxy.toml"), "workers = -1\n").unwrap();
    for (arguments, word) in [(&["check"][..], "workers"), (&["chek"][..], "check")] {
        for (variables, is_coloured) in [
            (&[][..], false),
            (&[("CLICOLOR_FORCE", "1")][..], true),
            (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")][..], false),
            (&[("CLICOLOR", "1")][..], false),
        ] {
            let mut command = program::command(folder.path(), arguments);
            command.envs(variables.iter().copied());
            let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
            assert!(said.contains(word), "{said}");
            assert_eq!(said.contains('\u{1b}'), is_coloured, "{arguments:?} with {variables:?}: {said}");
        }
    }
}

#[test]
fn what_is_no_sessions_id_is_not_said_to_be_revoked() {
    let folder = Path::new("/");
    let whole = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
    for (id, word) in [
        (&whole[..8], "the whole of it"),
        (&whole.to_uppercase(), "in lower case"),
        (&format!(" {whole}"), "spaces"),
        ("", "1 to 256"),
    ] {
        let (code, why) = complained(folder, &["sessions", "revoke", id]);
        assert!(code == Some(2) && why.contains(word), "{id:?}: {why}");
    }
    let (code, why) = complained(folder, &["sessions", "revoke", "--issued-before", "yesterday"]);
    assert!(code == Some(2) && why.contains("2026-"), "{why}");
    let (code, why) = complained(folder, &["sessions", "revoke"]);
    assert!(code == Some(2) && why.contains("<SESSION_ID|--issued-before <TIME>>"), "the usage has both: {why}");
}

#[test]
fn an_event_that_there_is_not_is_refused_with_those_that_there_are() {
    let (code, why) = complained(Path::new("/"), &["audit", "show", "--event", "session.mint"]);
    assert!(code == Some(2) && why.contains("session.minted") && why.contains("log.gap"), "{why}");
}

#[tokio::test]
async fn a_file_of_the_audit_log_is_named_with_its_folder() {
    let machine = Machine::planned(Plan::default().set("audit.path", "audit/session.log")).await;
    {
        let (mut program, address) = machine.run();
        Visitor::over_http1(address).visit("/").await;
        program.signal("TERM");
        program.ends_within(std::time::Duration::from_secs(10));
    }
    let (code, said) = machine.says(&["audit", "verify"]);
    assert!(code == Some(0) && said.contains("audit/session-000001.log: "), "{said}");
    let (code, said) = machine.says(&["audit", "verify", "audit/session-000001.log", "audit/missing.log"]);
    assert!(code == Some(1) && said.contains("error: audit/missing.log cannot be read"), "{said}");
}

#[test]
fn who_lacks_a_key_ring_is_told_how_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (code, why) = complained(folder.path(), &["keys", "list", "--file", "keys.toml"]);
    assert!(code == Some(1) && why.contains("`guestpass keys new keys.toml`"), "{why}");
    fs::write(folder.path().join("proxy.toml"), "keys.file = \"ring.toml\"\n").unwrap();
    let (code, why) = complained(folder.path(), &["check"]);
    assert!(code == Some(78) && why.contains("help: make one with `guestpass keys new ring.toml`"), "{why}");
}
