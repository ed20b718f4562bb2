//! Whatever changes, no stale and no wrong token is served.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use earthkey_record::clock::UNKNOWN_BOOT;
use earthkey_record::ledger::{Header, SLOT_SIZE, State};
use earthkey_record::record::{Dependency, Expected, Record};
use earthkey_record::variables::{Matching, VARIABLES, Variable};

use crate::machine::{Did, LIFETIME, LOGIN, Machine, PLAIN, TOKEN, assert_handed_over, assert_served, did};

/// Returns a name by which the environment holds a variable.
fn spelled(variable: &Variable) -> String {
    match variable.matching {
        Matching::Exact => variable.name.to_owned(),
        Matching::AnyCase => variable.name.to_lowercase(),
        Matching::AnyCasePrefix => format!("{}__x", variable.name.to_lowercase()),
    }
}

#[test]
fn every_variable_that_shapes_an_answer_counts_and_no_other() {
    let machine = Machine::with_record();
    let (mut shaping, mut others) = (0, 0);
    for variable in VARIABLES.iter().filter(|variable| variable.name != "HOME") {
        let name = spelled(variable);
        if !variable.shapes_answer {
            others += 1;
            assert_served(machine.token().env(&name, "/x"));
            continue;
        }
        shaping += 1;
        assert_handed_over(machine.token().env(&name, "/x"));
        assert_handed_over(machine.token().env(&name, ""));
    }
    assert!(shaping > 20 && others > 5, "{shaping} {others}");
    assert_served(machine.token().env("UNHEARD_OF", "/x"));
}

#[test]
fn a_variable_that_is_changed_or_gone_counts() {
    let moving = ["EARTHKEY_HOME", "XDG_CACHE_HOME"];
    for variable in VARIABLES.iter().filter(|variable| variable.shapes_answer && variable.name != "HOME") {
        if moving.contains(&variable.name) {
            continue;
        }
        let machine = Machine::new();
        let name = spelled(variable);
        machine.keep_with(&[(&name, "/x")], &PLAIN);
        assert_served(machine.token().env(&name, "/x"));
        assert_handed_over(machine.token().env(&name, "/y"));
        assert_handed_over(machine.token().env(&name, ""));
        assert_handed_over(&mut machine.token());
    }
}

#[test]
fn the_case_of_earthscopes_names_does_not_count() {
    let machine = Machine::new();
    machine.keep_with(&[("es_profile", "field")], &PLAIN);
    assert_served(machine.token().env("ES_PROFILE", "field"));
    assert_handed_over(machine.token().env("Es_Profile", "lab"));
}

#[test]
fn another_home_counts_also_above_the_same_cache() {
    let machine = Machine::with_record();
    let cache = machine.home().join(".cache");
    machine.keep_with(&[("XDG_CACHE_HOME", cache.to_str().unwrap())], &PLAIN);
    assert_served(machine.token().env("XDG_CACHE_HOME", &cache));
    assert_handed_over(machine.token().env("XDG_CACHE_HOME", &cache).env("HOME", machine.path("other")));
    assert_handed_over(machine.token().env("XDG_CACHE_HOME", &cache).env_remove("HOME"));
    assert_handed_over(machine.token().env("XDG_CACHE_HOME", &cache).env("HOME", ""));
}

#[test]
fn a_file_that_appears_counts() {
    let machine = Machine::new();
    let path = machine.home().join("tokens.json");
    machine.keep_depending(&path, Expected::Absent);
    assert_served(&mut machine.token());
    fs::write(&path, "").unwrap();
    assert_handed_over(&mut machine.token());
    fs::remove_file(&path).unwrap();
    symlink(machine.path("target"), &path).unwrap();
    assert_served(&mut machine.token());
    fs::write(machine.path("target"), "").unwrap();
    assert_handed_over(&mut machine.token());
}

