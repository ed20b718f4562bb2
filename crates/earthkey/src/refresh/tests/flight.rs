//! One attempt, whoever asks (REFRESH rule 2).

use std::time::Duration;

use earthkey_record::ledger::State;

use super::provider::Answers;
use super::provider::Bank;
use super::provider::Cache;
use super::provider::Caller;
use super::provider::refusal;
use super::provider::requests_reach;
use super::provider::sent;
use super::provider::tokens;
use crate::error::ErrorKind;
use crate::host::Clock;
use crate::host::http::SendError;
use crate::host::scripted::World;
use crate::refresh::Want;
use crate::store::Keep;
use crate::store::tests::PATH;
use crate::store::tests::file;

/// Runs many callers at once and returns what each got, sorted.
async fn herd(callers: Vec<Caller>, force: bool) -> Vec<String> {
    let mut tasks = tokio::task::JoinSet::new();
    for caller in callers {
        tasks.spawn(async move {
            let want = Want { force, ..Want::default() };
            match caller.want(want).await {
                Ok(access) => access.token.expose().to_owned(),
                Err(error) => format!("{:?} {error}", error.kind()),
            }
        });
    }
    let mut outcomes = tasks.join_all().await;
    outcomes.sort();
    outcomes
}

fn callers(world: &World, number: u32) -> Vec<Caller> {
    let cache = Cache::default();
    (1..=number).map(|pid| Caller::new(world, pid).sharing(&cache)).collect()
}

#[tokio::test]
async fn everybody_who_waits_gets_the_token_of_one_request() {
    for force in [false, true] {
        let bank = Bank::default();
        let world = bank.world();
        world.fs.put(PATH, &file(&bank.sign_in()));
        let outcomes = herd(callers(&world, 200), force).await;
        assert_eq!(outcomes, ["a1.1"; 200]);
        assert_eq!(sent(&world), ["r1.0"]);
    }
}

#[tokio::test]
async fn everybody_who_waits_gets_the_refusal_of_one_request() {
    for force in [false, true] {
        let world = World::new(|_| Ok(refusal("invalid_grant")));
        world.fs.put(PATH, &file("r1.0"));
        let outcomes = herd(callers(&world, 200), force).await;
        assert_eq!(outcomes, ["Refused the provider does not accept the refresh token any more"; 200]);
        assert_eq!(sent(&world), ["r1.0"]);
    }
}

#[tokio::test]
async fn everybody_who_waits_gets_the_failure_of_one_attempt() {
    for force in [false, true] {
        let world = World::new(|_| Err(SendError::NotSent("connection refused".into())));
        world.fs.put(PATH, &file("r1.0"));
        let outcomes = herd(callers(&world, 200), force).await;
        assert_eq!(outcomes, ["Network the provider cannot be reached"; 200]);
        assert_eq!(sent(&world).len(), 3, "one attempt with its retries");
    }
}

#[tokio::test]
async fn whoever_waited_for_a_failure_is_told_what_to_do() {
    let world = World::new(|_| Err(SendError::NotSent("connection refused".into())));
    world.fs.put(PATH, &file("r1.0"));
    let (first, second) = (Caller::new(&world, 1), Caller::new(&world, 2));
    let late = async {
        requests_reach(&world, 1).await;
        second.token().await
    };
    let (own, anothers) = tokio::join!(first.token(), late);
    for outcome in [own, anothers] {
        assert!(!outcome.unwrap_err().hints().is_empty());
    }
}

#[tokio::test]
async fn a_refusal_of_other_scopes_is_nobody_elses() {
    let bank = Bank::default();
    let answering = bank.clone();
    let world = World::new(move |request| {
        Ok(if answering.exchanges() == 0 && request.form_value("scope").is_some() {
            refusal("invalid_scope")
        } else {
            answering.answer(request)
        })
    });
    world.fs.put(PATH, &file(&bank.sign_in()));
    let narrow = Caller { scopes: "write", ..Caller::new(&world, 1) };
    let plain = Caller::new(&world, 2);
    let late = async {
        requests_reach(&world, 1).await;
        plain.token().await
    };
    let (refused, served) = tokio::join!(narrow.token(), late);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(served.unwrap().token.expose(), "a1.1");
}

