//! Landing where the system says no, and where others write at the worst moment (REFRESH rule 6).

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::error::Error;
use crate::error::Result;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::scripted::Locks;
use crate::host::scripted::ScriptedFileSystem;
use crate::host::scripted::WatchedFileSystem;
use crate::store::ledger::Binding;
use crate::store::places::Places;
use crate::store::swap::FileLock;
use crate::store::swap::Landing;
use crate::store::swap::Replaceable;
use crate::store::swap::Swap;

/// What happens before a call of ours: `call`, the path, and how many such calls were there before.
type Before = dyn Fn(&ScriptedFileSystem, &str, &Path, usize) -> io::Result<()> + Send + Sync;

/// A process of ours that holds the file lock in a world where others act before its calls.
struct Lander {
    process: Process,
    places: Places,
    lock: FileLock,
}

impl Lander {
    async fn new(
        world: &World,
        before: impl Fn(&ScriptedFileSystem, &str, &Path, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let mut process = Process::new(world, 1);
        let places = process.keep().places().clone();
        let lock = FileLock::take(&places, &process.host).await.unwrap();
        let (fs, before): (ScriptedFileSystem, Box<Before>) = (world.fs.as_ref().clone(), Box::new(before));
        let calls: Mutex<Vec<String>> = Mutex::default();
        process.host.fs = Arc::new(WatchedFileSystem::failing(&world.fs, move |call, path| {
            let mut calls = calls.lock().unwrap();
            let number = calls.iter().filter(|other| *other == call).count();
            calls.push(call.to_owned());
            before(&fs, call, path, number)
        }));
        Self { process, places, lock }
    }

    fn swap(&self) -> Swap<'_> {
        Swap::new(&self.process.home, &self.places, &self.process.host, &self.lock, "ours")
    }

    /// Lands `r1` over `r0`.
    async fn refresh(&self) -> Result<Landing> {
        let base = Replaceable::Only(contents("r0").fingerprint().into_iter().collect());
        self.swap().land(&base, &contents("r1")).await
    }

    /// Lands `new` over whatever is there.
    async fn sign_in(&self) -> Result<Landing> {
        self.swap().land(&Replaceable::Anything, &contents("new")).await
    }

    /// Returns what is in the temporary file.
    fn left(&self, world: &World) -> Option<Vec<u8>> {
        world.fs.get(&self.places.temporary("ours").display().to_string())
    }
}

/// Lets the first call of a kind fail.
fn failing(
    name: &'static str,
    kind: io::ErrorKind,
) -> impl Fn(&ScriptedFileSystem, &str, &Path, usize) -> io::Result<()> + Send + Sync {
    move |_, call, _, number| if call == name && number == 0 { Err(kind.into()) } else { Ok(()) }
}

fn is_told(error: &Error) -> bool {
    error.to_string() == format!("cannot write `{PATH}`") && !error.causes().is_empty()
}

#[tokio::test]
async fn a_step_that_fails_is_told_and_no_other_is_tried_in_its_place() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        // A refresh: without the exchange what others write could not be seen.
        let world = world("r0");
        let lander = Lander::new(&world, failing("exchange", kind)).await;
        assert!(is_told(&lander.refresh().await.unwrap_err()));
        assert_eq!(token_at_home(&world).unwrap(), "r0");

        // A login where there is none.
        let world = super::world("r0");
        world.fs.forget(&PathBuf::from(PATH));
        let lander = Lander::new(&world, failing("link", kind)).await;
        assert!(is_told(&lander.sign_in().await.unwrap_err()));
        assert!(world.fs.get(PATH).is_none());

        // A logout that takes the whole file.
        let world = super::world("r0");
        let alone = br#"{"ada":{"refresh_token":"r0"}}"#;
        world.fs.put(PATH, alone);
        let lander = Lander::new(&world, failing("rename", kind)).await;
        assert!(is_told(&lander.swap().clear().await.unwrap_err()));
        assert_eq!(world.fs.get(PATH).unwrap(), alone);
    }
}

#[tokio::test]
async fn a_damaged_home_is_left_as_it_is_by_a_refresh() {
    let world = world("r0");
    world.fs.put(PATH, b"{\"ada\"");
    let lander = Lander::new(&world, |_, _, _, _| Ok(())).await;
    let error = lander.refresh().await.unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert_eq!(world.fs.get(PATH).unwrap(), b"{\"ada\"");
}

