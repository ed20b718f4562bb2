//! The lease where locks cannot be trusted (REFRESH rule 2).

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::*;
use crate::host::Clock;
use crate::host::FileSystem;
use crate::host::process::Owner;
use crate::host::scripted::Locks;
use crate::host::scripted::WatchedFileSystem;
use crate::store::lease::Lease;

/// A home on a file system whose locks are worth nothing, with a server whose clock is an hour off.
fn far_world(locks: Locks) -> World {
    let world = world("r0");
    world.fs.set_locks(locks);
    set_server_clock(&world, 0);
    world
}

fn set_server_clock(world: &World, passed: u64) {
    world.fs.set_server_clock(1_800_003_600 + passed);
}

fn take(process: &Process) -> Option<Lease> {
    process.keep().try_lease().unwrap()
}

fn claims(world: &World) -> Vec<String> {
    let names = world.fs.paths();
    let names = names.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
    names.filter(|name| name.contains("earthkey-claim")).collect()
}

#[tokio::test]
async fn where_locks_lie_or_are_unknown_one_at_a_time_holds_the_lease_all_the_same() {
    for locks in [Locks::Lie, Locks::Unknown] {
        let world = far_world(locks);
        let (first, second) = (Process::new(&world, 1), Process::new(&world, 2));
        let lease = take(&first).unwrap();
        assert!(take(&second).is_none(), "{locks:?}");
        assert!(take(&first).is_none(), "not even the same process twice");
        assert_eq!(claims(&world).len(), 1, "nothing is left of tries: {:?}", claims(&world));
        drop(lease);
        assert!(claims(&world).is_empty());
        assert!(take(&second).is_some());
    }
}

#[tokio::test]
async fn where_locks_exclude_there_is_no_claim() {
    let world = world("r0");
    let _lease = take(&Process::new(&world, 1)).unwrap();
    assert!(claims(&world).is_empty());
}

#[tokio::test]
async fn a_file_system_without_links_makes_the_claim_by_its_name() {
    let world = far_world(Locks::Lie);
    world.fs.without_links();
    let (first, second) = (Process::new(&world, 1), Process::new(&world, 2));
    let lease = take(&first).unwrap();
    assert!(take(&second).is_none());
    drop(lease);
    assert!(take(&second).is_some());
}

#[tokio::test]
async fn a_claim_is_respected_until_its_time_is_over_by_the_servers_clock() {
    let world = far_world(Locks::Lie);
    let (first, second) = (Process::new(&world, 1), Process::new(&world, 2));
    let lease = take(&first).unwrap();
    // Of a process on another host nobody knows whether it lives; this one is gone without a word.
    std::mem::forget(lease);
    // Our own clock says nothing of it.
    world.clock.advance(std::time::Duration::from_secs(7200));
    assert!(take(&second).is_none());
    set_server_clock(&world, 90);
    assert!(take(&second).is_none());
    set_server_clock(&world, 91);
    assert!(take(&second).is_some());
    assert_eq!(claims(&world), [] as [&str; 0]);
}

#[tokio::test]
async fn a_claim_whose_owner_is_known_to_be_dead_is_taken_over_at_once() {
    let world = far_world(Locks::Lie);
    let process = Process::new(&world, 1);
    let claim = process.keep().places().claim.clone();
    let dead = Owner { pid: 0, ..process.host.process.owner() };
    world.fs.put(claim.to_str().unwrap(), &serde_json::to_vec(&dead).unwrap());
    assert!(take(&process).is_some());
}

#[tokio::test]
async fn a_claim_that_nobody_can_read_is_waited_for() {
    let world = far_world(Locks::Lie);
    let process = Process::new(&world, 1);
    let claim = process.keep().places().claim.clone();
    world.fs.put(claim.to_str().unwrap(), b"torn");
    assert!(take(&process).is_none());
    set_server_clock(&world, 91);
    assert!(take(&process).is_some());
}

#[tokio::test]
async fn whoever_has_slept_through_its_claim_sends_nothing() {
    let world = far_world(Locks::Lie);
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    world.clock.advance(std::time::Duration::from_secs(60));
    let error = keep.adopt(&lease).await.err().unwrap();
    assert!(error.to_string().contains("was lost while it was in use"), "{error}");
    // One that was renewed is good for a whole attempt.
    drop(lease);
    set_server_clock(&world, 91);
    let mut lease = keep.try_lease().unwrap().unwrap();
    world.clock.advance(std::time::Duration::from_secs(30));
    lease.renew().unwrap();
    world.clock.advance(std::time::Duration::from_secs(59));
    assert!(keep.adopt(&lease).await.is_ok());
}

#[tokio::test]
async fn a_claim_that_was_taken_over_is_no_lease_any_more_and_stays_whoevers_it_is() {
    let world = far_world(Locks::Lie);
    let (first, second) = (Process::new(&world, 1), Process::new(&world, 2));
    let keep = first.keep();
    let lost = keep.try_lease().unwrap().unwrap();
    set_server_clock(&world, 91);
    let taken = take(&second).unwrap();
    assert!(keep.adopt(&lost).await.is_err());
    drop(lost);
    assert_eq!(claims(&world).len(), 1, "whose claim is gone removes nobody else's");
    assert!(second.keep().adopt(&taken).await.is_ok());
}

#[tokio::test]
async fn an_attempt_makes_its_claim_good_for_the_whole_of_it() {
    let world = far_world(Locks::Lie);
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    let held = keep.adopt(&lease).await.unwrap().unwrap();
    world.clock.advance(std::time::Duration::from_secs(50));
    let attempt = keep.reserve(lease, &held.contents, world.clock.now() + 50).await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(50));
    assert!(attempt.is_current().await.unwrap());
    let stat = world.fs.stat_link(&keep.places().claim).unwrap();
    assert_eq!(stat.links, 1, "the name of the try is gone");
}

/// Every order of two tries to take over one claim whose time is over: before each of the first's
/// calls the second does all of its own.
#[tokio::test]
async fn of_two_who_take_a_claim_over_at_once_one_at_most_may_send() {
    let mut orders = 0;
    for at in 0.. {
        let world = far_world(Locks::Lie);
        let (dead, first, second) =
            (Process::new(&world, 1), Process::new(&world, 2), Process::new(&world, 3));
        std::mem::forget(take(&dead).unwrap());
        set_server_clock(&world, 91);
        let seconds: Arc<Mutex<Option<Lease>>> = Arc::default();
        let calls = Arc::new(AtomicUsize::new(0));
        let (counted, taken) = (calls.clone(), seconds.clone());
        let fs = WatchedFileSystem::new(&world.fs, move |_, _| {
            if counted.fetch_add(1, Ordering::Relaxed) == at {
                *taken.lock().unwrap() = take(&second);
            }
        });
        let first = Process { host: Host { fs: Arc::new(fs), ..first.host }, home: first.home };
        let firsts = take(&first);
        let is_over = calls.load(Ordering::Relaxed) <= at;
        let seconds = seconds.lock().unwrap().take();
        let places = first.keep().places().clone();
        let may_send = |lease: &Option<Lease>| {
            lease.as_ref().is_some_and(|lease| lease.excludes_others(&places, world.fs.as_ref()).unwrap())
        };
        let senders = usize::from(may_send(&firsts)) + usize::from(may_send(&seconds));
        assert!(senders <= 1, "both, when the second comes at call {at}");
        if is_over {
            assert_eq!(senders, 1);
            break;
        }
        orders += 1;
    }
    assert!(orders > 10, "only {orders} orders were tried");
}
