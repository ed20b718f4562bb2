"""A refresh killed at every system call, and at any moment: no login is lost by it. A logout killed
so: the login works or is gone, and another logout leaves nothing of it."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import statistics
import subprocess
import time
from collections import Counter
from pathlib import Path

import certifi
import pytest

from machine import DEADLINE
from soak import LOGINS, LONG, OPENEO, Login, Soak, state_of, until
from strace import OPTIONS, Call, Trace

TELLING = frozenset(
    "connect exit_group fallocate fdatasync fsync ftruncate link mkdir pwrite64 "
    "renameat renameat2 rename sendto unlink unlinkat write writev".split()
)
"""Calls that others see something of. At small size the process is killed at these alone, and
for other logins than the first at the steps alone."""

STEPS = frozenset(
    {
        "intent written",
        "intent synced",
        "answer written",
        "answer synced",
        "exchanged",
        "landed written",
        "landed synced",
    }
)

MAY_LOSE = frozenset({"in flight", "window"})
"""Where an answer that nobody else can have dies with the process, and with it the login, unless
the provider gives a second chance or replaces no token."""

STAGES = ("unsent", "in flight", "window", "kept")

LIGHT = ("--seccomp-bpf", "-e", "trace=execve,writev,recvfrom,pwrite64")
"""Stopped at these calls alone, a process runs nearly as fast as without strace."""

GRACE = 30

NEIGHBOUR = {
    "https://issuer.test": {
        "client": {"date": "2024-01-01T00:00:00Z", "refresh_token": "the-token-of-another-back-end"}
    }
}
"""What another back-end's login is in openEO's file."""


@pytest.fixture
def one_root(machine, tmp_path):
    """Trusts one authority, since a thousand reads of certificates are nothing of a refresh."""
    end = "-----END CERTIFICATE-----\n"
    first = tmp_path / "authority.pem"
    with open(certifi.where(), encoding="utf-8") as bundle:
        first.write_text(bundle.read().partition(end)[0] + end)
    machine.environment["SSL_CERT_FILE"] = str(first)


@pytest.fixture
def traced(soak, one_root):
    """Runs a command under strace, killed at the door of one call if one is named: a refresh, a
    forced one unless told otherwise, or a logout."""
    strace = shutil.which("strace")
    assert strace, "strace is not in PATH: run scripts/setup-tests"
    trace = soak.directory / "trace"

    def run(
        login: Login,
        kill_at: Call | None = None,
        *,
        is_light: bool = False,
        is_forced: bool = True,
        is_logout: bool = False,
    ) -> Trace:
        inject = LIGHT if is_light else []
        if kill_at:
            inject = ["-e", f"inject={kill_at.name}:signal=KILL:when={kill_at.number}"]
        command = ["logout", login.name, "--yes"]
        if not is_logout:
            command = ["token", login.name, *["--refresh"] * is_forced]
        done = soak.machine.run(strace, *OPTIONS, "-o", trace, *inject, soak.cli, *command)
        assert done.code == (-9 if kill_at else 0) or kill_at and done.code == 0, done
        return Trace(trace, login.token_path, was_killed=done.code != 0)

    return run


def is_telling(call: Call, labels: dict[tuple[str, int], str], realm: str) -> bool:
    """Returns whether the process is killed at this call at small size, too."""
    return (call.name, call.number) in labels or (realm == "earthscope" and call.name in TELLING)


def median_ms(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.2f}"


class Kills:
    """What came of killed processes, by how far they had come."""

    def __init__(self, soak: Soak) -> None:
        self._soak = soak
        self.stages = Counter()
        self.lost = Counter()
        self.refused = Counter()
        self.faults: list[str] = []

    def follow(self, login: Login, stage: str, where: str) -> None:
        """Goes on as whoever comes next, and notes whether the login was lost."""
        soak = self._soak
        may_lose = login.rotates and stage in MAY_LOSE
        # A request that the dead had sent would take effect in the next one's time.
        soak.settle()
        self.stages[stage] += 1
        served = soak.run("token", login.name)
        lives = soak.lives(login)
        requests = soak.refreshes(login)
        refused = sum(entry["status"] not in (200, None) for entry in requests)
        if served.code != 0:
            self.faults.append(f"{where}: the next call failed: {served}")
        if len(requests) > 3:
            self.faults.append(f"{where}: {len(requests)} requests")
        if refused > may_lose:
            self.faults.append(f"{where}: {refused} uses of a spent token in stage {stage}")
        self.refused[stage] += refused
        if not lives:
            self.lost[stage] += 1
            if not may_lose:
                self.faults.append(f"{where}: the login is lost in stage {stage}")
            soak.sign_in(login)

    def told(self) -> dict[str, int]:
        return {
            "killed": self.stages.total(),
            **{stage: self.stages[stage] for stage in STAGES},
            "lost_there": f"{[self.lost[stage] for stage in STAGES]}",
            "spent_token_used": f"{[self.refused[stage] for stage in STAGES]}",
        }


def pytest_generate_tests(metafunc):
    is_full = metafunc.config.getoption("--full")
    if "grace" in metafunc.fixturenames:
        # With a grace period less can go wrong; that is left to the full size. Where no token is
        # spent, there is nothing to forgive.
        forgiving = [GRACE] if is_full else []
        cases = [
            (realm, grace)
            for realm, login in LOGINS.items()
            for grace in (0, *(forgiving if login.rotates else []))
        ]
        metafunc.parametrize(("realm", "grace"), cases)
    if "ended" in metafunc.fixturenames:
        # A home of its own, and one with other logins in it.
        metafunc.parametrize("ended", LOGINS if is_full else ["earthscope", "openeo", "oidc"])


def test_killed_at_every_call(soak, traced, tally, size, realm, grace):
    """Every call but the first, `execve`: before that, there is no process of ours."""
    login = LOGINS[realm]
    if login.rotates:
        soak.sandbox.settings(realm, grace_seconds=grace)
    soak.sign_in(login)
    # The first refresh says, once, that the provider replaces tokens; the others are all alike.
    traced(login)
    recorded = traced(login)
    labels = recorded.labels()
    assert len({call.thread for call in recorded.calls}) == 1, "a refresh has several threads"
    assert recorded.stage == "kept"
    plan = recorded.calls[1:]
    if not size.is_full:
        plan = [call for call in plan if is_telling(call, labels, realm)]
    light = [traced(login, is_light=True).window for _ in range(50 if size.is_full else 3)]

    kills = Kills(soak)
    windows = []
    missed = []
    covered = Counter()
    for call in plan:
        soak.forget()
        trace = traced(login, call)
        died_at = trace.died_at
        if died_at is None or (died_at.name, died_at.number) != (call.name, call.number):
            missed.append(f"{call.name} {call.number}")
        else:
            covered[trace.labels().get((call.name, call.number))] += 1
        if trace.window is not None:
            windows.append(trace.window)
        kills.follow(login, trace.stage, f"{call.name} {call.number}, ledger: {trace.state}")

    forgiven = f"grace {grace} s" if login.rotates else "no rotation"
    tally(
        f"killed at every call: {realm}, {forgiven}",
        calls=len(recorded.calls),
        **kills.told(),
        missed=len(missed),
        window_ms=f"{median_ms(light)} ({median_ms(windows)} with every call traced)",
    )
    assert not kills.faults, "\n".join(kills.faults)
    # What is not replaced is not exchanged.
    steps = STEPS if login.rotates else STEPS - {"exchanged"}
    assert covered.keys() >= steps, f"not killed at {steps - covered.keys()}"
    # How often it looks whether there is something to read is the one thing that varies.
    assert all(call.startswith("epoll_wait ") for call in missed), missed
    if grace:
        assert not kills.lost


@pytest.mark.parametrize("first", ["answer synced", "exchanged", "after the exchange"])
def test_killed_again_while_recovering(soak, traced, tally, size, first):
    """The answer is kept when the first dies; the next dies at every call that brings it home."""
    login = LOGINS["earthscope"]
    soak.sign_in(login)
    traced(login)
    recorded = traced(login)
    labels = recorded.labels()
    places = {labels.get((call.name, call.number)): place for place, call in enumerate(recorded.calls)}
    place = places["exchanged"] + 1 if first == "after the exchange" else places[first]

    def die() -> None:
        soak.forget()
        trace = traced(login, recorded.calls[place])
        assert trace.died_at is not None and trace.state == "answered"

    die()
    recovery = traced(login, is_forced=False)
    assert recovery.state == "landed", "the next call brings the answer home"
    plan = recovery.calls[1:]
    if not size.is_full:
        plan = [call for call in plan if is_telling(call, recovery.labels(), login.realm)]
    kills = Kills(soak)
    died = 0
    for call in plan:
        die()
        died += traced(login, call, is_forced=False).died_at is not None
        kills.follow(login, "kept", f"first {first}, then {call.name} {call.number}")
    tally(f"killed again while recovering: {first}", calls=len(recovery.calls), **kills.told(), died=died)
    assert not kills.faults, "\n".join(kills.faults)
    assert died == len(plan)


def refresh_tokens(content: object) -> set[str]:
    """Returns the refresh tokens in what a home holds."""
    if not isinstance(content, dict):
        return set()
    own = content.get("refresh_token")
    below = (refresh_tokens(part) for part in content.values())
    return ({own} if isinstance(own, str) else set()).union(*below)


def left_of(tokens: set[str], directory: Path) -> list[str]:
    """Returns what is left of a login that was to be ended: files that hold its refresh tokens, and
    files that are made for a moment."""
    left = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if path.name.endswith(".earthkey-new"):
            left.append(f"{name} is there")
        if path.is_file() and any(token.encode() in path.read_bytes() for token in tokens):
            left.append(f"{name} holds a refresh token")
    return left


def test_logout_killed_at_every_call(soak, traced, tally, size, ended):
    """After each death the login works whole or is gone, and a second logout leaves nothing of it:
    whoever signs out has reason to believe that, whatever came in between.

    Each death meets the same files: a copy of them is kept and put back. That the login can be refreshed
    is tried in another copy, since a refresh would tidy up what the second logout has to find by itself.
    For that the provider forgives that one token is used again and again; a logout uses none.
    """
    login = LOGINS[ended]
    home = soak.machine.home / login.home
    soak.sign_in(login)
    if login.rotates:
        soak.sandbox.settings(login.realm, grace_seconds=LONG)
    tokens = refresh_tokens(json.loads(home.read_text()))
    assert soak.lives(login)
    tokens |= refresh_tokens(json.loads(home.read_text()))
    assert len(tokens) == 1 + login.rotates
    beside = NEIGHBOUR if login == OPENEO else {}
    if beside:
        home.write_text(json.dumps(json.loads(home.read_text()) | beside))
    kept, tried = soak.directory / "kept", soak.directory / "tried"
    shutil.copytree(soak.machine.home, kept)

    def put(directory: Path, to: Path) -> None:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(directory, to)

    recorded = traced(login, is_logout=True)
    assert len({call.thread for call in recorded.calls}) == 1, "a logout has several threads"
    plan = recorded.calls[1:]
    if not size.is_full:
        plan = [call for call in plan if call.name in TELLING]
    came_to = Counter()
    faults = []
    for call in plan:
        where = f"{call.name} {call.number}"
        put(kept, soak.machine.home)
        # What is served again is on record: the record must not outlive the login.
        assert soak.run("token", login.name).code == 0
        tokens |= refresh_tokens(json.loads(home.read_text())) - refresh_tokens(beside)
        died_at = traced(login, call, is_logout=True).died_at
        assert died_at and f"{died_at.name} {died_at.number}" == where, f"not killed at {where}"
        put(soak.machine.home, tried)
        code = soak.run("token", login.name).code
        came_to[code] += 1
        if code not in (0, 3):
            faults.append(f"{where}: a call for a token ends with {code}")
        if code == 0:
            refreshed = soak.run("token", login.name, "--refresh", HOME=str(tried))
            if refreshed.code != 0:
                faults.append(f"{where}: what is left cannot be refreshed: {refreshed}")
        again = soak.run("logout", login.name, "--yes")
        if again.code != 0:
            faults.append(f"{where}: the second logout failed: {again}")
        faults += [f"{where}: {left}" for left in left_of(tokens, soak.machine.home)]
        found = json.loads(home.read_text()) if home.exists() else {}
        if found != beside:
            faults.append(f"{where}: of others, the home holds {sorted(found)}")

    tally(
        f"logout killed at every call: {login.realm}",
        calls=len(recorded.calls),
        killed=came_to.total(),
        signed_in_then=came_to[0],
        signed_out_then=came_to[3],
        faults=len(faults),
    )
    assert not faults, "\n".join(faults)
    assert came_to[0] and came_to[3]


@pytest.fixture
def watched(soak, one_root):
    """Runs a refresh that is killed so many seconds after it began, unless it has ended by then, and
    returns its trace, how long it took and whether it was killed."""
    strace = shutil.which("strace")
    assert strace, "strace is not in PATH: run scripts/setup-tests"
    path = soak.directory / "trace"

    def run(login: Login, moment: float = DEADLINE) -> tuple[Trace, float, bool]:
        path.write_bytes(b"")
        # The tracer is a grandchild, so that who is started, and killed, is ours. When nobody has the
        # pipe any more, the tracer has written all down and is gone.
        seen, lives = os.pipe()
        with subprocess.Popen(
            [strace, "-D", *OPTIONS, *LIGHT, "-o", path, soak.cli, "token", login.name, "--refresh"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=soak.machine.environment,
            cwd=soak.machine.home,
            pass_fds=[lives],
        ) as process:
            os.close(lives)
            # Before this, it is not ours yet but strace.
            until(lambda: path.stat().st_size, "no call was written down", pause=0.0002)
            begin = time.monotonic()
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.kill()
            code = process.wait(timeout=DEADLINE)
        took = time.monotonic() - begin
        is_told, _, _ = select.select([seen], [], [], DEADLINE)
        os.close(seen)
        assert is_told, "the tracer does not end"
        assert code in (0, -9), code
        return Trace(path, login.token_path, was_killed=code != 0), took, code != 0

    return run


def test_killed_at_random(soak, watched, tally, size, seed):
    """Each stage is told by what the process itself had read and written, as the trace has it. Of a
    call that it died in the trace does not tell the effect: that the ledger and the provider know."""
    chance = random.Random(seed)
    kills = Kills(soak)
    logins = list(LOGINS.values()) if size.is_full else [LOGINS["earthscope"]]
    longest = {}
    for login in logins:
        soak.sign_in(login)
        longest[login] = 1.2 * statistics.median(watched(login)[1] for _ in range(5))

    finished = 0
    for number in range(size.random_kills):
        login = chance.choice(logins)
        moment = chance.uniform(0, longest[login])
        soak.forget()
        trace, _, was_killed = watched(login, moment)
        finished += not was_killed
        soak.settle()
        stage = trace.stage
        if stage == "unsent" and soak.refreshes(login):
            stage = "in flight"
        if stage in MAY_LOSE and state_of(login.ledger(soak.machine)) != "intent":
            stage = "kept"
        kills.follow(login, stage, f"seed {seed}, kill {number} of {login.name} at {moment:.4f} s")

    tally(f"killed at random, seed {seed}", **kills.told(), of_these_finished=finished)
    assert not kills.faults, "\n".join(kills.faults)
    if size.is_full:
        assert all(kills.stages[stage] for stage in STAGES), kills.stages
