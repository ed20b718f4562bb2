//! The front hands over to the program beside it, and says so if it cannot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use rustix::fs::StatVfsMountFlags;
use tempfile::TempDir;

const FRONT: &str = env!("CARGO_BIN_EXE_earthkey");

/// A folder with the front in it.
struct Installation {
    folder: TempDir,
}

impl Installation {
    /// Installs the front alone.
    ///
    /// By a link, as are all programs here: one that was just written cannot be run while a child of
    /// another test still holds it open.
    fn alone() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::hard_link(FRONT, folder.path().join("earthkey")).unwrap();
        Self { folder }
    }

    /// Installs the front, and another program as `earthkey-cli`.
    fn beside(program: &str) -> Self {
        let installation = Self::alone();
        symlink(program, installation.path("earthkey-cli")).unwrap();
        installation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn front(&self) -> Command {
        Command::new(self.path("earthkey"))
    }

    /// Returns the front on its way to a shell with a script.
    fn script(&self, script: &str) -> Command {
        let mut command = self.front();
        command.args(["-c", script]);
        command
    }
}

fn stdout(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"", "{output:?}");
    output.stdout
}

fn failure(command: &mut Command) -> String {
    let output: Output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"", "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn arguments_arrive_as_they_are() {
    let installation = Installation::beside("/bin/sh");
    let mut command = installation.script(r#"printf '[%s]' "$@""#);
    command.args(["sh", "token", "", "a b", "--", "*", "-x\n"]).arg(OsStr::from_bytes(b"\xff"));
    assert_eq!(stdout(&mut command), b"[token][][a b][--][*][-x\n][\xff]");
}

#[test]
fn the_name_it_was_called_by_arrives() {
    let installation = Installation::beside("/bin/sh");
    for name in ["earthkey", "es"] {
        assert_eq!(stdout(installation.script(r#"printf %s "$0""#).arg0(name)), name.as_bytes());
    }
}

#[test]
fn the_environment_arrives_with_the_version_added() {
    let installation = Installation::beside("/usr/bin/env");
    let mut command = installation.front();
    command.env_clear().env("HOME", "/h").env("EMPTY", "").env("OTHER", OsStr::from_bytes(b"\xff"));
    command.env("EARTHKEY_FRONT_VERSION", "of somebody else");
    let printed = stdout(&mut command);
    let mut lines: Vec<&[u8]> =
        printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    let version = concat!("EARTHKEY_FRONT_VERSION=", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, [version.as_bytes(), b"EMPTY=", b"HOME=/h", b"OTHER=\xff"]);
}

#[test]
fn it_becomes_the_program_and_does_not_wait_for_it() {
    let installation = Installation::beside("/bin/sh");
    let child = installation.script("echo $$; exit 42").stdout(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(output.stdout, format!("{id}\n").as_bytes());
}

#[test]
fn a_link_from_elsewhere_leads_to_the_program_beside_the_original() {
    let installation = Installation::beside("/bin/sh");
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("earthkey");
    symlink(installation.path("earthkey"), &link).unwrap();
    symlink("/bin/false", elsewhere.path().join("earthkey-cli")).unwrap();
    assert_eq!(stdout(Command::new(link).args(["-c", "echo here"])), b"here\n");
}

#[test]
fn a_missing_program_is_looked_for_nowhere_else() {
    let installation = Installation::alone();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink("/bin/true", elsewhere.path().join("earthkey-cli")).unwrap();
    let mut command = installation.front();
    command.env("PATH", elsewhere.path()).current_dir(elsewhere.path());
    let expected = format!(
        "error: earthkey-cli is not beside earthkey in {}\n\n\
         hint: install earthkey again; `earthkey` and `earthkey-cli` of one version belong in one folder\n",
        installation.folder.path().canonicalize().unwrap().display()
    );
    assert_eq!(failure(&mut command), expected);
}

#[test]
fn a_program_that_cannot_run_is_told_with_its_cause() {
    let installation = Installation::alone();
    fs::create_dir(installation.path("earthkey-cli")).unwrap();
    let told = failure(&mut installation.front());
    let path = installation.folder.path().canonicalize().unwrap().join("earthkey-cli");
    assert!(
        told.starts_with(&format!("error: cannot run {}\ncaused by: Permission denied", path.display())),
        "{told}"
    );
    assert!(told.contains("\n\nhint: install earthkey again"), "{told}");
}

#[test]
fn no_core_file_is_written_and_the_hard_limit_stays() {
    let installation = Installation::beside("/bin/sh");
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        r#"ulimit -S -c "$(ulimit -H -c)"; ulimit -H -c; "$0" -c 'ulimit -S -c; ulimit -H -c'"#,
    ]);
    let printed = String::from_utf8(stdout(command.arg(installation.path("earthkey")))).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert!(matches!(lines[..], [before, "0", after] if before == after), "{printed}");
}

#[test]
fn the_rights_of_another_user_are_refused() {
    let installation = Installation::beside("/bin/true");
    let mount = rustix::fs::statvfs(installation.folder.path()).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    assert!(is_root, "only root can give files away: run the tests as root");
    let heeds_bits = !mount.f_flag.contains(StatVfsMountFlags::NOSUID);
    assert!(heeds_bits, "the folder for temporary files ignores set-user-id bits: set TMPDIR to another");
    let borrowed = installation.path("borrowed");
    // By another process, so that no child of this one holds it open for writing.
    assert!(Command::new("cp").arg(FRONT).arg(&borrowed).status().unwrap().success());
    for (owner, group, mode) in [(Some(65534), None, 0o4755), (Some(0), Some(65534), 0o2755)] {
        chown(&borrowed, owner, group).unwrap();
        fs::set_permissions(&borrowed, Permissions::from_mode(mode)).unwrap();
        let told = failure(&mut Command::new(&borrowed));
        assert!(
            told.starts_with(
                "error: earthkey does not run with the rights of another user or group\n\nhint: "
            ),
            "{told}"
        );
    }
}
