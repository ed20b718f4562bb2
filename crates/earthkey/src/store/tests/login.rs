//! A person's own logins and logouts.

use std::path::PathBuf;
use std::sync::Arc;

use earthkey_record::ledger::State;

use super::*;
use crate::error::ErrorKind;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::scripted::Kept;
use crate::store::ledger::Binding;

fn binding(origin: &str) -> Binding {
    Binding { origin: origin.into(), ..Binding::default() }
}

fn left(world: &World) -> Vec<String> {
    let names = world.fs.paths().into_iter().map(|path| path.display().to_string());
    names.filter(|name| name.ends_with("-new") || name.ends_with("-ledger")).collect()
}

#[tokio::test]
async fn a_login_makes_the_home_and_its_directory() {
    for has_links in [true, false] {
        let world = World::new(|_| unreachable!());
        world.fs.put("/home/ada/.profile", b"");
        if !has_links {
            world.fs.without_links();
        }
        let process = Process::new(&world, 1);
        assert!(Keep::open(&process.host, &process.home).unwrap().is_none());
        let keep = Keep::create(&process.host, &process.home).unwrap();
        let held = keep.put(&contents("new"), binding("https://a.test")).await.unwrap();
        assert_eq!(*held.file, world.fs.get(PATH).unwrap());
        assert_eq!(token_at_home(&world).unwrap(), "new");
        assert_eq!(ledger_of(&world).entries.binding, Some(binding("https://a.test")));
        assert_eq!(adopted(&world, 2).await.unwrap(), "new");
    }
}

#[tokio::test]
async fn a_login_replaces_another_and_nothing_else() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    Process::new(&world, 2).keep().put(&contents("new"), binding("https://a.test")).await.unwrap();
    assert_eq!(adopted(&world, 3).await.unwrap(), "new");
    assert!(String::from_utf8(world.fs.get(PATH).unwrap()).unwrap().contains("bobs"));
    // A copy of the former login is an old copy.
    world.fs.put(PATH, &file("r0"));
    assert_eq!(adopted(&world, 4).await.unwrap(), "new");
}

#[tokio::test]
async fn a_copy_from_before_a_login_brings_back_no_former_login() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    Process::new(&world, 2).keep().put(&contents("new"), Binding::default()).await.unwrap();
    world.fs.put(PATH, &file("r0"));
    assert_eq!(adopted(&world, 3).await.unwrap(), "new");
}

#[tokio::test]
async fn a_login_repairs_a_damaged_home_and_keeps_what_was_there() {
    let world = world("r0");
    world.fs.put(PATH, b"{\"ada\"");
    Process::new(&world, 1).keep().put(&contents("new"), Binding::default()).await.unwrap();
    assert_eq!(token_at_home(&world).unwrap(), "new");
    assert_eq!(world.fs.get(&format!("{PATH}.damaged")).unwrap(), b"{\"ada\"");
    assert!(world.person.said()[0].contains("was damaged and is kept as"), "{:?}", world.person.said());
}