#[tokio::test]
async fn a_refusal_that_has_lapsed_is_not_taken_for_the_outcome_of_anothers_attempt() {
    let world = Answers::world([
        Ok(refusal("invalid_scope")),
        Ok(refusal("invalid_scope")),
        Ok(tokens("a1.1", "r1.1")),
    ]);
    world.fs.put(PATH, &file("r1.0"));
    let plain = Caller::new(&world, 1);
    plain.token().await.unwrap_err();
    world.clock.advance(Duration::from_secs(70));
    let narrow = Caller { scopes: "write", ..Caller::new(&world, 2) };
    let late = async {
        requests_reach(&world, 2).await;
        plain.token().await
    };
    let (refused, served) = tokio::join!(narrow.token(), late);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(served.unwrap().token.expose(), "a1.1");
}

#[tokio::test]
async fn a_grant_that_another_program_refreshes_before_it_is_sent_is_not_sent() {
    let bank = Bank::default();
    let world = bank.world();
    world.fs.put(PATH, &file(&bank.sign_in()));
    let caller = Caller::new(&world, 1);
    let other = async {
        let keep = Keep::open(&caller.host, &caller.home).unwrap().unwrap();
        while keep.ledger().unwrap().state != State::Intent {
            tokio::task::yield_now().await;
        }
        assert_eq!(sent(&world), [""; 0]);
        bank.exchange("r1.0");
        world.fs.put(PATH, &file("r1.1"));
    };
    let (access, ()) = tokio::join!(caller.token(), other);
    assert_eq!(access.unwrap().token.expose(), "a1.2");
    assert_eq!(sent(&world), ["r1.1"]);
}

#[tokio::test]
async fn a_forced_refresh_is_not_satisfied_by_the_old_token() {
    // Without rotation a token of other scopes leaves the record of ours as it is.
    let bank = Bank::without_rotation();
    let world = bank.world();
    world.fs.put(PATH, &file(&bank.sign_in()));
    let cache = Cache::default();
    let plain = Caller::new(&world, 1).sharing(&cache);
    let old = plain.token().await.unwrap().token;
    let narrow = Caller { scopes: "write", ..Caller::new(&world, 2).sharing(&cache) };
    let late = async {
        requests_reach(&world, 2).await;
        plain.forced().await.unwrap().token
    };
    let (_, new) = tokio::join!(narrow.forced(), late);
    assert_ne!(new, old);
    assert_eq!(sent(&world).len(), 3);
}

#[tokio::test]
async fn a_rejected_token_is_refreshed_once_for_all() {
    let bank = Bank::default();
    let world = bank.world();
    world.fs.put(PATH, &file(&bank.sign_in()));
    let cache = Cache::default();
    let old = Caller::new(&world, 1).sharing(&cache).token().await.unwrap();
    let want = Want { reject: Some(old.token.fingerprint()), ..Want::default() };
    for pid in 2..100 {
        let access = Caller::new(&world, pid).sharing(&cache).want(want.clone()).await.unwrap();
        assert_eq!(access.token.expose(), "a1.2");
    }
    assert_eq!(sent(&world).len(), 2);
}

#[tokio::test]
async fn a_valid_token_is_served_at_once_while_another_refreshes() {
    let bank = Bank::default();
    let world = bank.world();
    world.fs.put(PATH, &file(&bank.sign_in()));
    let cache = Cache::default();
    let caller = Caller::new(&world, 1).sharing(&cache);
    caller.token().await.unwrap();
    world.clock.advance(Duration::from_secs(2800));
    let keep = Keep::open(&caller.host, &caller.home).unwrap().unwrap();
    let _lease = keep.try_lease().unwrap().unwrap();
    let start = world.clock.since_boot();
    let access = Caller::new(&world, 2).sharing(&cache).token().await.unwrap();
    assert_eq!(access.token.expose(), "a1.1");
    assert_eq!(world.clock.since_boot(), start, "nobody waits for a token that is not needed yet");
}

#[tokio::test]
async fn a_wait_is_announced_and_bounded() {
    let world = World::new(|_| unreachable!("without the lease nothing is sent"));
    world.fs.put(PATH, &file("r1.0"));
    let holder = Caller::new(&world, 1);
    let keep = Keep::open(&holder.host, &holder.home).unwrap().unwrap();
    let lease = keep.try_lease().unwrap().unwrap();
    let contents = keep.contents().unwrap().unwrap();
    let _attempt = keep.reserve(lease, &contents, 1_800_000_050).await.unwrap();
    let start = world.clock.since_boot();
    let error = Caller::new(&world, 2).token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(world.clock.since_boot().saturating_sub(start).as_secs(), 90);
    let lines: Vec<_> = world.person.said().into_iter().filter(|said| said.starts_with("Line")).collect();
    assert_eq!(lines, ["Line(\"waiting for process 1 on scripted to refresh this login\")"]);
}

