"""A refresh killed at every system call, and at any moment: no login is lost by it."""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import time
from collections import Counter

import certifi
import pytest

from machine import DEADLINE
from soak import LOGINS, Login, Soak, state_of
from strace import OPTIONS, Call, Trace

TELLING = frozenset(
    "connect exit_group fallocate fdatasync fsync ftruncate link mkdir pwrite64 "
    "renameat renameat2 rename sendto unlink write writev".split()
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
the provider gives a second chance."""

STAGES = ("unsent", "in flight", "window", "kept")

GRACE = 30


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
    """Runs a refresh, a forced one unless told otherwise, under strace, killed at the door of one call if
    one is named."""
    strace = shutil.which("strace")
    assert strace, "strace is not in PATH: run scripts/setup-tests"
    trace = soak.directory / "trace"

    def run(
        login: Login, kill_at: Call | None = None, *, is_light: bool = False, is_forced: bool = True
    ) -> Trace:
        # Stopped at these calls alone, the process runs nearly as fast as without strace.
        inject = ["--seccomp-bpf", "-e", "trace=writev,recvfrom,pwrite64"] if is_light else []
        if kill_at:
            inject = ["-e", f"inject={kill_at.name}:signal=KILL:when={kill_at.number}"]
        refresh = (soak.cli, "token", login.name, *["--refresh"] * is_forced)
        done = soak.machine.run(strace, *OPTIONS, "-o", trace, *inject, *refresh)
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
        if refused > (stage in MAY_LOSE):
            self.faults.append(f"{where}: {refused} uses of a spent token in stage {stage}")
        self.refused[stage] += refused
        if not lives:
            self.lost[stage] += 1
            if stage not in MAY_LOSE:
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
    if "grace" in metafunc.fixturenames:
        # With a grace period less can go wrong; that is left to the full size.
        metafunc.parametrize("grace", [0, GRACE] if metafunc.config.getoption("--full") else [0])


@pytest.mark.parametrize("realm", LOGINS)
def test_killed_at_every_call(soak, traced, tally, size, realm, grace):
    """Every call but the first, `execve`: before that, there is no process of ours."""
    login = LOGINS[realm]
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

    tally(
        f"killed at every call: {realm}, grace {grace} s",
        calls=len(recorded.calls),
        **kills.told(),
        missed=len(missed),
        window_ms=f"{median_ms(light)} ({median_ms(windows)} with every call traced)",
    )
    assert not kills.faults, "\n".join(kills.faults)
    assert covered.keys() >= STEPS, f"not killed at {STEPS - covered.keys()}"
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


def test_killed_at_random(soak, one_root, tally, size, seed):
    chance = random.Random(seed)
    kills = Kills(soak)
    logins = list(LOGINS.values()) if size.is_full else [LOGINS["earthscope"]]
    longest = {}
    for login in logins:
        soak.sign_in(login)
        times = []
        for _ in range(5):
            start = time.monotonic()
            assert soak.lives(login)
            times.append(time.monotonic() - start)
        longest[login] = 1.2 * statistics.median(times)

    finished = 0
    for number in range(size.random_kills):
        login = chance.choice(logins)
        moment = chance.uniform(0, longest[login])
        soak.forget()
        with subprocess.Popen(
            [soak.cli, "token", login.name, "--refresh"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=soak.machine.environment,
            cwd=soak.machine.home,
        ) as process:
            time.sleep(moment)
            process.kill()
            finished += process.wait(timeout=DEADLINE) == 0
        soak.settle()
        state = state_of(login.ledger(soak.machine))
        if not soak.refreshes(login):
            stage = "unsent"
        else:
            # Its answer may have come, too: only a trace tells the two apart.
            stage = "in flight" if state == "intent" else "kept"
        kills.follow(login, stage, f"seed {seed}, kill {number} of {login.name} at {moment:.4f} s")

    tally(f"killed at random, seed {seed}", **kills.told(), of_these_finished=finished)
    assert not kills.faults, "\n".join(kills.faults)
