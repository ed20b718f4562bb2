"""Homes in bad places, and clocks that are wrong: a refresh token is not spent where its successor
cannot be kept, and no access token is served past its life."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from conftest import claims
from soak import EARTHSCOPE, GOOGLE, LONG, OIDC, OPENEO, is_valid

OTHER_USER = 65534
"""`nobody` on most systems; no process of ours runs as this one."""

SMALLEST_DISK_KIB = 32
"""What the home itself and its ledger need."""

HINT = "\nhint: "


@pytest.fixture
def place(soak):
    """Runs our program in mount and time namespaces of its own, after a preparation by a shell."""
    unshare, shell = shutil.which("unshare"), shutil.which("sh")
    assert unshare, "unshare is not in PATH: install util-linux"
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    probe = soak.machine.run(unshare, *rights, "--mount", "--time", shutil.which("true"))
    assert probe.code == 0, (
        f"no namespace of mounts and clocks can be had ({probe.stderr.strip()}): run the tests as "
        "root, or allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1`"
    )

    def run(*args, prepare="", asleep=0, afterwards="", **environment):
        script = f"""
set -eu
at=$PATH PATH=/usr/sbin:/usr/bin:/sbin:/bin
{prepare}
set +e
PATH=$at "$@"
code=$?
{afterwards}
exit $code
"""
        options = ["--mount", "--propagation", "private", "--time", "--boottime", str(asleep)]
        return soak.run(
            *rights, *options, shell, "-c", script, "sh", soak.program, *args,
            program=unshare, **environment,
        )  # fmt: skip

    return run


def pytest_generate_tests(metafunc):
    """One kind of home at small size, each at full size."""
    logins = [EARTHSCOPE, OPENEO, OIDC] if metafunc.config.getoption("--full") else [EARTHSCOPE]
    if "login" in metafunc.fixturenames:
        metafunc.parametrize("login", logins, ids=lambda login: login.realm, indirect=True)
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", logins, ids=lambda login: login.realm)


@pytest.fixture
def login(request, soak):
    soak.sign_in(request.param)
    return request.param


def assert_not_spent(soak, login, done, *words):
    """Asserts that nothing was sent, that a person was told why, and that the login lives."""
    assert (done.code, done.stdout) == (7, ""), done
    for word in words:
        assert word in done.stderr
    assert HINT in done.stderr
    assert soak.refreshes(login) == []
    folder = (soak.machine.home / login.home).parent
    assert not list(folder.glob(".*.earthkey-new")), "a temporary file is left"


def test_file_mounted_alone(soak, place, login, tally):
    home = soak.machine.home / login.home
    before = home.read_bytes()
    done = place("token", login.name, "--refresh", prepare=f"mount --bind '{home}' '{home}'")
    assert_not_spent(soak, login, done, "is a mount point", "mount the directory that holds it")
    assert home.read_bytes() == before
    tally(f"a file mounted alone: {login.realm}", exit=done.code, requests=0)
    assert soak.lives(login)


def test_read_only(soak, place, login, tally):
    folder = (soak.machine.home / login.home).parent
    read_only = f"mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}'"
    # What is valid is served all the same.
    served = place("token", login.name, prepare=read_only)
    assert served.code == 0, served
    done = place("token", login.name, "--refresh", prepare=read_only)
    assert_not_spent(soak, login, done, "Read-only file system")
    tally(f"read-only: {login.realm}", exit=done.code, requests=0)
    assert soak.lives(login)


def test_google_needs_no_place(soak, place, tally):
    """Where nothing is replaced nothing needs a place: what others put where it is, is refreshed there,
    and stays as it is."""
    login = GOOGLE
    soak.sign_in(login)
    home = soak.machine.home / login.home
    folder = home.parent
    before = home.read_bytes()
    for prepare in (
        f"mount --bind '{home}' '{home}'",
        f"mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}'",
    ):
        soak.forget()
        done = place("token", login.name, "--refresh", prepare=prepare)
        assert done.code == 0, done
        assert soak.accepts(done.stdout.strip())
        assert len(soak.refreshes(login)) == 1
        assert home.read_bytes() == before
        assert list(folder.iterdir()) == [home]
    tally("Google's, mounted alone and read-only", exit=done.code, requests=2)
    assert soak.lives(login)


def test_full_disk(soak, place, login, tally, size):
    """On disks of all sizes: either there is room for the answer beforehand, or nothing is sent."""
    folder = (soak.machine.home / login.home).parent
    kept = soak.directory / "kept"
    too_small = large_enough = 0
    for kib in range(SMALLEST_DISK_KIB, 1024, size.disk_step_kib):
        soak.forget()
        shutil.rmtree(kept, ignore_errors=True)
        done = place(
            "token",
            login.name,
            "--refresh",
            prepare=f"""
cp -a '{folder}' '{kept}'
mount -t tmpfs -o size={kib}k,mode=700 tmpfs '{folder}'
cp -a --sparse=always '{kept}/.' '{folder}'
""",
            afterwards=f"cp -a '{folder}/.' '{kept}'",
        )
        requests = soak.refreshes(login)
        if done.code == 0:
            large_enough += 1
            assert len(requests) == 1
        else:
            too_small += 1
            assert_not_spent(soak, login, done, "No space left on device", "make room on")
        shutil.copytree(kept, folder, dirs_exist_ok=True, copy_function=shutil.copy2)
        assert soak.lives(login), f"lost on a disk of {kib} KiB"
    tally(f"full disks: {login.realm}", too_small=too_small, large_enough=large_enough, lost=0)
    assert too_small
    assert large_enough


def test_full_cache(soak, place, login, tally):
    """Records are dispensable: where none can be written, tokens are served nevertheless."""
    cache = soak.machine.home / ".cache" / "earthkey"
    full = f"""