#[tokio::test]
async fn a_login_survives_power_loss_with_the_binding_that_is_its_own() {
    for is_new in [true, false] {
        for cut in 0.. {
            let world = world("r0");
            let process = Process::new(&world, 1);
            let keep = process.keep();
            if is_new {
                world.fs.forget(&PathBuf::from(PATH));
                world.fs.sync_directory(&PathBuf::from(DIRECTORY)).unwrap();
            } else {
                keep.put(&contents("old"), binding("https://old.test")).await.unwrap();
            }
            let before = world.fs.steps().len();
            world.fs.fail_power_at(before + cut);
            let outcome = keep.put(&contents("new"), binding("https://new.test")).await;
            if world.fs.steps().len() < before + cut {
                outcome.unwrap();
                break;
            }
            for kept in Kept::EVERY.into_iter().chain(world.fs.some_kept()) {
                let after = World {
                    fs: Arc::new(world.fs.after_power_loss(kept)),
                    ..World::new(|_| unreachable!("nothing is sent"))
                };
                let token = adopted(&after, 2).await;
                let found = ledger_of(&after).entries.binding.map(|binding| binding.origin);
                let expected = match token.as_deref() {
                    Some("new") => Some("https://new.test"),
                    Some("old") => Some("https://old.test"),
                    None if is_new => None,
                    other => panic!("{other:?} after step {cut}, {kept:?}"),
                };
                if token.is_some() {
                    assert_eq!(found.as_deref(), expected, "step {cut}, {kept:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_logout_removes_the_slot_the_ledger_and_whatever_a_crash_left() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    let process = Process::new(&world, 2);
    let keep = process.keep();
    world.fs.put(&keep.places().temporary("of-a-crash").display().to_string(), &file("r0"));
    assert!(keep.clear().await.unwrap());
    assert_eq!(world.fs.get(PATH).unwrap(), br#"{"bob":{"refresh_token":"bobs"}}"#);
    assert_eq!(left(&world), [""; 0]);
    assert!(!keep.clear().await.unwrap(), "there is nothing more");
    assert_eq!(adopted(&world, 3).await, None);
}

/// A logout that is cut short leaves the whole login or none, and the next leaves nothing of it.
#[tokio::test]
async fn a_logout_survives_power_loss_at_every_step() {
    for is_shared in [true, false] {
        for cut in 0.. {
            let world = world("r0");
            if !is_shared {
                world.fs.put(PATH, br#"{"ada":{"refresh_token":"r0"}}"#);
            }
            refresh(&world, 1, "r1").await;
            let process = Process::new(&world, 2);
            let keep = process.keep();
            let before = world.fs.steps().len();
            world.fs.fail_power_at(before + cut);
            let outcome = keep.clear().await;
            if world.fs.steps().len() < before + cut {
                assert!(outcome.unwrap() && cut > 3, "{cut} steps");
                break;
            }
            for kept in Kept::EVERY.into_iter().chain(world.fs.some_kept()) {
                let after = World {
                    fs: Arc::new(world.fs.after_power_loss(kept)),
                    ..World::new(|_| unreachable!("nothing is sent"))
                };
                let when = format!("shared: {is_shared}, step {cut}, {kept:?}");
                let token = adopted(&after, 3).await;
                assert!(matches!(token.as_deref(), None | Some("r1")), "{token:?}, {when}");
                Process::new(&after, 4).keep().clear().await.unwrap();
                assert_eq!(adopted(&after, 5).await, None, "{when}");
                for path in after.fs.paths() {
                    let bytes = after.fs.get(&path.display().to_string()).unwrap();
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    assert!(!text.contains("\"r1\"") && !text.contains("\"r0\""), "{path:?} {when}: {text}");
                    assert!(!path.display().to_string().ends_with(".earthkey-new"), "{path:?} {when}");
                }
                let home = after.fs.get(PATH).unwrap_or_default();
                assert_eq!(String::from_utf8(home).unwrap().contains("bobs"), is_shared, "{when}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_there_already_needs_nothing_of_its_folder() {
    let world = world("r0");
    let mut process = Process::new(&world, 1);
    process.home.ledgers = Some("/home/ada/state".into());
    let keep = Keep::create(&process.host, &process.home).unwrap();
    let before = world.fs.steps().len();
    keep.put(&contents("r0"), Binding::default()).await.unwrap();
    let steps = world.fs.steps().split_off(before);
    assert!(!steps.iter().any(|step| step.contains(DIRECTORY)), "{steps:?}");
    keep.put(&contents("r1"), Binding::default()).await.unwrap();
    assert!(world.fs.steps().contains(&format!("sync {DIRECTORY}")));
}

#[tokio::test]
async fn no_token_of_a_login_outlives_it_in_the_ledger() {
    for is_sign_in in [true, false] {
        let world = world("the-first-token");
        refresh(&world, 1, "the-newest-token").await;
        // A refresh is under way, so that the ledger cannot go as a whole.
        let process = Process::new(&world, 2);
        let keep = process.keep();
        let attempt = begin(&keep).await;
        let other = Process::new(&world, 3);
        let others = other.keep();
        if is_sign_in {
            others.put(&contents("another"), Binding::default()).await.unwrap();
        } else {
            assert!(others.clear().await.unwrap());
        }
        drop(attempt);
        let ledger = world.fs.get(&keep.places().ledger.display().to_string()).unwrap();
        let left = String::from_utf8_lossy(&ledger);
        assert!(!left.contains("the-newest-token"), "sign-in: {is_sign_in}");
    }
}

#[tokio::test]
async fn what_a_crash_left_of_another_grant_is_left_alone() {
    let world = world("r0");
    let mut process = Process::new(&world, 1);
    process.home.slot = Arc::new(JsonSlot(""));
    let keep = process.keep();
    let own = keep.places().temporary("own");
    let slots = PathBuf::from(format!("{DIRECTORY}/.tokens.json.0123456789ab.name.earthkey-new"));
    let homes = PathBuf::from(format!("{DIRECTORY}/.tokens.json.json.name.earthkey-new"));
    for path in [&own, &slots, &homes] {
        world.fs.put(&path.display().to_string(), b"");
    }
    assert_eq!(keep.places().temporaries(world.fs.as_ref()).unwrap(), [own]);
}

#[tokio::test]
async fn a_logout_removes_a_file_that_holds_nothing_else() {
    let world = world("r0");
    world.fs.put(PATH, br#"{"ada":{"refresh_token":"r0"}}"#);
    assert!(Process::new(&world, 1).keep().clear().await.unwrap());
    assert!(world.fs.get(PATH).is_none());
    assert!(!Process::new(&world, 2).keep().clear().await.unwrap());
}

#[tokio::test]
async fn a_logout_beside_a_refresh_leaves_no_token_behind() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    let (refreshing, person) = (Process::new(&world, 2), Process::new(&world, 3));
    let keep = refreshing.keep();
    let mut attempt = begin(&keep).await;
    assert!(person.keep().clear().await.unwrap());
    // The attempt goes on and is cut short at any point: nobody finds the old login again.
    let entries = ledger_of(&world).entries;
    assert!(entries.newest().is_none() && entries.binding.is_none());
    attempt.answer(&answer("r2")).await.unwrap();
    attempt.land().await.unwrap();
    attempt.finish(None).await.unwrap();
    assert_eq!(token_at_home(&world), None);
    assert_eq!(adopted(&world, 4).await, None);
    assert!(ledger_of(&world).entries.newest().is_none());
}

#[tokio::test]
async fn what_an_attempt_leaves_that_is_cut_short_beside_a_logout_is_removed() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    let (refreshing, person) = (Process::new(&world, 2), Process::new(&world, 3));
    let keep = refreshing.keep();
    let attempt = begin(&keep).await;
    assert!(person.keep().clear().await.unwrap());
    drop(attempt);
    assert_eq!(adopted(&world, 4).await, None);
    assert!(!left(&world).iter().any(|name| name.ends_with("-new")), "{:?}", left(&world));
}

#[tokio::test]
async fn a_logout_leaves_what_the_ledger_holds_of_a_login_that_came_after_it() {
    let world = world("r0");
    let (refreshing, person) = (Process::new(&world, 1), Process::new(&world, 2));
    let keep = refreshing.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    let mut ledger = keep.open_ledger().await.unwrap();
    let other = async {
        // The home is cleared by now, and the ledger is waited for.
        world.clock.sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(token_at_home(&world), None);
        world.fs.put(PATH, &file("other"));
        ledger.ledger.state = State::Answered;
        ledger.ledger.entries.set_base(contents("other").fingerprint());
        ledger.ledger.entries.set_answer(Some(&answer("successor")));
        ledger.save().unwrap();
        drop(ledger);
    };
    let person = person.keep();
    let (has_cleared, ()) = tokio::join!(person.clear(), other);
    assert!(has_cleared.unwrap());
    drop(lease);
    assert_eq!(adopted(&world, 3).await.unwrap(), "successor");
}

#[tokio::test]
async fn a_logout_finds_a_home_that_another_program_removes_and_makes_anew() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    world.fs.forget(&PathBuf::from(PATH));
    let other = async {
        world.clock.sleep(std::time::Duration::from_millis(100)).await;
        world.fs.put(PATH, &file("r0"));
    };
    let (has_cleared, ()) = tokio::join!(keep.clear(), other);
    assert!(has_cleared.unwrap());
    assert_eq!(token_at_home(&world), None);
}

#[tokio::test]
async fn a_logout_does_not_take_another_slot_with_it_that_is_written_meanwhile() {
    let world = world("r0");
    world.fs.put(PATH, br#"{"ada":{"refresh_token":"r0"}}"#);
    let mut process = Process::new(&world, 1);
    process.home.slot = Arc::new(Meddling(world.fs.as_ref().clone()));
    assert!(process.keep().clear().await.unwrap());
    let home = String::from_utf8(world.fs.get(PATH).unwrap()).unwrap();
    assert!(home.contains("carols") && !home.contains("r0"), "{home}");
}

/// A slot beside which another program signs in at the moment that it is cleared.
struct Meddling(crate::host::scripted::ScriptedFileSystem);

impl Slot for Meddling {
    fn name(&self) -> String {
        "ada".into()
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        JsonSlot("ada").read(file)
    }

    fn write(&self, file: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        JsonSlot("ada").write(file, contents)
    }

    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        if !String::from_utf8_lossy(file).contains("carols") {
            let both = r#"{"ada":{"refresh_token":"r0"},"carol":{"refresh_token":"carols"}}"#;
            self.0.put(PATH, both.as_bytes());
        }
        JsonSlot("ada").clear(file)
    }
}

#[tokio::test]
async fn a_damaged_home_is_not_removed_by_a_logout() {
    let world = world("r0");
    world.fs.put(PATH, b"{\"ada\"");
    let error = Process::new(&world, 1).keep().clear().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert_eq!(world.fs.get(PATH).unwrap(), b"{\"ada\"");
}