#[tokio::test]
async fn a_home_that_is_removed_before_the_exchange_is_a_logout() {
    let world = world("r0");
    let lander = Lander::new(&world, |fs, call, _, _| {
        if call == "exchange" {
            fs.forget(Path::new(PATH));
        }
        Ok(())
    })
    .await;
    assert_eq!(lander.refresh().await.unwrap(), Landing::Gone);
    assert!(world.fs.get(PATH).is_none());
}

#[tokio::test]
async fn without_exchange_a_login_that_comes_right_after_the_rename_stands() {
    let world = world("r0");
    world.fs.without_exchange();
    let is_renamed = Mutex::new(false);
    let lander = Lander::new(&world, move |fs, call, _, _| {
        let mut is_renamed = is_renamed.lock().unwrap();
        if call == "read" && std::mem::take(&mut *is_renamed) {
            fs.put(PATH, &file("other"));
        }
        *is_renamed |= call == "rename";
        Ok(())
    })
    .await;
    assert_eq!(lander.refresh().await.unwrap(), Landing::Moved);
    assert_eq!(token_at_home(&world).unwrap(), "other");
}

#[tokio::test]
async fn a_token_that_cannot_be_removed_is_told() {
    let world = world("r0");
    let lander = Lander::new(&world, failing("remove", io::ErrorKind::PermissionDenied)).await;
    assert!(is_told(&lander.refresh().await.unwrap_err()));
    assert_eq!(lander.left(&world).unwrap(), file("r0"));
}

#[tokio::test]
async fn a_token_is_removed_also_where_it_cannot_be_looked_at() {
    let world = world("r0");
    let lander = Lander::new(&world, failing("stat", io::ErrorKind::Other)).await;
    lander.refresh().await.unwrap();
    assert!(lander.left(&world).is_none());
}

#[tokio::test]
async fn a_logout_where_there_is_nothing_asks_for_no_right_to_write() {
    let world = world("r0");
    world.fs.forget(&PathBuf::from(PATH));
    let lander = Lander::new(&world, failing("remove", io::ErrorKind::ReadOnlyFilesystem)).await;
    assert!(!lander.swap().clear().await.unwrap());
}