mount -t tmpfs -o size=4k,mode=700 tmpfs '{cache}'
head -c 4096 /dev/zero >'{cache}/full'
"""
    for _ in range(3):
        done = place("token", login.name, "--refresh", prepare=full)
        assert done.code == 0, done
    assert len(soak.refreshes(login)) == 3
    tally(f"a full cache: {login.realm}", exit=done.code, requests=3)
    assert soak.lives(login)


@pytest.fixture
def users():
    """Runs a program as another user; only root can."""
    setpriv = shutil.which("setpriv")
    assert setpriv, "setpriv is not in PATH: install util-linux"
    assert os.geteuid() == 0, "whose file it is can be tested by root alone: run the tests as root"
    return (setpriv, f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups")


def test_file_of_somebody_else(soak, users, login, tally):
    """Root may write it, and would make it root's own."""
    home = soak.machine.home / login.home
    os.chown(home, OTHER_USER, OTHER_USER)
    done = soak.run("token", login.name, "--refresh")
    assert_not_spent(soak, login, done, "belongs to somebody else", "sign in as yourself")
    assert home.stat().st_uid == OTHER_USER
    os.chown(home, 0, 0)
    tally(f"another's file: {login.realm}", exit=done.code, requests=0)
    assert soak.lives(login)


@pytest.fixture
def open_machine(soak):
    """Moves the machine to where every user can go, and the program with it."""
    with tempfile.TemporaryDirectory(prefix="earthkey-soak-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        for program in (soak.program, soak.cli):
            shutil.copy2(program, root)
        yield root


def test_folder_of_somebody_else(soak, users, login, tally, open_machine):
    """Another user, who was let into the home: what he cannot replace he does not refresh."""
    home = open_machine / "home"
    shutil.copytree(soak.machine.home, home, symlinks=True)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    token = home / login.home
    os.chown(token, OTHER_USER, OTHER_USER)
    token.chmod(0o600)

    def other(*args):
        program = (*users[1:], open_machine / "earthkey")
        return soak.run(*program, *args, program=users[0], HOME=str(home))

    done = other("token", login.name, "--refresh")
    assert (done.code, done.stdout) == (7, ""), done
    assert HINT in done.stderr
    assert soak.refreshes(login) == []
    # The same with all of it his own: it was the folder.
    for path in [home, *home.rglob("*")]:
        os.chown(path, OTHER_USER, OTHER_USER)
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert other("token", login.name, "--refresh").code == 0
    assert len(soak.refreshes(login)) == 1
    tally(f"another's folder: {login.realm}", exit=done.code, requests=0)


def test_suspend(soak, place, login, tally):
    """The clock that runs during suspend says that a token has ended, whatever the other says."""
    first = soak.run("token", login.name).stdout.strip()
    soon = place("token", login.name, asleep=60)
    assert soon.stdout.strip() == first
    assert soak.refreshes(login) == []
    late = place("token", login.name, asleep=LONG + 1)
    assert late.code == 0, late
    assert late.stdout.strip() != first
    assert len(soak.refreshes(login)) == 1
    tally(f"asleep past a token's life: {login.realm}", requests=1, served_past_its_life=0)


@pytest.fixture
def clock():
    """Returns the environment in which the wall clock is wrong by so much."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert found, "libfaketime is not there: run scripts/setup-tests"

    def wrong_by(offset):
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME": offset,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    return wrong_by


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_clock_corrected_after_login(soak, clock, kind, offset, tally):
    """What was issued under a wrong clock is not judged by it once the clock is right."""
    if offset == "-1h" and kind != EARTHSCOPE:
        # Who is told by an ID token that it is from the future stores nothing.
        with pytest.raises(AssertionError, match="check that the clock is right"):
            soak.sign_in(kind, lifetime=1800, **clock(offset))
        assert not (soak.machine.home / kind.home).exists()
        return
    soak.sign_in(kind, lifetime=1800, **clock(offset))
    done = soak.run("token", kind.name)
    assert done.code == 0, done
    assert is_valid(done.stdout.strip())
    requests = soak.refreshes(kind)
    tally(f"clock wrong by {offset} at login: {kind.realm}", requests=len(requests))
    assert len(requests) <= 1
    # What a record of another hour says of a token's end is not believed either.
    [shown] = [status for status in soak.status() if status["login"] == kind.name]
    assert abs(shown["expires_at"] - claims(done.stdout.strip())["exp"]) <= 5


@pytest.mark.full
def test_clock_corrected_after_refusal(soak, clock, tally):
    """A refusal of the future is no reason not to ask now."""
    login = EARTHSCOPE
    soak.sign_in_and_expire(login)
    soak.sandbox.revoke(login.realm)
    assert soak.run("token", login.name, **clock("+1h")).code == 4
    assert soak.run("token", login.name).code == 4
    assert len(soak.refreshes(login)) == 2
    assert soak.run("token", login.name).code == 4
    assert len(soak.refreshes(login)) == 2
    tally("refused under a clock an hour ahead", requests=2)
