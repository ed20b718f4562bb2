"""What a cached token costs, counted in system calls and page faults; never in time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, TARGET

MOST_FAULTS = 45
"""The bar for the front that is handed out; `/bin/true` takes about fifty."""

NAMES = ("--flow", "client-credentials", "--client-id", "sandbox-confidential", "--client-secret-stdin")


@pytest.fixture
def signed_in(earthkey, machine, sandbox) -> None:
    """One login, whose token is there."""
    machine.environment["EARTHKEY_SANDBOX"] = sandbox.url
    done = earthkey("login", "oidc/job", *NAMES, stdin="sandbox-secret")
    assert done.code == 0, done.stderr
    earthkey.token("oidc/job")


@pytest.fixture
def calls(machine, tmp_path) -> Callable[..., list[str]]:
    """Returns the names of the system calls of a program."""

    def run(*argv: str | Path) -> list[str]:
        trace = tmp_path / "trace"
        strace = ["/usr/bin/strace", "-f", "-s", "0", "-o", trace, *argv]
        subprocess.run(strace, env=machine.environment, stdout=subprocess.DEVNULL, check=True)
        lines = (line.split(maxsplit=1)[1] for line in trace.read_text().splitlines())
        return [line.split("(")[0] for line in lines if line[0].isalpha()]

    return run


def faults(argv: list[str], environment: dict[str, str]) -> int:
    """Returns the fewest page faults of several runs: where things lie differs from run to run."""
    counts = []
    for _ in range(20):
        nowhere = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
        process = os.posix_spawn(argv[0], argv, environment, file_actions=nowhere)
        _, status, usage = os.wait4(process, 0)
        assert status == 0
        counts.append(usage.ru_minflt)
    return min(counts)


@pytest.fixture
def static_front(tmp_path) -> Path:
    """The front as `scripts/dist` builds it, and as an installer leaves it: alone, and copied, since
    what a linker wrote lies otherwise in memory. Built here, so that what is measured is what is
    tested; that takes ten seconds after a change of the front, and nothing without one."""
    cargo = shutil.which("cargo")
    assert cargo, "cargo is not in PATH: the static front is built by the test"
    argv = [cargo, "rustc", "--locked", "--package", "earthkey-front", "--bin", "earthkey"]
    argv += ["--profile", "dist", "--", "-C", "target-feature=+crt-static"]
    built = TARGET / "static"
    environment = os.environ | {"CARGO_TARGET_DIR": str(built)}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"the static front could not be built: {done.stderr}\n"
        "it needs libc.a; on Debian: apt-get install libc6-dev"
    )
    return Path(shutil.copy(built / "dist" / "earthkey", tmp_path))


@pytest.mark.usefixtures("signed_in")
def test_static_front_takes_few_pages(machine, static_front):
    argv = [str(static_front), "token", "oidc/job"]
    found = faults(argv, machine.environment)
    print("page faults of the static front:", found)
    assert found <= MOST_FAULTS


@pytest.mark.usefixtures("signed_in")
def test_other_logins_cost_a_cached_token_nothing(earthkey, machine, calls):
    store = machine.home / ".local/state/earthkey/oidc"
    home = json.loads((store / "job.json").read_text())
    argv = [str(earthkey.program), "token", "oidc/job"]
    found = []
    made = 0
    for count in (1, 100, 10_000):
        for made in range(made, count - 1):
            (store / f"crowd-{made}.json").write_text(json.dumps(home))
        found.append((calls(*argv), faults(argv, machine.environment)))
    (alone, few), *others = found
    for among, many in others:
        assert among == alone
        # One page more or less is a matter of where the kernel puts things.
        assert abs(many - few) <= 2


@pytest.mark.usefixtures("signed_in")
def test_nobody_in_front_costs_no_runtime_either(earthkey, calls):
    in_front = calls(earthkey.program, "token", "oidc/job")
    cli = earthkey.program.with_name("earthkey-cli")
    alone = calls(cli, "token", "oidc/job")
    for name in ("epoll_create1", "socketpair", "clone3", "socket", "execve"):
        assert alone.count(name) == in_front.count(name), name
    # What asks for more than a record can answer goes the long way.
    assert "epoll_create1" in calls(cli, "token", "oidc/job", "--json")
