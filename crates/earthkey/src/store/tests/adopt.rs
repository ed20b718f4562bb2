//! Reading a home that others write (REFRESH rule 7), and recovery.

use std::path::PathBuf;
use std::time::Duration;

use earthkey_record::ledger::State;

use super::*;
use crate::error::ErrorKind;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::store::keep::Landed;
use crate::store::ledger::Binding;
use crate::store::ledger::Remembered;

fn warnings(world: &World) -> usize {
    world.person.said().iter().filter(|said| said.starts_with("Warning")).count()
}

#[tokio::test]
async fn an_answer_that_waits_is_landed_over_its_base() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(&answer("r1")).await.unwrap();
    drop(attempt);
    assert_eq!(token_at_home(&world).unwrap(), "r0");
    assert_eq!(adopted(&world, 2).await.unwrap(), "r1");
    assert_eq!(token_at_home(&world).unwrap(), "r1");
    let ledger = ledger_of(&world);
    assert_eq!(ledger.state, State::Landed);
    assert!(ledger.entries.answer().is_none());
    assert!(ledger.entries.is_spent(RefreshToken::new("r0").fingerprint()));
}

#[tokio::test]
async fn an_answer_that_has_landed_is_only_marked() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(&answer("r1")).await.unwrap();
    attempt.land().await.unwrap();
    drop(attempt);
    let landed = world.fs.get(PATH);
    assert_eq!(adopted(&world, 2).await.unwrap(), "r1");
    assert_eq!(world.fs.get(PATH), landed);
    assert_eq!(ledger_of(&world).state, State::Landed);
}

#[tokio::test]
async fn an_answer_waits_for_nobody_who_signed_in_meanwhile() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(&answer("r1")).await.unwrap();
    world.fs.put(PATH, &file("other"));
    assert!(matches!(attempt.land().await.unwrap(), Landed::Moved));
    drop(attempt);
    assert_eq!(adopted(&world, 2).await.unwrap(), "other");
    let entries = ledger_of(&world).entries;
    assert!(entries.answer().is_none());
    // What was spent stays known, so that a copy of it is never sent.
    world.fs.put(PATH, &file("r0"));
    assert_eq!(adopted(&world, 3).await.unwrap(), "other");
}

#[tokio::test]
async fn an_old_copy_is_replaced_by_the_newest_token_with_a_warning() {
    let world = world("r0");
    for (pid, successor) in [(1, "r1"), (2, "r2"), (3, "r3")] {
        refresh(&world, pid, successor).await;
    }
    for (pid, old) in [(4, "r0"), (5, "r1"), (6, "r2")] {
        world.fs.put(PATH, &file(old));
        let before = warnings(&world);
        assert_eq!(adopted(&world, pid).await.unwrap(), "r3");
        assert_eq!(token_at_home(&world).unwrap(), "r3");
        assert_eq!(warnings(&world), before + 1);
        assert_eq!(adopted(&world, pid + 10).await.unwrap(), "r3");
        assert_eq!(warnings(&world), before + 1, "once");
    }
}

#[tokio::test]
async fn an_old_copy_under_a_waiting_answer_gets_the_answer() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    let process = Process::new(&world, 2);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(&answer("r2")).await.unwrap();
    drop(attempt);
    world.fs.put(PATH, &file("r0"));
    assert_eq!(adopted(&world, 3).await.unwrap(), "r2");
    assert_eq!(token_at_home(&world).unwrap(), "r2");
}

#[tokio::test]
async fn an_old_copy_under_an_answer_without_a_refresh_token_gets_the_newest() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    let process = Process::new(&world, 2);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(br#"{"access_token":"new"}"#).await.unwrap();
    drop(attempt);
    world.fs.put(PATH, &file("r0"));
    assert_eq!(adopted(&world, 3).await.unwrap(), "r1");
    assert_eq!(token_at_home(&world).unwrap(), "r1");
}

#[tokio::test]
async fn an_old_copy_is_not_used_where_the_newest_is_not_known() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    // A logout that the ledger noticed, then a restored backup.
    world.fs.forget(&PathBuf::from(PATH));
    assert_eq!(adopted(&world, 2).await, None);
    world.fs.put(PATH, &file("r0"));
    let process = Process::new(&world, 3);
    let keep = process.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    let error = keep.adopt(&lease).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::LoginRequired);
}

