use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::ledger::{Header, State};
use crate::secret::Secret;

const OBTAINED: u64 = 1_790_000_000;
const LIFETIME: u64 = 3600;
const EARLY: u64 = OBTAINED + 2700;
const BOOT: [u8; 16] = [1; 16];
const BOOTTIME_MS: u64 = 500_000;
const ANY: Freshness = Freshness { min_ttl: 0 };

fn key() -> Key {
    Key::from_bytes([5; 16])
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let home = [("HOME", "/h")];
    Environment::new(
        home.iter().chain(pairs).map(|(name, value)| (OsString::from(name), OsString::from(value))),
    )
}

fn record(dependencies: Vec<Dependency>) -> Record {
    Record {
        token: Secret::new("token"),
        token_type: "Bearer".to_owned(),
        headers: Vec::new(),
        scopes: Vec::new(),
        client_id: None,
        login: "earthscope".to_owned(),
        obtained_at: OBTAINED,
        lifetime: LIFETIME,
        expires_at: OBTAINED + LIFETIME,
        early_at: EARLY,
        boot_id: BOOT,
        boottime_ms: BOOTTIME_MS,
        grant: [0; 16],
        environment: environment(&[]).digest(&key()),
        dependencies,
    }
}

/// Some seconds after the token was obtained, by the wall clock and by the boot-time clock.
fn clock(wall: i64, boot: i64) -> Clock {
    Clock {
        now: OBTAINED.checked_add_signed(wall).unwrap(),
        boot_id: BOOT,
        boottime_ms: BOOTTIME_MS.checked_add_signed(boot * 1000).unwrap(),
    }
}

fn at(clock: Clock) -> Verdict {
    check(&record(Vec::new()), &key(), &environment(&[]), &clock, ANY)
}

fn within(min_ttl: u64, clock: Clock) -> Verdict {
    check(&record(Vec::new()), &key(), &environment(&[]), &clock, Freshness { min_ttl })
}

fn holds(dependency: Dependency) -> Verdict {
    check(&record(vec![dependency]), &key(), &environment(&[]), &clock(1, 1), ANY)
}

fn handed_over(reason: Reason) -> Verdict {
    Verdict::HandOver(reason)
}

#[test]
fn a_record_is_valid_from_the_tolerance_to_its_early_window() {
    for seconds in [0, 1, 2699] {
        assert_eq!(at(clock(seconds, seconds)), Verdict::Valid, "after {seconds} s");
    }
    assert_eq!(at(clock(-60, 0)), Verdict::Valid);
    assert_eq!(at(clock(-61, 0)), handed_over(Reason::ClockBack));
    assert_eq!(at(clock(2700, 2700)), handed_over(Reason::Early));
    assert_eq!(at(clock(3599, 3599)), handed_over(Reason::Early));
    assert_eq!(at(clock(3600, 3599)), handed_over(Reason::Expired));
}

#[test]
fn without_an_early_window_it_is_valid_to_its_last_second() {
    let record = Record { early_at: u64::MAX, ..record(Vec::new()) };
    let at = |clock| check(&record, &key(), &environment(&[]), &clock, ANY);
    assert_eq!(at(clock(3599, 3599)), Verdict::Valid);
    assert_eq!(at(clock(3600, 3599)), handed_over(Reason::Expired));
    assert_eq!(at(clock(3599, 3600)), handed_over(Reason::BootClock));
}

#[test]
fn a_wall_clock_that_was_set_back_does_not_prolong_a_token() {
    assert_eq!(at(clock(10, 3600)), handed_over(Reason::BootClock));
    assert_eq!(at(clock(10, 2700)), handed_over(Reason::Early));
    assert_eq!(at(clock(10, 2699)), Verdict::Valid);
    assert_eq!(within(901, clock(10, 2699)), Verdict::Valid);
    assert_eq!(within(902, clock(10, 2699)), handed_over(Reason::MinTtl));
}

#[test]
fn a_wall_clock_that_was_set_forward_ends_it() {
    assert_eq!(at(clock(3600, 1)), handed_over(Reason::Expired));
    assert_eq!(at(clock(2700, 1)), handed_over(Reason::Early));
}

#[test]
fn a_boot_time_clock_that_went_back_is_another_one() {
    assert_eq!(at(clock(10, -1)), handed_over(Reason::BootClock));
}

