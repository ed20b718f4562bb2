use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::error::ErrorKind;
use crate::flow::paste;
use crate::flow::tests::plan;
use crate::flow::tests::shown;
use crate::host::Env;
use crate::host::real::RealFileSystem;
use crate::host::scripted::World;

fn world() -> World {
    World::new(|request| panic!("nothing is asked: {request:?}"))
}

fn login(text: &str) -> Login {
    text.parse().unwrap()
}

fn asked() -> Asked {
    Asked { client_id: Some("the-client".into()), scopes: Some(vec!["openid".into()]), ..Asked::default() }
}

/// Keeps a fresh attempt of `oidc/work`.
fn kept(world: &World) -> Attempt {
    let attempt = paste::attempt(&world.host(1), &plan());
    keep(&world.host(1), &login("oidc/work"), &attempt, &asked()).unwrap();
    attempt
}

/// Returns the path of the one file that waits.
fn file(world: &World) -> String {
    let paths = world.fs.paths();
    assert_eq!(paths.len(), 1, "{paths:?}");
    paths[0].to_str().unwrap().to_owned()
}

fn same(one: &Attempt, other: &Attempt) -> bool {
    one.redirect_uri() == other.redirect_uri()
        && one.state() == other.state()
        && one.nonce() == other.nonce()
        && one.verifier() == other.verifier()
}

#[test]
fn what_was_begun_is_finished_elsewhere() {
    let world = world();
    let attempt = kept(&world);
    let (taken, as_asked) = take(&world.host(2), &login("oidc/work")).unwrap();
    assert!(same(&attempt, &taken));
    assert_eq!(as_asked, asked());
}

#[test]
fn it_can_be_finished_once() {
    let world = world();
    kept(&world);
    assert!(take(&world.host(2), &login("oidc/work")).is_ok());
    assert!(world.fs.paths().is_empty());
    let error = take(&world.host(2), &login("oidc/work")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "there is no sign-in of `oidc/work` to finish");
    assert_eq!(error.hints(), ["begin one: `earthkey login oidc/work --quiet`"]);
}

#[test]
fn of_many_who_finish_at_once_one_does() {
    const PROCESSES: usize = 4;
    for _ in 0..200 {
        let world = world();
        kept(&world);
        let together = Barrier::new(PROCESSES);
        let finished = std::thread::scope(|scope| {
            let processes = [0; PROCESSES].map(|_| {
                scope.spawn(|| {
                    let host = world.host(2);
                    together.wait();
                    take(&host, &login("oidc/work")).is_ok()
                })
            });
            processes.into_iter().map(|process| process.join().unwrap()).filter(|ok| *ok).count()
        });
        assert_eq!(finished, 1);
    }
}

#[test]
fn it_expires() {
    let world = world();
    kept(&world);
    world.clock.advance(Duration::from_secs(PENDING_FOR.as_secs() - 1));
    assert!(take(&world.host(2), &login("oidc/work")).is_ok());
    kept(&world);
    world.clock.advance(PENDING_FOR);
    let error = take(&world.host(2), &login("oidc/work")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hints()[0].contains("earthkey login oidc/work --quiet"));
    // What expired does not stay.
    assert!(world.fs.paths().is_empty());
}

#[test]
fn a_new_beginning_replaces_the_old_one() {
    let world = world();
    let first = kept(&world);
    let host = world.host(3);
    let second = paste::attempt(&host, &plan());
    keep(&host, &login("oidc/work"), &second, &Asked::default()).unwrap();
    let (taken, _) = take(&host, &login("oidc/work")).unwrap();
    assert!(same(&second, &taken) && !same(&first, &taken));
}

#[test]
fn another_login_cannot_finish_it() {
    let world = world();
    kept(&world);
    for other in ["oidc", "oidc/Work", "oidc/work2", "openeo/work"] {
        assert_eq!(take(&world.host(2), &login(other)).err().unwrap().kind(), ErrorKind::Usage);
    }
    assert!(take(&world.host(2), &login("oidc/work")).is_ok());
}

