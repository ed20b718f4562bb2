//! The same on this machine's own files.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::provider::Bank;
use super::provider::Cache;
use super::provider::Caller;
use super::provider::sent;
use crate::error::ErrorKind;
use crate::host::Host;
use crate::host::real::RealFileSystem;
use crate::host::real::RealProcess;
use crate::host::scripted::World;
use crate::store::Keep;
use crate::store::tests::file;
use crate::store::tests::token_in;

fn caller(world: &World, pid: u32, path: &std::path::Path) -> Caller {
    let host =
        Host { fs: Arc::new(RealFileSystem), process: Arc::new(RealProcess::default()), ..world.host(pid) };
    let mut caller = Caller::on(host);
    caller.home.path = path.to_owned();
    caller
}

#[tokio::test]
async fn a_login_lives_through_refreshes_a_rollback_a_herd_and_a_logout() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link.json");
    let path = directory.path().join("tokens.json");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let bank = Bank::default();
    let world = bank.world();
    let write = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let old = file(&bank.sign_in());
    write(&old);

    for pid in 1..=3 {
        caller(&world, pid, &link).token().await.unwrap();
    }
    write(&old);
    caller(&world, 4, &path).token().await.unwrap();
    assert_eq!(sent(&world), ["r1.0", "r1.1", "r1.2", "r1.3"]);

    let cache = Cache::default();
    let mut tasks = tokio::task::JoinSet::new();
    for pid in 5..25 {
        let caller = caller(&world, pid, &path).sharing(&cache);
        tasks.spawn(async move { caller.token().await.unwrap().token.expose().to_owned() });
    }
    assert_eq!(tasks.join_all().await, ["a1.5"; 20]);
    assert_eq!(token_in(&std::fs::read(&path).unwrap()).unwrap(), "r1.5");
    assert!(link.is_symlink(), "what a link leads to is replaced, not the link");

    // The lease, the file lock, the ledger, the home and the link, and nothing else.
    let files = || std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(files().count(), 5, "{:?}", files().collect::<Vec<_>>());
    for file in files() {
        let metadata = std::fs::metadata(&file).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", file.display());
        let room = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        assert!(room < 64 * 1024, "{} takes {room} bytes", file.display());
    }

    let caller = caller(&world, 30, &path);
    assert!(Keep::open(&caller.host, &caller.home).unwrap().unwrap().clear().await.unwrap());
    assert_eq!(caller.token().await.unwrap_err().kind(), ErrorKind::LoginRequired);
    assert!(bank.reused().is_empty());
}