#[test]
fn after_a_restart_the_wall_clock_alone_counts() {
    let restarted = |wall, boottime_ms| at(Clock { boot_id: [2; 16], boottime_ms, ..clock(wall, 0) });
    assert_eq!(restarted(10, 0), Verdict::Valid);
    assert_eq!(restarted(10, u64::MAX), Verdict::Valid);
    assert_eq!(restarted(3600, 0), handed_over(Reason::Expired));
    assert_eq!(restarted(-61, 0), handed_over(Reason::ClockBack));
}

#[test]
fn an_unknown_boot_is_never_the_same() {
    let record = Record { boot_id: UNKNOWN_BOOT, ..record(Vec::new()) };
    let clock = Clock { boot_id: UNKNOWN_BOOT, boottime_ms: 0, ..clock(10, 0) };
    assert_eq!(check(&record, &key(), &environment(&[]), &clock, ANY), Verdict::Valid);
}

#[test]
fn the_wanted_life_is_counted_to_the_end_of_the_token() {
    assert_eq!(within(3600, clock(0, 0)), Verdict::Valid);
    assert_eq!(within(3600, clock(1, 1)), handed_over(Reason::MinTtl));
    assert_eq!(within(u64::MAX, clock(0, 0)), handed_over(Reason::MinTtl));
    // An expiry that the issuer states may lie before the end of the stated life.
    let short = Record { expires_at: OBTAINED + 100, ..record(Vec::new()) };
    let within = |min_ttl| check(&short, &key(), &environment(&[]), &clock(1, 1), Freshness { min_ttl });
    assert_eq!(within(99), Verdict::Valid);
    assert_eq!(within(100), handed_over(Reason::MinTtl));
    // And the other way round.
    let short = Record { lifetime: 100, ..record(Vec::new()) };
    let within = |min_ttl| check(&short, &key(), &environment(&[]), &clock(1, 1), Freshness { min_ttl });
    assert_eq!(within(99), Verdict::Valid);
    assert_eq!(within(100), handed_over(Reason::MinTtl));
}

#[test]
fn numbers_at_their_limits_do_not_overflow() {
    let wild = Record {
        obtained_at: u64::MAX,
        lifetime: u64::MAX,
        expires_at: u64::MAX,
        early_at: u64::MAX,
        boottime_ms: 0,
        ..record(Vec::new())
    };
    let clock = Clock { now: u64::MAX, boot_id: BOOT, boottime_ms: u64::MAX - 1 };
    assert_eq!(check(&wild, &key(), &environment(&[]), &clock, ANY), handed_over(Reason::Expired));
}

#[test]
fn any_change_of_a_variable_hands_over() {
    let verdict = |kept: &[(&str, &str)], found: &[(&str, &str)]| {
        let record = Record { environment: environment(kept).digest(&key()), ..record(Vec::new()) };
        check(&record, &key(), &environment(found), &clock(1, 1), ANY)
    };
    let changed = handed_over(Reason::Environment);
    let secret = [("OPENEO_AUTH_CLIENT_SECRET", "s")];
    assert_eq!(verdict(&secret, &secret), Verdict::Valid);
    assert_eq!(verdict(&secret, &[("OPENEO_AUTH_CLIENT_SECRET", "t")]), changed);
    assert_eq!(verdict(&secret, &[]), changed);
    assert_eq!(verdict(&[], &secret), changed);
    assert_eq!(
        verdict(&[("ES_OAUTH2__ACCESS_TOKEN", "a")], &[("es_oauth2__access_token", "a")]),
        Verdict::Valid
    );
    assert_eq!(verdict(&[], &[("es_oauth2__access_token", "a")]), changed);
    assert_eq!(verdict(&[], &[("TERM", "dumb"), ("UNHEARD_OF", "1")]), Verdict::Valid);
}

#[test]
fn without_home_it_hands_over() {
    for pairs in [vec![], vec![(OsString::from("HOME"), OsString::new())]] {
        let environment = Environment::new(pairs);
        let record = Record { environment: environment.digest(&key()), ..record(Vec::new()) };
        assert_eq!(check(&record, &key(), &environment, &clock(1, 1), ANY), handed_over(Reason::HomeUnset));
    }
}

#[test]
fn another_key_hands_over() {
    let other = Key::from_bytes([6; 16]);
    assert_eq!(
        check(&record(Vec::new()), &other, &environment(&[]), &clock(1, 1), ANY),
        handed_over(Reason::Environment)
    );
}

struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("dependency"), _folder: folder }
    }

    fn changed(&self) -> Verdict {
        handed_over(Reason::Changed(self.path.clone()))
    }

    fn unreadable(&self) -> Verdict {
        handed_over(Reason::Unreadable(self.path.clone()))
    }

    fn is(&self, expected: Expected) -> Verdict {
        holds(Dependency { path: self.path.clone(), expected })
    }

    fn is_file(&self, content: &[u8]) -> Verdict {
        self.is(Expected::File(key().file(content)))
    }
}

#[test]
fn an_absent_path_must_stay_absent() {
    let place = Place::new();
    assert_eq!(place.is(Expected::Absent), Verdict::Valid);
    fs::write(&place.path, "").unwrap();
    assert_eq!(place.is(Expected::Absent), place.changed());
    // Below a file there is nothing either.
    let below = place.path.join("below");
    assert_eq!(holds(Dependency { path: below.clone(), expected: Expected::Absent }), Verdict::Valid);
    fs::remove_file(&place.path).unwrap();
    fs::create_dir_all(below).unwrap();
    assert_eq!(place.is(Expected::Absent), place.changed());
}

#[test]
fn a_link_to_nothing_is_absent_until_its_target_appears() {
    let place = Place::new();
    let target = place.path.with_file_name("target");
    symlink(&target, &place.path).unwrap();
    assert_eq!(place.is(Expected::Absent), Verdict::Valid);
    fs::write(&target, "content").unwrap();
    assert_eq!(place.is(Expected::Absent), place.changed());
    assert_eq!(place.is_file(b"content"), Verdict::Valid);
}

#[test]
fn a_loop_of_links_cannot_be_compared() {
    let place = Place::new();
    symlink(&place.path, &place.path).unwrap();
    assert_eq!(place.is(Expected::Absent), place.unreadable());
    assert_eq!(place.is_file(b""), place.unreadable());
    assert_eq!(place.is(Expected::Ledger), place.unreadable());
}

#[test]
fn a_file_must_keep_its_bytes_and_nothing_else() {
    let place = Place::new();
    assert_eq!(place.is_file(b"content"), place.changed());
    fs::write(&place.path, "content").unwrap();
    assert_eq!(place.is_file(b"content"), Verdict::Valid);
    for other in ["", "conten", "contents", "Content"] {
        fs::write(&place.path, other).unwrap();
        assert_eq!(place.is_file(b"content"), place.changed(), "{other:?}");
    }
    let replacement = place.path.with_file_name("replacement");
    fs::write(&replacement, "content").unwrap();
    fs::rename(&replacement, &place.path).unwrap();
    assert_eq!(place.is_file(b"content"), Verdict::Valid);
}

#[test]
fn a_file_is_compared_up_to_a_largest_size() {
    let place = Place::new();
    let mut content = vec![b'x'; 1024 * 1024];
    fs::write(&place.path, &content).unwrap();
    assert_eq!(place.is_file(&content), Verdict::Valid);
    content.push(b'x');
    fs::write(&place.path, &content).unwrap();
    assert_eq!(place.is_file(&content), place.unreadable());
}

/// A process's own memory looks like a regular file, and there is nothing at its beginning.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_read_cannot_be_compared() {
    let path = PathBuf::from("/proc/self/mem");
    for expected in [Expected::File(key().file(b"")), Expected::Ledger] {
        let verdict = holds(Dependency { path: path.clone(), expected });
        assert_eq!(verdict, handed_over(Reason::Unreadable(path.clone())));
    }
}

#[test]
fn a_directory_in_the_place_of_a_file_cannot_be_compared() {
    let place = Place::new();
    fs::create_dir(&place.path).unwrap();
    assert_eq!(place.is_file(b""), place.unreadable());
    assert_eq!(place.is(Expected::Ledger), place.unreadable());
}