#[test]
fn another_logins_file_is_not_this_ones() {
    let world = world();
    kept(&world);
    let works = file(&world);
    let bytes = world.fs.get(&works).unwrap();
    keep(&world.host(1), &login("oidc/home"), &paste::attempt(&world.host(4), &plan()), &asked()).unwrap();
    let homes = world.fs.paths().into_iter().find(|path| path != Path::new(&works)).unwrap();
    world.fs.put(homes.to_str().unwrap(), &bytes);
    let error = take(&world.host(2), &login("oidc/home")).err().unwrap();
    assert_eq!(error.to_string(), "there is no sign-in of `oidc/home` to finish");
    assert!(take(&world.host(2), &login("oidc/work")).is_ok());
}

#[test]
fn a_damaged_file_is_an_error_that_shows_none_of_it() {
    let world = world();
    let attempt = kept(&world);
    let path = file(&world);
    let whole = String::from_utf8(world.fs.get(&path).unwrap()).unwrap();
    let verifier = attempt.verifier().expose();
    for damaged in [
        String::new(),
        whole[..whole.len() - 1].to_owned(),
        format!("{whole}x"),
        format!("\"{verifier}\""),
        format!("[\"{verifier}\"]"),
        whole.replace("\"expires_at\":", &format!("\"expires_at\":\"{verifier}\",\"was\":")),
        whole.replace("\"verifier\":", "\"no_verifier\":"),
        whole.replace("{\"url\"", &format!("\"{verifier}\",\"was\":{{\"url\"")),
    ] {
        assert_ne!(damaged, whole);
        world.fs.put(&path, damaged.as_bytes());
        let error = take(&world.host(2), &login("oidc/work")).err().unwrap();
        let shown = shown(&error);
        assert_eq!(error.kind(), ErrorKind::Store, "{damaged}");
        assert!(error.to_string().contains("is damaged"));
        for secret in [attempt.state().expose(), attempt.nonce().expose(), verifier] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(error.hints()[0].contains("earthkey login oidc/work --quiet"), "{shown}");
        // The next beginning finds the place clear.
        assert!(world.fs.paths().is_empty());
    }
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let world = world();
    kept(&world);
    let path = file(&world);
    world.fs.put(&path, &vec![b' '; 65 * 1024]);
    let error = take(&world.host(2), &login("oidc/work")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.hints()[0].contains("earthkey login oidc/work --quiet"));
    kept(&world);
    assert!(take(&world.host(2), &login("oidc/work")).is_ok());
}

#[test]
fn on_disk_it_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = world().host(1);
    host.fs = Arc::new(RealFileSystem);
    host.env = Arc::new(Env::new([("HOME", directory.path())]));
    let attempt = paste::attempt(&host, &plan());
    keep(&host, &login("oidc/work"), &attempt, &asked()).unwrap();
    let pending = host.env.state_directory().unwrap().join("pending");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let files: Vec<_> = std::fs::read_dir(&pending).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!((mode(&pending), mode(&files[0])), (0o700, 0o600));
    // Its name says nothing of its secrets.
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert!(!name.contains(attempt.state().expose()) && !name.contains("work"));
    assert!(same(&attempt, &take(&host, &login("oidc/work")).unwrap().0));
    assert_eq!(std::fs::read_dir(&pending).unwrap().count(), 0);
}

#[test]
fn a_link_that_waits_in_its_place_is_not_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let mut host = world().host(1);
    host.fs = Arc::new(RealFileSystem);
    host.env = Arc::new(Env::new([("HOME", directory.path())]));
    let elsewhere = directory.path().join("elsewhere");
    std::fs::write(&elsewhere, "mine").unwrap();
    let path = path(&host, &login("oidc/work")).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    keep(&host, &login("oidc/work"), &paste::attempt(&host, &plan()), &asked()).unwrap();
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "mine");
    assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
}
