//! What must be ready before a token is sent (REFRESH rule 4).

use super::*;
use crate::error::Error;
use crate::error::ErrorKind;

async fn refused(world: &World, process: &Process) -> Error {
    let keep = process.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    let error = keep.reserve(lease, &contents("r0"), 0).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(!error.hints().is_empty() || !error.causes().is_empty(), "{error:?}");
    assert_eq!(token_at_home(world).unwrap(), "r0");
    let left = world.fs.paths().iter().filter(|path| path.to_string_lossy().ends_with("-new")).count();
    assert_eq!(left, 0);
    error
}

#[tokio::test]
async fn a_home_that_cannot_be_replaced_is_not_refreshed() {
    let world = world("r0");
    world.fs.mount(PATH);
    let error = refused(&world, &Process::new(&world, 1)).await;
    assert!(error.to_string().contains("mount point"), "{error}");
}

#[tokio::test]
async fn a_home_of_somebody_else_is_not_refreshed() {
    let world = world("r0");
    world.fs.give_to(PATH, 0);
    let error = refused(&world, &Process::new(&world, 1)).await;
    assert!(error.to_string().contains("belongs to somebody else"), "{error}");
}

#[tokio::test]
async fn a_home_that_anybody_may_replace_is_not_refreshed() {
    for directory in [DIRECTORY, "/home/ada/.config", "/home/ada", "/home"] {
        for (mode, is_allowed) in
            [(0o777, false), (0o702, false), (0o1777, true), (0o770, true), (0o755, true)]
        {
            let world = world("r0");
            world.fs.set_mode_of(directory, mode);
            let process = Process::new(&world, 1);
            if is_allowed {
                let keep = process.keep();
                let lease = keep.try_lease().unwrap().unwrap();
                keep.reserve(lease, &contents("r0"), 0).await.unwrap();
                continue;
            }
            let error = refused(&world, &process).await;
            assert!(error.to_string().contains(&format!("`{directory}`")), "{error}");
            assert_eq!(error.hints(), [format!("let nobody else write there: `chmod o-w {directory}`")]);
        }
    }
}

#[tokio::test]
async fn a_home_on_a_read_only_file_system_is_not_refreshed() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let lease = keep.try_lease().unwrap().unwrap();
    world.fs.make_read_only();
    let error = keep.reserve(lease, &contents("r0"), 0).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.hints()[0].contains("read-only"), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_is_noticed_before_the_token_is_sent() {
    let world = world("r0");
    world.fs.fill_disk();
    let error = refused(&world, &Process::new(&world, 1)).await;
    assert!(error.to_string().contains("the refresh token is not used"), "{error}");
    assert!(error.hints()[0].contains("make room"), "{error:?}");
}

#[tokio::test]
async fn a_disk_that_fills_up_after_the_intent_costs_nothing() {
    let world = world("r0");
    let process = Process::new(&world, 1);
    let keep = process.keep();
    let mut attempt = begin(&keep).await;
    world.fs.fill_disk();
    let big = "x".repeat(40 * 1024);
    attempt.answer(&answer(&big)).await.unwrap();
    attempt.land().await.unwrap();
    attempt.finish(None).await.unwrap();
    assert_eq!(token_at_home(&world).unwrap(), big);
}

#[tokio::test]
async fn a_provider_that_never_replaces_tokens_needs_none_of_this() {
    let world = world("r0");
    world.fs.mount(PATH);
    world.fs.give_to(PATH, 0);
    world.fs.set_mode_of(DIRECTORY, 0o777);
    let mut process = Process::new(&world, 1);
    process.home.rotation = Rotation::Never;
    let keep = process.keep();
    let attempt = begin(&keep).await;
    assert!(attempt.is_current().await.unwrap());
}

#[tokio::test]
async fn what_others_can_read_is_refused_or_warned_of() {
    for mode in [0o644, 0o640, 0o604] {
        let world = world("r0");
        world.fs.put_with_mode(PATH, &file("r0"), mode);
        let mut process = Process::new(&world, 1);
        {
            let keep = process.keep();
            keep.contents().unwrap();
            keep.contents().unwrap();
        }
        let warnings = world.person.said().iter().filter(|said| said.contains("chmod 600")).count();
        assert_eq!(warnings, 1, "once");
        process.home.privacy = Privacy::Required;
        let error = process.keep().contents().unwrap_err();
        assert_eq!(error.hints(), [format!("let nobody else read it: `chmod 600 {PATH}`")]);
        let keep = process.keep();
        let lease = keep.try_lease().unwrap().unwrap();
        assert_eq!(keep.adopt(&lease).await.err().unwrap().kind(), ErrorKind::Store);
    }
}

#[tokio::test]
async fn every_file_of_ours_is_private_from_its_first_byte() {
    let world = world("r0");
    refresh(&world, 1, "r1").await;
    for path in world.fs.paths() {
        assert_eq!(world.fs.mode_of(&path), 0o600, "{}", path.display());
    }
}