#[tokio::test]
async fn others_can_read_is_said_once_however_long_a_caller_waits() {
    let world = World::new(|_| unreachable!("without the lease nothing is sent"));
    world.fs.put_with_mode(PATH, &file("r1.0"), 0o644);
    let holder = Caller::new(&world, 1);
    let keep = Keep::open(&holder.host, &holder.home).unwrap().unwrap();
    let lease = keep.try_lease().unwrap().unwrap();
    let contents = keep.contents().unwrap().unwrap();
    let _attempt = keep.reserve(lease, &contents, 1_800_000_050).await.unwrap();
    Caller::new(&world, 2).token().await.unwrap_err();
    let warnings = world.person.said().into_iter().filter(|said| said.contains("chmod 600")).count();
    assert_eq!(warnings, 2, "once by each of the two");
}

#[tokio::test]
async fn the_lease_that_a_dead_owners_child_inherited_ends_after_its_deadline() {
    for (owner, is_freed) in [(0, true), (7, false)] {
        let bank = Bank::default();
        let world = bank.world();
        world.fs.put(PATH, &file(&bank.sign_in()));
        // Process 0 counts as dead; its child still holds the open file.
        let parent = Caller::new(&world, owner);
        let keep = Keep::open(&parent.host, &parent.home).unwrap().unwrap();
        let lease = keep.try_lease().unwrap().unwrap();
        let contents = keep.contents().unwrap().unwrap();
        let attempt = keep.reserve(lease, &contents, 1_800_000_050).await.unwrap();
        let herd = herd(callers(&world, 5), false).await;
        if is_freed {
            assert_eq!(herd, ["a1.1"; 5]);
            assert_eq!(sent(&world), ["r1.0"]);
            // Should the child act after all, it does not get far.
            assert_eq!(attempt.is_current().await.unwrap_err().kind(), ErrorKind::Store);
        } else {
            assert!(herd.iter().all(|outcome| outcome.starts_with("Network")), "{herd:?}");
        }
    }
}

#[tokio::test]
async fn a_lease_that_outlives_its_attempt_in_a_child_stops_nobody_for_long() {
    let bank = Bank::default();
    let world = bank.world();
    world.fs.put(PATH, &file(&bank.sign_in()));
    Caller::new(&world, 1).token().await.unwrap();
    // Process 1 lives on and forgot its lease; the child that it forked meanwhile did not.
    let parent = Caller::new(&world, 1);
    let keep = Keep::open(&parent.host, &parent.home).unwrap().unwrap();
    let _inherited = keep.try_lease().unwrap().unwrap();
    assert_eq!(herd(callers(&world, 20), false).await, ["a1.2"; 20]);
    assert_eq!(sent(&world), ["r1.0", "r1.1"]);
}

#[tokio::test]
async fn a_logout_under_way_is_no_reason_to_wait() {
    let world = World::new(|_| unreachable!("nothing is sent"));
    world.fs.put(PATH, &file("r1.0"));
    let holder = Caller::new(&world, 1);
    let keep = Keep::open(&holder.host, &holder.home).unwrap().unwrap();
    let _lease = keep.try_lease().unwrap().unwrap();
    let start = world.clock.since_boot();
    let other = Caller::new(&world, 2);
    let keep = Keep::open(&other.host, &other.home).unwrap().unwrap();
    assert!(keep.clear().await.unwrap());
    assert_eq!(world.clock.since_boot(), start);
    assert!(!String::from_utf8(world.fs.get(PATH).unwrap()).unwrap().contains("ada"));
}

#[tokio::test]
async fn what_one_caller_has_wrong_is_no_outcome_for_others() {
    let bank = Bank::default();
    let world = bank.world();
    world.fs.put(PATH, &file(&bank.sign_in()));
    let wrong = Caller { is_misconfigured: true, ..Caller::new(&world, 1) };
    let right = Caller::new(&world, 2);
    let (refused, served) = tokio::join!(wrong.token(), right.token());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(served.unwrap().token.expose(), "a1.1");
}
