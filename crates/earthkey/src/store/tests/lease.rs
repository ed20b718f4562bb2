//! The lease (REFRESH rule 2).

use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn one_at_a_time_holds_the_lease() {
    let world = world("r0");
    let (first, second) = (Process::new(&world, 1), Process::new(&world, 2));
    let lease = first.keep().try_lease().unwrap().unwrap();
    assert!(second.keep().try_lease().unwrap().is_none());
    assert!(first.keep().try_lease().unwrap().is_none(), "not even the same process twice");
    drop(lease);
    assert!(second.keep().try_lease().unwrap().is_some());
}

#[tokio::test]
async fn the_lease_ends_with_the_attempt() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let attempt = begin(&keep).await;
    assert!(keep.try_lease().unwrap().is_none());
    attempt.fail("no", false, 0).await.unwrap();
    assert!(keep.try_lease().unwrap().is_some());
}

#[tokio::test]
async fn two_grants_in_one_file_have_two_leases() {
    let world = world("r0");
    let (ada, mut bob) = (Process::new(&world, 1), Process::new(&world, 2));
    bob.home.slot = std::sync::Arc::new(JsonSlot("bob"));
    let _adas = ada.keep().try_lease().unwrap().unwrap();
    assert!(bob.keep().try_lease().unwrap().is_some());
    assert_eq!(ada.keep().places().lock, bob.keep().places().lock, "but one file lock");
}

#[tokio::test]
async fn a_lock_on_a_file_without_a_name_is_no_lease() {
    let world = world("r0");
    let (first, second) = (Process::new(&world, 1), Process::new(&world, 2));
    let lost = first.keep().try_lease().unwrap().unwrap();
    world.fs.forget(&first.keep().places().lease);
    let taken = second.keep().try_lease().unwrap();
    assert!(taken.is_some(), "a new file, a new lease");
    // The first holder sees that it is not the only one any more, and sends nothing.
    let error = first.keep().adopt(&lost).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("earthkey-lease"), "{error}");
}

#[tokio::test]
async fn a_lease_file_removed_between_opening_and_locking_is_opened_again() {
    let world = world("r0");
    let (first, second) = (Process::new(&world, 1), Process::new(&world, 2));
    world.fs.remove_once_opened(&first.keep().places().lease);
    let _lease = first.keep().try_lease().unwrap().unwrap();
    assert!(second.keep().try_lease().unwrap().is_none());
}

#[tokio::test]
async fn a_lease_lost_after_the_intent_stops_the_request() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let attempt = begin(&keep).await;
    assert!(attempt.is_current().await.unwrap());
    world.fs.forget(&keep.places().lease);
    assert_eq!(attempt.is_current().await.unwrap_err().kind(), ErrorKind::Store);
}

#[tokio::test]
async fn a_forked_child_never_acts_on_the_lease_that_it_inherits() {
    let world = world("r0");
    let (parent, child) = (Process::new(&world, 1), Process::new(&world, 2));
    let lease = parent.keep().try_lease().unwrap().unwrap();
    let keep = child.keep();
    assert_eq!(keep.adopt(&lease).await.err().unwrap().kind(), ErrorKind::Internal);
    let steps = world.fs.steps().len();
    let refused = keep.reserve(lease, &contents("r0"), 0).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Internal);
    assert_eq!(world.fs.steps().len(), steps, "nothing was written");
}

#[tokio::test]
async fn the_lease_of_an_attempt_is_freed_only_if_its_owner_is_dead_and_its_deadline_past() {
    for (pid, passed, is_freed) in [(0, 100, true), (0, 60, false), (1, 100, false)] {
        let world = world("r0");
        let (owner, waiter) = (Process::new(&world, pid), Process::new(&world, 2));
        let keep = owner.keep();
        let _attempt = begin(&keep).await;
        world.clock.advance(std::time::Duration::from_secs(passed));
        let keep = waiter.keep();
        keep.free_inherited_lease(keep.lease_file()).await.unwrap();
        assert_eq!(keep.try_lease().unwrap().is_some(), is_freed, "{pid} {passed}");
    }
}

#[tokio::test]
async fn a_lease_that_took_the_place_of_the_one_watched_is_not_freed() {
    let world = world("r0");
    let (child, waiter) = (Process::new(&world, 0), Process::new(&world, 2));
    let keep = waiter.keep();
    let _inherited = child.keep().try_lease().unwrap().unwrap();
    let watched = keep.lease_file();
    keep.free_inherited_lease(watched).await.unwrap();
    let _taken = Process::new(&world, 3).keep().try_lease().unwrap().unwrap();
    keep.free_inherited_lease(watched).await.unwrap();
    assert!(keep.try_lease().unwrap().is_none());
}