/// Opening a pipe wakes the program that waits at its other end, and closing it kills that one.
#[cfg(target_os = "linux")]
#[test]
fn a_pipe_is_not_even_opened() {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    use rustix::fs::{CWD, FileType, Mode};
    use rustix::io::Errno;

    let place = Place::new();
    rustix::fs::mknodat(CWD, &place.path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let watch = init(CreateFlags::NONBLOCK).unwrap();
    add_watch(&watch, &place.path, WatchFlags::OPEN).unwrap();
    assert_eq!(place.is_file(b""), place.unreadable());
    assert_eq!(place.is(Expected::Absent), place.changed());
    assert_eq!(place.is(Expected::Ledger), place.unreadable());
    let mut event = [0; 64];
    assert_eq!(rustix::io::read(&watch, &mut event), Err(Errno::AGAIN), "it was opened");
}

#[test]
fn a_directory_must_stay_one() {
    let place = Place::new();
    assert_eq!(place.is(Expected::Directory), place.changed());
    fs::create_dir(&place.path).unwrap();
    assert_eq!(place.is(Expected::Directory), Verdict::Valid);
    fs::write(place.path.join("file"), "").unwrap();
    assert_eq!(place.is(Expected::Directory), Verdict::Valid);
    fs::remove_dir_all(&place.path).unwrap();
    fs::write(&place.path, "").unwrap();
    assert_eq!(place.is(Expected::Directory), place.changed());
}

#[test]
fn the_first_difference_is_named() {
    let place = Place::new();
    let dependencies = ["a", "b", "c"]
        .map(|name| Dependency { path: place.path.with_file_name(name), expected: Expected::Absent });
    fs::write(&dependencies[1].path, "").unwrap();
    fs::write(&dependencies[2].path, "").unwrap();
    let record = record(dependencies.to_vec());
    let verdict = check(&record, &key(), &environment(&[]), &clock(1, 1), ANY);
    assert_eq!(verdict, handed_over(Reason::Changed(dependencies[1].path.clone())));
}

impl Place {
    fn write_ledger(&self, slot_a: &[u8], slot_b: &[u8]) {
        let mut content = slot_a.to_vec();
        if !slot_b.is_empty() {
            content.resize(SLOT_SIZE, 0);
            content.extend_from_slice(slot_b);
        }
        fs::write(&self.path, content).unwrap();
    }

    fn is_ledger(&self) -> Verdict {
        self.is(Expected::Ledger)
    }

    fn pending(&self) -> Verdict {
        handed_over(Reason::LedgerPending(self.path.clone()))
    }

    fn damaged(&self) -> Verdict {
        handed_over(Reason::LedgerUnreadable(self.path.clone()))
    }
}

fn header(state: State, sequence: u64) -> [u8; HEADER_SIZE] {
    Header::new(state, sequence, b"payload").unwrap().encode()
}

#[test]
fn a_ledger_without_anything_pending_holds() {
    let place = Place::new();
    assert_eq!(place.is_ledger(), Verdict::Valid);
    for (slot_a, slot_b) in [(&[][..], &[][..]), (&[0; 100], &[0; 100]), (&header(State::Idle, 2), &[])] {
        place.write_ledger(slot_a, slot_b);
        assert_eq!(place.is_ledger(), Verdict::Valid);
    }
    place.write_ledger(&header(State::Answered, 2), &header(State::Landed, 3));
    assert_eq!(place.is_ledger(), Verdict::Valid);
    // Neither the number of writes nor the payload counts.
    place
        .write_ledger(&[&header(State::Landed, 4)[..], b"other payload"].concat(), &header(State::Landed, 3));
    assert_eq!(place.is_ledger(), Verdict::Valid);
}

#[test]
fn a_pending_ledger_hands_over() {
    let place = Place::new();
    for state in [State::Intent, State::Answered] {
        place.write_ledger(&header(state, 2), &[]);
        assert_eq!(place.is_ledger(), place.pending());
        place.write_ledger(&header(State::Landed, 2), &header(state, 3));
        assert_eq!(place.is_ledger(), place.pending());
    }
}

#[test]
fn a_torn_write_leaves_the_other_slot_in_force() {
    let place = Place::new();
    place.write_ledger(&header(State::Landed, 2), &header(State::Intent, 3)[..40]);
    assert_eq!(place.is_ledger(), Verdict::Valid);
    place.write_ledger(&header(State::Landed, 4)[..20], &header(State::Intent, 3));
    assert_eq!(place.is_ledger(), place.pending());
    place.write_ledger(&header(State::Landed, 2)[..40], &[]);
    assert_eq!(place.is_ledger(), place.damaged());
    place.write_ledger(b"something else", b"and more");
    assert_eq!(place.is_ledger(), place.damaged());
}
