//! Records are used only if they are this user's alone, whole and where they belong.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use earthkey_record::name::{Arguments, Name};
use earthkey_record::record::Record;

use crate::machine::{Machine, PLAIN, assert_handed_over, assert_served};

fn file_of_the_record(machine: &Machine) -> PathBuf {
    machine.cache_path().join(Name::new(&PLAIN, &machine.environment(&[])).file_name())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn with_nothing_there_it_hands_over_and_leaves_nothing() {
    let machine = Machine::new();
    assert_handed_over(&mut machine.token());
    assert_eq!(fs::read_dir(machine.home()).unwrap().count(), 0);
    assert_handed_over(machine.token().env_remove("HOME"));
}

#[test]
fn modes_count() {
    let machine = Machine::with_record();
    let record = file_of_the_record(&machine);
    let key = machine.cache_path().join("key");
    for (path, good, bad) in [
        (&record, 0o600, &[0o640, 0o604, 0o400][..]),
        (&key, 0o600, &[0o644]),
        (&machine.cache_path(), 0o700, &[0o755, 0o710]),
    ] {
        for mode in bad {
            set_mode(path, *mode);
            assert_handed_over(&mut machine.token());
        }
        set_mode(path, good);
        assert_served(&mut machine.token());
    }
}

#[test]
fn links_count() {
    let machine = Machine::with_record();
    let record = file_of_the_record(&machine);
    let elsewhere = machine.path("elsewhere");
    fs::hard_link(&record, &elsewhere).unwrap();
    assert_handed_over(&mut machine.token());
    fs::remove_file(&record).unwrap();
    symlink(&elsewhere, &record).unwrap();
    assert_handed_over(&mut machine.token());
    fs::remove_file(&record).unwrap();
    fs::rename(&elsewhere, &record).unwrap();
    assert_served(&mut machine.token());
}

#[test]
fn owners_count() {
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root, "only root can give files away: run the tests as root");
    let machine = Machine::with_record();
    for path in [file_of_the_record(&machine), machine.cache_path().join("key"), machine.cache_path()] {
        chown(&path, Some(65534), None).unwrap();
        assert_handed_over(&mut machine.token());
        chown(&path, Some(0), None).unwrap();
        assert_served(&mut machine.token());
    }
}

#[test]
fn every_byte_counts() {
    let machine = Machine::with_record();
    let path = file_of_the_record(&machine);
    let whole = fs::read(&path).unwrap();
    // In the magic, the version, the length, the checksum, the token and at the end.
    for position in [0, 8, 12, 16, 36, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_handed_over(&mut machine.token());
    }
    for length in [0, 1, 16, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_handed_over(&mut machine.token());
    }
    fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
    assert_handed_over(&mut machine.token());
    fs::write(&path, &whole).unwrap();
    assert_served(&mut machine.token());
}

#[test]
fn a_record_under_another_key_is_none() {
    let machine = Machine::with_record();
    let key = machine.cache_path().join("key");
    let before = fs::read(&key).unwrap();
    fs::write(&key, [7; 16]).unwrap();
    assert_handed_over(&mut machine.token());
    fs::remove_file(&key).unwrap();
    assert_handed_over(&mut machine.token());
    fs::write(&key, before).unwrap();
    set_mode(&key, 0o600);
    assert_served(&mut machine.token());
}

#[test]
fn a_relative_cache_would_be_another_one_in_each_working_directory() {
    let machine = Machine::new();
    let environment = machine.environment(&[("EARTHKEY_HOME", "ours")]);
    let cache = earthkey_record::store::Cache::create(&machine.home().join("ours/cache")).unwrap();
    let record = Record { environment: environment.digest(cache.key()), ..machine.record() };
    cache.write(&Name::new(&PLAIN, &environment), &record).unwrap();
    assert_handed_over(machine.token().env("EARTHKEY_HOME", "ours").current_dir(machine.home()));
}

#[test]
fn the_directories_of_records_follow_their_variables() {
    let machine = Machine::new();
    for (variable, below) in [("EARTHKEY_HOME", "cache"), ("XDG_CACHE_HOME", "earthkey")] {
        let place = machine.path(variable);
        let environment = machine.environment(&[(variable, place.to_str().unwrap())]);
        let cache = earthkey_record::store::Cache::create(&place.join(below)).unwrap();
        let record = Record { environment: environment.digest(cache.key()), ..machine.record() };
        assert_handed_over(machine.token().env(variable, &place));
        cache.write(&Name::new(&PLAIN, &environment), &record).unwrap();
        assert_served(machine.token().env(variable, &place));
    }
}

#[test]
fn a_cache_without_the_answer_hands_over() {
    let machine = Machine::new();
    machine.keep(&Arguments { login: Some("earthscope"), ..PLAIN }, &machine.record());
    assert_handed_over(&mut machine.token());
}