#[tokio::test]
async fn an_old_copy_is_told_from_a_login_that_was_used_but_never_replaced() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    world.fs.forget(&PathBuf::from(PATH));
    assert_eq!(adopted(&world, 2).await, None);
    // Another program signs in; the provider answers without a new refresh token.
    world.fs.put(PATH, &file("other"));
    let process = Process::new(&world, 3);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(br#"{"access_token":"access"}"#).await.unwrap();
    attempt.land().await.unwrap();
    attempt.finish(None).await.unwrap();
    world.fs.put(PATH, &file("r0"));
    assert_eq!(adopted(&world, 4).await.unwrap(), "other");
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_adopted_and_the_ledger_starts_over() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    world.fs.put(PATH, &file("other"));
    assert_eq!(adopted(&world, 2).await.unwrap(), "other");
    let ledger = ledger_of(&world);
    assert_eq!(ledger.state, State::Idle);
    assert_eq!(ledger.entries.newest().unwrap(), RefreshToken::new("other"));
    refresh(&world, 3, "other1").await;
    assert_eq!(token_at_home(&world).unwrap(), "other1");
}

#[tokio::test]
async fn what_is_not_ours_costs_no_write() {
    let world = world("r0");
    assert_eq!(adopted(&world, 1).await.unwrap(), "r0");
    let steps = world.fs.steps().len();
    assert_eq!(adopted(&world, 2).await.unwrap(), "r0");
    assert_eq!(world.fs.steps().len(), steps);
}

#[tokio::test]
async fn a_home_absent_in_two_looks_is_a_logout_and_a_waiting_answer_is_dropped() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(&answer("r1")).await.unwrap();
    world.fs.forget(&PathBuf::from(PATH));
    assert!(matches!(attempt.land().await.unwrap(), Landed::Moved));
    drop(attempt);
    let before = world.clock.since_boot();
    assert_eq!(adopted(&world, 2).await, None);
    assert_eq!(world.clock.since_boot().saturating_sub(before), Duration::from_millis(250));
    assert!(world.fs.get(PATH).is_none(), "a logout is not undone");
    let entries = ledger_of(&world).entries;
    assert!(entries.answer().is_none() && entries.newest().is_none());
}

/// Runs the next caller beside another program that changes the home after so many milliseconds.
async fn adopted_while(world: &World, changes: &[(u64, Option<&[u8]>)]) -> Option<String> {
    let others = async {
        for (wait, bytes) in changes {
            world.clock.sleep(Duration::from_millis(*wait)).await;
            match bytes {
                Some(bytes) => world.fs.put(PATH, bytes),
                None => world.fs.forget(&PathBuf::from(PATH)),
            }
        }
    };
    tokio::join!(adopted(world, 50), others).0
}

#[tokio::test]
async fn a_home_that_is_written_at_this_moment_is_waited_for() {
    let (old, torn): (Vec<u8>, &[u8]) = (file("r0"), b"{\"ada\"");
    // Removed, then made; truncated, then written; torn at the first look and absent at the next.
    for (first, changes) in [
        (None, vec![(100, Some(old.as_slice()))]),
        (Some(torn), vec![(100, Some(old.as_slice()))]),
        (Some(torn), vec![(100, None), (300, Some(old.as_slice()))]),
        (None, vec![(100, Some(torn)), (300, Some(old.as_slice()))]),
    ] {
        let world = world("r0");
        refresh(&world, 1, "r1").await;
        match first {
            Some(bytes) => world.fs.put(PATH, bytes),
            None => world.fs.forget(&PathBuf::from(PATH)),
        }
        // What they write back is an old copy, and is judged as one.
        assert_eq!(adopted_while(&world, &changes).await.as_deref(), Some("r1"), "{changes:?}");
    }
}

#[tokio::test]
async fn a_damaged_home_is_named_and_the_ledger_kept() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    world.fs.put(PATH, b"{\"ada\": {\"refresh_token\": \"secr");
    let process = Process::new(&world, 2);
    let keep = process.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    let error = keep.adopt(&lease).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("is damaged") && !format!("{error:?}").contains("secr\""));
    assert_eq!(ledger_of(&world).entries.newest().unwrap(), RefreshToken::new("r1"));
    assert_eq!(world.fs.get(PATH).unwrap(), b"{\"ada\": {\"refresh_token\": \"secr");
}

/// Returns a world in which an attempt was cut short right after it exchanged names and before it
/// looked at what came out: `displaced`.
async fn cut_after_exchange(displaced: &[u8]) -> World {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    attempt.answer(&answer("r1")).await.unwrap();
    drop(attempt);
    let name = ledger_of(&world).entries.temporary.unwrap().name;
    let temporary = keep.places().temporary(&name);
    let file = world.fs.open(&temporary, false).unwrap();
    let new = JsonSlot("ada").write(Some(&file_of(&world)), &contents("r1")).unwrap();
    file.write_at(0, &new).unwrap();
    file.set_len(new.len() as u64).unwrap();
    world.fs.put(PATH, displaced);
    world.fs.exchange(&temporary, &keep.places().home).unwrap();
    assert_eq!(token_at_home(&world).unwrap(), "r1");
    world
}