#[test]
fn a_file_that_changes_or_goes_counts() {
    let machine = Machine::new();
    let (path, expected) = machine.file("config.toml", "default = \"a\"");
    machine.keep_depending(&path, expected);
    assert_served(&mut machine.token());
    for content in ["default = \"b\"", "default = \"a\"\n", ""] {
        fs::write(&path, content).unwrap();
        assert_handed_over(&mut machine.token());
    }
    fs::write(&path, "default = \"a\"").unwrap();
    assert_served(&mut machine.token());
    fs::remove_file(&path).unwrap();
    assert_handed_over(&mut machine.token());
    fs::create_dir(&path).unwrap();
    assert_handed_over(&mut machine.token());
}

/// The size and both times stay, as after a restore; only the bytes differ.
#[test]
fn another_accounts_grant_counts_whatever_the_times_say() {
    let machine = Machine::new();
    let (path, expected) = machine.file("tokens.json", r#"{"refresh_token": "of-ada"}"#);
    machine.keep_depending(&path, expected);
    assert_served(&mut machine.token());
    let (other, _) = machine.file("other.json", r#"{"refresh_token": "of-bob"}"#);
    let touched = Command::new("touch").arg("-r").arg(&path).arg(&other).status().unwrap();
    assert!(touched.success());
    fs::rename(&other, &path).unwrap();
    assert_handed_over(&mut machine.token());
}

/// Another tool writes what was there before, by whatever way.
#[test]
fn the_same_bytes_again_are_no_change() {
    let machine = Machine::new();
    let (path, expected) = machine.file("tokens.json", "grant");
    machine.keep_depending(&path, expected);
    let (other, _) = machine.file("other.json", "grant");
    fs::rename(&other, &path).unwrap();
    assert_served(&mut machine.token());
}

#[test]
fn a_logout_elsewhere_counts() {
    let machine = Machine::new();
    let (path, expected) = machine.file("tokens.json", "grant");
    machine.keep_depending(&path, expected);
    assert_served(&mut machine.token());
    // As other tools do it.
    fs::remove_file(&path).unwrap();
    assert_handed_over(&mut machine.token());
    // As our own do it, also where the home is shared and stays.
    fs::write(&path, "grant").unwrap();
    assert_served(&mut machine.token());
    machine.cache().remove_login(LOGIN).unwrap();
    assert_handed_over(&mut machine.token());
}

#[test]
fn a_directory_that_appears_or_goes_counts() {
    let machine = Machine::new();
    let path = machine.home().join("openeo");
    machine.keep_depending(&path, Expected::Absent);
    assert_served(&mut machine.token());
    fs::create_dir(&path).unwrap();
    assert_handed_over(&mut machine.token());
    machine.keep_depending(&path, Expected::Directory);
    assert_served(&mut machine.token());
    fs::remove_dir(&path).unwrap();
    assert_handed_over(&mut machine.token());
    fs::write(&path, "").unwrap();
    assert_handed_over(&mut machine.token());
}

#[test]
fn every_dependency_is_looked_at_and_not_the_first_alone() {
    let machine = Machine::new();
    let (config, of_config) = machine.file("config.toml", "config");
    let (home, of_home) = machine.file("tokens.json", "grant");
    let absent = machine.home().join("absent");
    let all = [(config, of_config), (home, of_home), (absent, Expected::Absent)];
    let dependencies = all.clone().map(|(path, expected)| Dependency { path, expected }).to_vec();
    machine.keep(&PLAIN, &Record { dependencies, ..machine.record() });
    for (path, _) in all {
        assert_served(&mut machine.token());
        let before = fs::read(&path).ok();
        fs::write(&path, "changed").unwrap();
        assert_handed_over(&mut machine.token());
        before.map_or_else(|| fs::remove_file(&path), |before| fs::write(&path, before)).unwrap();
    }
}

#[test]
fn what_cannot_be_compared_counts() {
    let machine = Machine::new();
    let (path, expected) = machine.file("tokens.json", "grant");
    machine.keep_depending(&path, expected);
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    assert_handed_over(&mut machine.token());
    machine.keep_depending(&path, Expected::Absent);
    assert_handed_over(&mut machine.token());
    machine.keep_depending(&path, Expected::Ledger);
    assert_handed_over(&mut machine.token());
}

fn slots(slot_a: &[u8], slot_b: &[u8]) -> Vec<u8> {
    let mut content = slot_a.to_vec();
    content.resize(SLOT_SIZE, 0);
    content.extend_from_slice(slot_b);
    content
}

#[test]
fn a_ledger_with_something_pending_counts() {
    let machine = Machine::new();
    let path: PathBuf = machine.home().join("ledger");
    machine.keep_depending(&path, Expected::Ledger);
    let header = |state, sequence| Header::new(state, sequence, b"").unwrap().encode();
    assert_served(&mut machine.token());
    for (state, is_quiet) in
        [(State::Idle, true), (State::Intent, false), (State::Answered, false), (State::Landed, true)]
    {
        fs::write(&path, slots(&header(State::Landed, 2), &header(state, 3))).unwrap();
        if is_quiet {
            assert_served(&mut machine.token());
        } else {
            assert_handed_over(&mut machine.token());
        }
    }
    // Cut short while it was written, and what came before it still pending.
    fs::write(&path, slots(&header(State::Intent, 2), &header(State::Landed, 3)[..40])).unwrap();
    assert_handed_over(&mut machine.token());
    fs::write(&path, "no ledger").unwrap();
    assert_handed_over(&mut machine.token());
}

#[test]
fn time_counts() {
    let machine = Machine::new();
    let record = machine.record();
    let now = record.obtained_at;
    let holds = |record: Record, is_served: bool, what: &str| {
        machine.keep(&PLAIN, &record);
        let served = Did::Print(format!("{TOKEN}\n"));
        assert_eq!(did(&mut machine.token()) == served, is_served, "{what}");
    };
    let other_boot = Record { boot_id: [9; 16], ..record.clone() };
    holds(record.clone(), true, "fresh");
    holds(Record { expires_at: now, early_at: now, ..record.clone() }, false, "expired");
    holds(Record { early_at: now, ..record.clone() }, false, "early");
    holds(Record { obtained_at: now + LIFETIME, ..record.clone() }, false, "the clock went back");
    holds(Record { obtained_at: now + LIFETIME, ..other_boot.clone() }, false, "so it did across a boot");
    holds(Record { lifetime: 0, ..record.clone() }, false, "outlived by the boot-time clock");
    let later = record.boottime_ms + 3_600_000;
    holds(Record { boottime_ms: later, ..record.clone() }, false, "another boot-time clock");
    holds(Record { boottime_ms: later, ..other_boot }, true, "a clock of another boot says nothing");
    holds(Record { lifetime: 0, boot_id: UNKNOWN_BOOT, ..record }, true, "nor does that of an unknown one");
}

#[test]
fn a_wish_for_more_life_than_is_left_counts() {
    let machine = Machine::with_record();
    assert_served(machine.token().args(["--min-ttl", "3000"]));
    assert_handed_over(machine.token().args(["--min-ttl", "3601"]));
    assert_handed_over(machine.token().args(["--min-ttl", "18446744073709551615"]));
}

/// The boot-time clock runs on while a machine sleeps, also where the wall clock is set late.
#[cfg(target_os = "linux")]
#[test]
fn a_suspend_counts() {
    let machine = Machine::with_record();
    let after = |seconds: &str| {
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", seconds]).arg(machine.path("earthkey")).args(["token", LOGIN]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", machine.home()).output().unwrap()
    };
    let short = after("60");
    let is_made = !short.stderr.starts_with(b"unshare: ");
    assert!(is_made, "a namespace of clocks is needed, which only root may make: run the tests as root");
    assert_eq!(short.stdout, format!("{TOKEN}\n").as_bytes(), "{short:?}");
    let long = after("7200");
    assert_eq!(long.stdout, format!("HANDED-OVER[token][{LOGIN}]").as_bytes(), "{long:?}");
}