#[tokio::test]
async fn a_home_that_is_removed_before_a_logout_takes_it_is_logged_out_already() {
    let world = world("r0");
    world.fs.put(PATH, br#"{"ada":{"refresh_token":"r0"}}"#);
    let lander = Lander::new(&world, |fs, call, _, _| {
        if call == "rename" {
            fs.forget(Path::new(PATH));
        }
        Ok(())
    })
    .await;
    assert!(!lander.swap().clear().await.unwrap());
    assert!(world.fs.get(PATH).is_none());
}

#[tokio::test]
async fn a_login_that_cannot_be_put_back_is_told_and_kept() {
    let world = world("r0");
    let lander = Lander::new(&world, |fs, call, _, number| match (call, number) {
        ("exchange", 0) => {
            fs.put(PATH, &file("other"));
            Ok(())
        }
        ("exchange", 1) => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    })
    .await;
    assert!(is_told(&lander.refresh().await.unwrap_err()));
    assert_eq!(lander.left(&world).unwrap(), file("other"));
}

#[tokio::test]
async fn a_logout_while_a_login_is_put_back_stands() {
    let world = world("r0");
    let lander = Lander::new(&world, |fs, call, _, number| {
        match (call, number) {
            ("exchange", 0) => fs.put(PATH, &file("other")),
            ("exchange", 1) => fs.forget(Path::new(PATH)),
            _ => {}
        }
        Ok(())
    })
    .await;
    assert_eq!(lander.refresh().await.unwrap(), Landing::Gone);
    assert!(world.fs.get(PATH).is_none());
    assert!(lander.left(&world).is_none());
}

#[tokio::test]
async fn of_logins_that_come_one_upon_the_other_the_last_stands() {
    let world = world("r0");
    let lander = Lander::new(&world, |fs, call, _, number| {
        if call == "exchange" && number < 4 {
            fs.put(PATH, &file(&format!("other {number}")));
        }
        Ok(())
    })
    .await;
    assert_eq!(lander.refresh().await.unwrap(), Landing::Moved);
    assert_eq!(token_at_home(&world).unwrap(), "other 3");
    assert!(lander.left(&world).is_none());
}

#[tokio::test]
async fn a_home_that_is_made_while_a_login_makes_it_is_merged_with() {
    for by in ["link", "rename_new", "rename"] {
        let world = world("r0");
        world.fs.forget(&PathBuf::from(PATH));
        if by != "link" {
            world.fs.without_links();
        }
        if by == "rename" {
            world.fs.without_rename_new();
        }
        // In the last moment; where there is only a plain rename, before the last look.
        let is_refused = Mutex::new(false);
        let lander = Lander::new(&world, move |fs, call, path, _| {
            let mut is_refused = is_refused.lock().unwrap();
            let is_moment = if by == "rename" { *is_refused && call == "read" } else { call == by };
            if is_moment && fs.get(PATH).is_none() {
                fs.put(PATH, &file("other"));
            }
            *is_refused |= call == "rename_new" && path == Path::new(PATH);
            Ok(())
        })
        .await;
        assert!(matches!(lander.sign_in().await.unwrap(), Landing::Landed(_)));
        assert_eq!(token_at_home(&world).unwrap(), "new");
        assert!(String::from_utf8(world.fs.get(PATH).unwrap()).unwrap().contains("bobs"));
    }
}

#[tokio::test]
async fn a_login_waits_for_nothing_where_nothing_is_in_its_place() {
    let world = world("r0");
    world.fs.put(PATH, br#"{"bob":{"refresh_token":"bobs"}}"#);
    let start = world.clock.since_boot();
    Process::new(&world, 1).keep().put(&contents("new"), Binding::default()).await.unwrap();
    assert_eq!(token_at_home(&world).unwrap(), "new");
    assert_eq!(world.clock.since_boot(), start);
}

#[tokio::test]
async fn the_file_lock_is_waited_for_so_long_and_a_suspend_counts() {
    for slept in [None, Some(Duration::from_millis(3_600_001))] {
        let world = world("r0");
        let (holding, waiting) = (Process::new(&world, 1), Process::new(&world, 2));
        let places = holding.keep().places().clone();
        let _held = FileLock::take(&places, &holding.host).await.unwrap();
        let start = world.clock.since_boot();
        let machine = async {
            if let Some(slept) = slept {
                world.clock.sleep(Duration::from_secs(1)).await;
                world.clock.advance(slept);
            }
        };
        let (taken, ()) = tokio::join!(FileLock::take(&places, &waiting.host), machine);
        let error = taken.err().unwrap();
        assert!(error.to_string().contains("stays locked") && !error.hints().is_empty(), "{error}");
        let waited = world.clock.since_boot().saturating_sub(start);
        let expected = slept.map_or(10, |slept| slept.as_secs() + 1);
        assert_eq!(waited.as_secs(), expected);
    }
}

/// Where locks exclude nobody, what lies beside the home may be another program's writing, displaced by one
/// of ours that has not looked at it yet.
#[tokio::test]
async fn what_may_be_in_use_is_left_where_locks_exclude_nobody() {
    for (locks, age, is_left) in
        [(Locks::Exclude, 0, false), (Locks::Lie, 0, true), (Locks::Lie, 90, true), (Locks::Lie, 91, false)]
    {
        let world = world("r0");
        world.fs.set_locks(locks);
        let process = Process::new(&world, 1);
        let keep = process.keep();
        let path = keep.places().temporary("of-somebody");
        world.fs.set_server_clock(1_800_000_000 - age);
        world.fs.create_new(&path, &file("foreign")).unwrap();
        world.fs.set_server_clock(1_800_000_000);
        refresh(&world, 2, "r1").await;
        assert_eq!(world.fs.get(&path.display().to_string()).is_some(), is_left, "{locks:?}, {age}");
        // Whoever signs out leaves nothing that could be a login.
        keep.clear().await.unwrap();
        assert_eq!(world.fs.get(&path.display().to_string()), None, "{locks:?}, {age}");
    }
}