fn file_of(world: &World) -> Vec<u8> {
    world.fs.get(PATH).unwrap()
}

#[tokio::test]
async fn a_login_that_was_displaced_by_a_crash_is_put_back() {
    let world = cut_after_exchange(&file("other")).await;
    assert_eq!(adopted(&world, 2).await.unwrap(), "other");
    assert_eq!(token_at_home(&world).unwrap(), "other");
}

#[tokio::test]
async fn a_logout_that_was_displaced_by_a_crash_is_done_again() {
    let world = cut_after_exchange(br#"{"bob":{"refresh_token":"bobs"}}"#).await;
    assert_eq!(adopted(&world, 2).await, None);
    assert_eq!(token_at_home(&world), None);
    assert!(String::from_utf8(file_of(&world)).unwrap().contains("bobs"));
}

#[tokio::test]
async fn a_base_or_a_torn_file_that_was_displaced_is_dropped() {
    for displaced in [file("r0"), b"{\"ada\"".to_vec()] {
        let world = cut_after_exchange(&displaced).await;
        assert_eq!(adopted(&world, 2).await.unwrap(), "r1");
        assert_eq!(token_at_home(&world).unwrap(), "r1");
        assert_eq!(ledger_of(&world).state, State::Landed);
        let left = world.fs.paths().iter().filter(|path| path.to_string_lossy().ends_with("-new")).count();
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn what_was_displaced_half_written_is_judged_when_it_is_whole_or_gone() {
    let other = file("other");
    for (then, expected) in [(Some(other.as_slice()), "other"), (None, "r1")] {
        let world = cut_after_exchange(b"{\"ada\"").await;
        let name = ledger_of(&world).entries.temporary.unwrap().name;
        let path = Process::new(&world, 2).keep().places().temporary(&name);
        let writer = async {
            world.clock.sleep(Duration::from_millis(100)).await;
            match then {
                Some(bytes) => world.fs.put(&path.display().to_string(), bytes),
                None => world.fs.forget(&path),
            }
        };
        let (token, ()) = tokio::join!(adopted(&world, 3), writer);
        assert_eq!(token.as_deref(), Some(expected));
        assert_eq!(token_at_home(&world).as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn what_was_displaced_is_not_put_over_a_later_login() {
    let world = cut_after_exchange(&file("other")).await;
    world.fs.put(PATH, &file("later"));
    assert_eq!(adopted(&world, 2).await.unwrap(), "later");
}

#[tokio::test]
async fn how_an_attempt_ends_is_nothing_to_a_login_that_took_its_place() {
    let refusal = Remembered {
        key: "key".into(),
        error: "invalid_grant".into(),
        description: None,
        date: None,
        count: 1,
        at: 0,
        until: u64::MAX,
    };
    for end in 0..4 {
        let world = world("r0");
        let (refreshing, person) = (Process::new(&world, 1), Process::new(&world, 2));
        let keep = refreshing.keep();
        let mut attempt = begin(&keep).await;
        if end == 0 {
            attempt.answer(&answer("r1")).await.unwrap();
            attempt.land().await.unwrap();
        }
        person.keep().put(&contents("new"), Binding::default()).await.unwrap();
        match end {
            0 => attempt.finish(None).await.unwrap(),
            1 => attempt.refuse(refusal.clone(), "no").await.unwrap(),
            2 => attempt.fail("no", true, 60).await.unwrap(),
            _ => drop(attempt.withdraw(true).await.unwrap()),
        }
        let Ledger { state, entries, .. } = ledger_of(&world);
        assert_eq!(state, State::Idle, "{end}");
        assert!(entries.refusals.is_empty() && entries.outcome.is_none(), "{end}");
        assert_eq!(entries.newest().unwrap(), RefreshToken::new("new"), "{end}");
    }
}

#[tokio::test]
async fn a_login_under_way_while_a_refresh_answers_keeps_its_binding() {
    let world = world("r0");
    let (refreshing, person) = (Process::new(&world, 1), Process::new(&world, 2));
    let keep = refreshing.keep();
    let mut attempt = begin(&keep).await;
    let binding = Binding { origin: "https://new.test".into(), ..Binding::default() };
    person.keep().put(&contents("new"), binding.clone()).await.unwrap();
    attempt.answer(&answer("r1")).await.unwrap();
    assert!(matches!(attempt.land().await.unwrap(), Landed::Moved));
    drop(attempt);
    assert_eq!(adopted(&world, 3).await.unwrap(), "new");
    assert_eq!(ledger_of(&world).entries.binding, Some(binding));
}
