//! What a cached answer costs, counted in system calls; never in time.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;

use earthkey_record::ledger::{Header, State};
use earthkey_record::name::Name;
use earthkey_record::record::{Dependency, Expected, Record};

use crate::machine::{LOGIN, Machine, PLAIN, TOKEN};

/// Returns the system calls of a cached answer, one a line, every descriptor with its path.
fn trace(machine: &Machine) -> String {
    let log = machine.path("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-s", "0", "-o"])
        .arg(&log)
        .arg(machine.path("earthkey"))
        .args(["token", LOGIN])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", machine.home())
        .output()
        .expect("strace must be installed: scripts/setup-tests does it");
    assert_eq!(String::from_utf8_lossy(&traced.stdout), format!("{TOKEN}\n"), "{traced:?}");
    fs::read_to_string(&log).unwrap()
}

/// Returns the name of the system call on a line of the trace, which begins with a process id.
fn call(line: &str) -> &str {
    let (_, call) = line.split_once(' ').unwrap();
    call.trim_start().split('(').next().unwrap()
}

#[test]
fn a_cached_answer_opens_what_it_depends_on_and_does_nothing_else() {
    let machine = Machine::new();
    let (config, of_config) = machine.file("config.toml", "config");
    let (tokens, of_tokens) = machine.file("tokens.json", "grant");
    let ledger = machine.home().join("ledger");
    fs::write(&ledger, Header::new(State::Landed, 0, b"").unwrap().encode()).unwrap();
    let absent = machine.home().join("absent");
    let all =
        [(config, of_config), (absent, Expected::Absent), (tokens, of_tokens), (ledger, Expected::Ledger)];
    let dependencies = all.map(|(path, expected)| Dependency { path, expected }).to_vec();
    machine.keep(&PLAIN, &Record { dependencies, ..machine.record() });

    let trace = trace(&machine);
    let home = machine.home().display().to_string();
    let of_ours: Vec<&str> =
        trace.lines().filter(|line| line.contains(&home) && call(line) != "execve").collect();
    let opened: Vec<String> = of_ours
        .iter()
        .filter(|line| call(line) == "openat")
        .map(|line| line.rsplit_once(&home).unwrap().1.split('>').next().unwrap().to_owned())
        .collect();
    let record = Name::new(&PLAIN, &machine.environment(&[])).file_name();
    let expected = [
        "/.cache/earthkey",
        "/.cache/earthkey/key",
        &format!("/.cache/earthkey/{record}"),
        "/config.toml",
        "/tokens.json",
        "/ledger",
    ];
    assert_eq!(opened, expected, "{trace}");
    let count = |names: &[&str]| of_ours.iter().filter(|line| names.contains(&call(line))).count();
    // Content and end of four files, and the ledger's two headers with their ends.
    assert!(count(&["read", "pread64"]) <= 4 * 2 + 4, "{trace}");
    assert!(of_ours.len() <= 50, "{} calls\n{trace}", of_ours.len());

    let writing = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"];
    assert!(!of_ours.iter().any(|line| writing.iter().any(|flag| line.contains(flag))), "{trace}");
    let never = [
        "socket",
        "connect",
        "clone",
        "clone3",
        "fork",
        "vfork",
        "flock",
        "getdents64",
        "mkdir",
        "mkdirat",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "fsync",
        "fdatasync",
        "kill",
        "nanosleep",
        "clock_nanosleep",
        "epoll_create1",
    ];
    let found: Vec<&str> = trace.lines().filter(|line| never.contains(&call(line))).collect();
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(trace.lines().filter(|line| call(line) == "execve").count(), 1, "{trace}");
    let written: Vec<&str> = trace.lines().filter(|line| call(line).starts_with("write")).collect();
    assert!(
        matches!(written[..], [line] if line.ends_with(&format!("= {}", TOKEN.len() + 1))),
        "{written:#?}"
    );
}
