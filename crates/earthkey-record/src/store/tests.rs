use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::digest::Digest;
use crate::environment::Environment;
use crate::name::{Arguments, Form};
use crate::secret::Secret;

struct Place {
    folder: TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::create(&folder.path().join("cache/earthkey")).unwrap();
        Self { folder, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cache.path.join(name)
    }

    fn listed(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.cache.path).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn name(login: &str) -> Name {
    let arguments = Arguments { login: Some(login), scopes: &[], audience: None, form: Form::Token };
    Name::new(&arguments, &Environment::new([]))
}

fn record(login: &str, token: &str) -> Record {
    Record {
        token: Secret::new(token),
        token_type: "Bearer".to_owned(),
        headers: Vec::new(),
        scopes: Vec::new(),
        client_id: None,
        login: login.to_owned(),
        obtained_at: 0,
        lifetime: 0,
        expires_at: 0,
        early_at: 0,
        boot_id: [0; 16],
        boottime_ms: 0,
        grant: [0; 16],
        environment: Digest::from_bytes([0; 16]),
        dependencies: Vec::new(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_record_is_read_as_written_also_by_another_process() {
    let place = Place::new();
    assert_eq!(place.cache.read(&name("a")), None);
    place.cache.write(&name("a"), &record("a", "first")).unwrap();
    place.cache.write(&name("a"), &record("a", "second")).unwrap();
    let other = Cache::open(&place.cache.path).unwrap();
    assert_eq!(other.read(&name("a")), Some(record("a", "second")));
    assert_eq!(other.read(&name("b")), None);
    other.remove(&name("a")).unwrap();
    other.remove(&name("a")).unwrap();
    assert_eq!(place.cache.read(&name("a")), None);
}

#[test]
fn all_is_private_and_tagged_and_nothing_is_left_over() {
    let place = Place::new();
    place.cache.write(&name("a"), &record("a", "token")).unwrap();
    let file = name("a").file_name();
    let mut expected = ["CACHEDIR.TAG", "key", &file];
    expected.sort_unstable();
    assert_eq!(place.listed(), expected);
    assert_eq!(mode(&place.cache.path), 0o700);
    assert_eq!(mode(&place.folder.path().join("cache")), 0o700);
    for name in expected {
        assert_eq!(mode(&place.path(name)), 0o600, "{name}");
        assert_eq!(fs::metadata(place.path(name)).unwrap().nlink(), 1, "{name}");
    }
    let tag = fs::read_to_string(place.path("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"), "{tag}");
}

#[test]
fn opening_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("earthkey");
    assert!(Cache::open(&path).is_none());
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    set_mode(&path, 0o700);
    assert!(Cache::open(&path).is_none(), "there is no key");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    let place = Place::new();
    for mode in [0o750, 0o707, 0o701, 0o755, 0o777, 0o500] {
        set_mode(&place.cache.path, mode);
        assert!(Cache::open(&place.cache.path).is_none(), "{mode:o}");
        let error = Cache::create(&place.cache.path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot use the cache directory {}", place.cache.path.display())
        );
        assert_eq!(error.source().unwrap().to_string(), "it must belong to this user and have mode 0700");
    }
    set_mode(&place.cache.path, 0o700);
    assert!(Cache::open(&place.cache.path).is_some());
}

#[test]
fn a_directory_behind_a_link_serves_and_a_file_does_not() {
    let place = Place::new();
    let link = place.folder.path().join("link");
    symlink(&place.cache.path, &link).unwrap();
    assert!(Cache::open(&link).is_some());
    let file = place.folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Cache::open(&file).is_none());
    assert!(Cache::create(&file).is_err());
}

/// Who opens a pipe waits for whoever writes to it.
#[cfg(target_os = "linux")]
#[test]
fn a_pipe_in_the_place_of_the_directory_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(Cache::open(&path).is_none());
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_in_the_place_of_a_record_stops_nobody() {
    let place = Place::new();
    let (pipe, mode) = (place.path(&name("a").file_name()), Mode::RUSR | Mode::WUSR);
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(place.cache.read(&name("a")), None);
}

#[test]
fn nothing_that_is_opened_is_inherited_by_a_program_that_is_run() {
    let place = Place::new();
    let directory = &place.cache.directory;
    let (read, _) = open_private(directory, KEY).unwrap().unwrap();
    let written = create_file(directory, "tmp-0").unwrap();
    for file in [directory, &OwnedFd::from(read), &OwnedFd::from(written)] {
        assert!(rustix::io::fcntl_getfd(file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn a_directory_that_is_removed_while_it_is_set_up_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("earthkey");
    DirBuilder::new().mode(0o700).create(&path).unwrap();
    let directory = open_directory(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    assert_eq!(tag(&directory).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(create_key(&directory).unwrap_err().kind(), io::ErrorKind::NotFound);
}

/// Whatever the system says of it helps more than that it is no key.
#[test]
fn a_key_that_cannot_be_opened_is_told_in_the_systems_words() {
    let place = Place::new();
    fs::remove_file(place.path("key")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(place.path("key")).unwrap();
    let error = Cache::create(&place.cache.path).unwrap_err();
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert!(source.raw_os_error().is_some(), "{source}");
}

#[test]
fn a_record_that_others_might_have_made_is_ignored() {
    let place = Place::new();
    let path = place.path(&name("a").file_name());
    let found = || place.cache.read(&name("a")).is_some();
    place.cache.write(&name("a"), &record("a", "token")).unwrap();
    assert!(found());

    for mode in [0o644, 0o640, 0o604, 0o400, 0o700, 0o4600] {
        set_mode(&path, mode);
        assert!(!found(), "{mode:o}");
    }
    set_mode(&path, 0o600);
    assert!(found());

    let second = place.folder.path().join("second");
    fs::hard_link(&path, &second).unwrap();
    assert!(!found(), "a second link");
    fs::remove_file(&path).unwrap();
    symlink(&second, &path).unwrap();
    assert!(!found(), "a symbolic link");
    fs::remove_file(&path).unwrap();
    fs::rename(&second, &path).unwrap();
    assert!(found());

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!found(), "a directory");
}

#[test]
fn what_belongs_to_another_user_is_ignored() {
    assert!(geteuid().is_root(), "only root can give files away: run the tests as root");
    let place = Place::new();
    place.cache.write(&name("a"), &record("a", "token")).unwrap();
    let give = |path: &Path, owner| std::os::unix::fs::chown(path, Some(owner), None).unwrap();
    let file = place.path(&name("a").file_name());
    give(&file, 65534);
    assert_eq!(place.cache.read(&name("a")), None);
    give(&file, 0);
    assert!(place.cache.read(&name("a")).is_some());

    give(&place.path("key"), 65534);
    assert!(Cache::open(&place.cache.path).is_none());
    give(&place.path("key"), 0);
    give(&place.cache.path, 65534);
    assert!(Cache::open(&place.cache.path).is_none());
    assert!(Cache::create(&place.cache.path).is_err());
}

#[test]
fn a_damaged_or_long_record_is_ignored() {
    let place = Place::new();
    place.cache.write(&name("a"), &record("a", "token")).unwrap();
    let path = place.path(&name("a").file_name());
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    assert_eq!(place.cache.read(&name("a")), None);
    fs::write(&path, vec![0; MAX_SIZE + 1]).unwrap();
    assert_eq!(place.cache.read(&name("a")), None);
    fs::write(&path, good).unwrap();
    assert!(place.cache.read(&name("a")).is_some());
}

#[test]
fn a_record_that_cannot_be_written_leaves_nothing() {
    let place = Place::new();
    let before = place.listed();
    let error = place.cache.write(&name("a"), &record("a", "two\nlines")).unwrap_err();
    assert!(error.to_string().starts_with("cannot write the record "), "{error}");
    fs::create_dir(place.path(&name("b").file_name())).unwrap();
    assert!(place.cache.write(&name("b"), &record("b", "token")).is_err());
    fs::remove_dir(place.path(&name("b").file_name())).unwrap();
    assert_eq!(place.listed(), before);
}

#[test]
fn a_login_goes_with_all_its_records_and_what_might_be_one() {
    let place = Place::new();
    for (file, login) in [("a", "openeo/x"), ("b", "openeo/x"), ("c", "openeo/xy"), ("d", "openeo")] {
        place.cache.write(&name(file), &record(login, file)).unwrap();
    }
    fs::write(place.path("damaged.record"), "?").unwrap();
    fs::write(place.path("tmp-0123"), "eyJ").unwrap();
    fs::write(place.path("notes"), "not ours").unwrap();
    place.cache.remove_login("openeo/x").unwrap();
    let mut expected = ["CACHEDIR.TAG", "key", "notes", &name("c").file_name(), &name("d").file_name()];
    expected.sort_unstable();
    assert_eq!(place.listed(), expected);
}

#[test]
fn what_cannot_be_removed_is_told_and_the_rest_goes() {
    let place = Place::new();
    fs::create_dir(place.path("0.record")).unwrap();
    // So many that some are listed behind the one that stays, in whatever order the system lists them.
    let names = || (0..64).map(|number: u32| name(&number.to_string()));
    for name in names() {
        place.cache.write(&name, &record("a", "token")).unwrap();
    }
    let error = place.cache.remove_login("a").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot remove the record {}", place.path("0.record").display()));
    assert!(names().all(|name| place.cache.read(&name).is_none()));
}

#[test]
fn a_key_that_others_might_know_is_refused() {
    let place = Place::new();
    let key = place.path("key");
    let refused = || {
        let error = Cache::create(&place.cache.path).unwrap_err();
        assert_eq!(
            error.source().unwrap().to_string(),
            "its file `key` must be 16 bytes of this user with mode 0600"
        );
        assert!(Cache::open(&place.cache.path).is_none());
    };
    set_mode(&key, 0o640);
    refused();
    set_mode(&key, 0o600);
    assert!(Cache::open(&place.cache.path).is_some());
    for content in [&b""[..], &[0; 15], &[0; 17]] {
        fs::write(&key, content).unwrap();
        refused();
    }
    fs::rename(&key, place.path("elsewhere")).unwrap();
    symlink(place.path("elsewhere"), &key).unwrap();
    refused();
}

#[test]
fn a_new_key_makes_the_records_of_the_old_one_void() {
    let place = Place::new();
    place.cache.write(&name("a"), &record("a", "token")).unwrap();
    fs::remove_file(place.path("key")).unwrap();
    let renewed = Cache::create(&place.cache.path).unwrap();
    assert_ne!(renewed.key().file(b""), place.cache.key().file(b""));
    assert_eq!(renewed.read(&name("a")), None);
}

#[test]
fn all_who_make_the_key_at_once_get_the_same() {
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let start = Barrier::new(8);
        let digests: Vec<Digest> = thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Cache::create(&path).unwrap().key().file(b"content")
                    })
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(digests.iter().all(|digest| *digest == digests[0]), "round {round}: {digests:?}");
        assert_eq!(Cache::open(&path).unwrap().key().file(b"content"), digests[0]);
        let mut left: Vec<OsString> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["CACHEDIR.TAG", "key"]);
    }
}

/// Both find that there is no key, and one of them comes too late with its own.
#[test]
fn two_who_make_the_key_in_the_same_moment_get_the_same() {
    for round in 0..200 {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o700);
        let directory = open_directory(folder.path()).unwrap();
        let ready = AtomicUsize::new(0);
        let make = || {
            // Not a barrier, which wakes them one after the other.
            ready.fetch_add(1, Ordering::Relaxed);
            while ready.load(Ordering::Relaxed) < 2 {
                std::hint::spin_loop();
            }
            create_key(&directory).unwrap().file(b"content")
        };
        let [one, other] =
            thread::scope(|scope| [scope.spawn(make), scope.spawn(make)].map(|maker| maker.join().unwrap()));
        assert_eq!(one, other, "round {round}");
    }
}

/// Whoever reads while others write gets one of the whole records.
#[test]
fn a_reader_never_sees_half_a_record() {
    let place = Place::new();
    let long = "x".repeat(20_000);
    place.cache.write(&name("a"), &record("a", "short")).unwrap();
    thread::scope(|scope| {
        for token in ["short", &long] {
            let place = &place;
            scope.spawn(move || {
                for _ in 0..100 {
                    place.cache.write(&name("a"), &record("a", token)).unwrap();
                }
            });
        }
        for _ in 0..200 {
            let found = place.cache.read(&name("a")).map(|record| record.token);
            assert!(found == Some(Secret::new("short")) || found == Some(Secret::new(long.clone())));
        }
    });
}

#[test]
fn what_stands_in_the_place_of_the_tag_is_neither_written_nor_followed() {
    let place = Place::new();
    let others = place.folder.path().join("notes");
    fs::write(&others, "mine").unwrap();
    fs::remove_file(place.path("CACHEDIR.TAG")).unwrap();
    symlink(&others, place.path("CACHEDIR.TAG")).unwrap();
    Cache::create(&place.cache.path).unwrap();
    assert_eq!(fs::read_to_string(&others).unwrap(), "mine");
    fs::remove_file(place.path("CACHEDIR.TAG")).unwrap();
    fs::write(place.path("CACHEDIR.TAG"), "of somebody").unwrap();
    Cache::create(&place.cache.path).unwrap();
    assert_eq!(fs::read_to_string(place.path("CACHEDIR.TAG")).unwrap(), "of somebody");
}
