"""Proofs by many processes: how many, on which logins, and a table of what came out.

The tests of kills, herds and places run at a small size with all others, and at full size by
`scripts/soak`. This module is a plugin of pytest: it brings their options, fixtures and table.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from conftest import Earthkey, Sandbox, Secrets, claims
from machine import DEADLINE, Finished, Machine
from person import Person

LONG = 3600
"""Seconds that an access token lives where its end is not what a test is about."""

SLOT_SIZE = 256 * 1024
HEADER_SIZE = 64
STATES = ("idle", "intent", "answered", "landed")
LEDGERS_APART = ".local/state/earthkey/ledgers"


@dataclass(frozen=True)
class Size:
    """How much of each thing is done."""

    is_full: bool
    random_kills: int
    herd: int
    callers: int
    ours: int
    theirs: int
    rounds: int
    disk_step_kib: int


SMALL = Size(
    is_full=False,
    random_kills=20,
    herd=8,
    callers=50,
    ours=2,
    theirs=2,
    rounds=1,
    disk_step_kib=64,
)
FULL = Size(
    is_full=True,
    random_kills=500,
    herd=32,
    callers=1000,
    ours=4,
    theirs=4,
    rounds=6,
    disk_step_kib=4,
)


class Login(NamedTuple):
    """A login whose home is of a kind of its own."""

    name: str
    realm: str
    token_path: str
    home: str
    """Its file, below the home directory."""
    options: tuple[str, ...] = ()
    """What to give to `earthkey login` besides the name; `{}` is the sandbox."""
    rotates: bool = True
    """Whether a refresh token is spent by its use; where none is, the ledger lies apart."""

    def ledger(self, machine: Machine) -> Path:
        """Returns the path of the one ledger of the home."""
        home = machine.home / self.home
        folder = home.parent if self.rotates else machine.home / LEDGERS_APART
        [ledger] = folder.glob(f".{home.name}*.earthkey-ledger")
        return ledger


EARTHSCOPE = Login("earthscope", "earthscope", "/oauth/token", ".earthscope/default/tokens.json")
OPENEO = Login(
    "openeo",
    "openeo",
    "/openeo-id/token",
    ".local/share/openeo-python-client/refresh-tokens.json",
    ("{}/openeo",),
)
OIDC = Login(
    "oidc/work",
    "oidc",
    "/oidc/token",
    ".local/state/earthkey/oidc/work.json",
    ("https://login.example.org",),
)
GOOGLE = Login(
    "google",
    "google",
    "/google/oauth2.googleapis.com/token",
    ".config/gcloud/application_default_credentials.json",
    ("--flow", "loopback:0", "--no-quota-project"),
    rotates=False,
)
EARTHENGINE = Login(
    "earthengine",
    "google",
    "/google/oauth2.googleapis.com/token",
    ".config/earthengine/credentials",
    ("--flow", "loopback:0"),
    rotates=False,
)
LOGINS = {login.realm: login for login in (EARTHSCOPE, OPENEO, OIDC, GOOGLE)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="kills, herds and places at full size")
    parser.addoption("--seed", type=int, help="of the moments at which processes are killed")


TABLE = pytest.StashKey[list[tuple[str, dict[str, Any]]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out, and counts as deselected, what is only done at full size."""
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[TABLE]
    if not config.getoption("--full") or not rows:
        return
    terminalreporter.section("what came out")
    width = max(len(what) for what, _ in rows)
    for what, counts in rows:
        told = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
        terminalreporter.line(f"{what:<{width}}  {told}")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    return FULL if request.config.getoption("--full") else SMALL


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Adds a row to the table of results: what it is about, and counts by name."""

    def add(what: str, **counts: Any) -> None:
        request.config.stash[TABLE].append((what, counts))
        # Shown by pytest where the test fails.
        print(what, counts)

    return add


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--seed")
    return random.SystemRandom().randrange(2**32) if given is None else given


class Soak:
    """A machine whose logins are tried hard, and the sandbox that counts."""

    def __init__(
        self,
        earthkey: Earthkey,
        machine: Machine,
        sandbox: Sandbox,
        secrets: Secrets,
        directory: Path,
    ) -> None:
        self.program = earthkey.program
        self.cli = earthkey.program.with_name("earthkey-cli")
        self.machine = machine
        self.sandbox = sandbox
        self.directory = directory
        self._earthkey = earthkey
        self._secrets = secrets
        self._session = requests.Session()
        self._session.trust_env = False
        self._port = int(sandbox.url.rsplit(":", 1)[1])
        self._connected = connected_to(self._port)

    def sign_in(self, login: Login, lifetime: int = LONG, **environment: str) -> None:
        """Signs a person in, whose access token lives for so many seconds; later ones live long."""
        self.sandbox.settings(login.realm, access_token_lifetime=lifetime, device_interval=0)
        options = [option.format(self.sandbox.url) for option in login.options]
        self._earthkey.login(login.name, *options, person=Person(), **environment)
        self.sandbox.settings(login.realm, access_token_lifetime=LONG)
        self.forget()

    def sign_in_and_expire(self, login: Login) -> None:
        """Signs a person in, whose access token has ended when it comes."""
        self.sign_in(login, lifetime=0)

    def run(self, *args: str | Path, program: Path | None = None, **environment: str) -> Finished:
        """Runs our program to its end."""
        done = self.machine.run(program or self.program, *args, environment=environment)
        if done.stderr:
            self._secrets.watch(f"earthkey {' '.join(map(str, args))} (stderr)", done.stderr)
        return done

    def lives(self, login: Login) -> bool:
        """Returns whether the login can still be refreshed; whoever cannot is told to sign in."""
        done = self.run("token", login.name, "--refresh")
        if done.code == 0:
            return True
        assert done.code == 4 and "earthkey login" in done.stderr, done
        return False

    def accepts(self, token: str) -> bool:
        """Returns whether a token is still good; Google's say so of themselves to Google alone."""
        if not token.startswith("ya29."):
            return is_valid(token)
        url = f"{self.sandbox.url}/google/oauth2.googleapis.com/tokeninfo"
        return self._session.post(url, data={"access_token": token}, timeout=DEADLINE).ok

    def status(self) -> list[dict[str, Any]]:
        """Returns what is told of all logins."""
        return json.loads(self.run("status", "--json").stdout)

    def refreshes(self, login: Login) -> list[dict[str, Any]]:
        """Returns the refresh requests of a login's realm so far."""
        log = self._session.get(f"{self.sandbox.url}/_control/requests", timeout=DEADLINE).json()
        return [
            entry
            for entry in log
            if entry["realm"] == login.realm and entry["grant_type"] == "refresh_token"
        ]

    def forget(self) -> None:
        """Forgets the requests so far, and whoever is connected to the sandbox now."""
        answer = self._session.delete(f"{self.sandbox.url}/_control/requests", timeout=DEADLINE)
        assert answer.ok, answer.text
        self._connected = connected_to(self._port)

    def fault(self, login: Login, **fault: Any) -> None:
        """Lets the next refreshes of a login go wrong."""
        body = {"path": login.token_path, "grant_type": "refresh_token"} | fault
        url = f"{self.sandbox.url}/_control/faults"
        answer = self._session.post(url, json=body, timeout=DEADLINE)
        assert answer.ok, answer.text

    def forget_faults(self) -> None:
        """Forgets the faults that have not happened."""
        answer = self._session.delete(f"{self.sandbox.url}/_control/faults", timeout=DEADLINE)
        assert answer.ok, answer.text

    def settle(self) -> None:
        """Returns once the sandbox has dealt with everybody who came since `forget`."""
        until(
            lambda: connected_to(self._port) <= self._connected,
            "the sandbox never closed its connections",
        )

    @contextlib.contextmanager
    def stopped_sandbox(self) -> Iterator[None]:
        """Stops the sandbox: what is sent to it waits in the kernel, and so does who sent it."""
        os.kill(self.sandbox.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.sandbox.pid, signal.SIGCONT)

    def herd(
        self, count: int, *args: str, each: Callable[[int], Mapping[str, str]] | None = None
    ) -> list[Finished]:
        """Runs a command in many processes at once and returns what they left behind.

        No answer is given before one of them has asked for it and all others have said that they
        wait for that one.
        """
        with Crowd(self.machine, self.directory) as crowd:
            with self.stopped_sandbox():
                for number in range(count):
                    crowd.add(self.program, *args, environment=each(number) if each else None)
                crowd.go()
                until(
                    lambda: sum("waiting for " in words for words in crowd.errors()) == count - 1,
                    "not everybody came to wait",
                )
            done = crowd.wait()
        for one in done:
            self._secrets.watch(f"one of a herd: {' '.join(args)} (stderr)", one.stderr)
        return done


@pytest.fixture
def soak(
    earthkey: Earthkey, machine: Machine, sandbox: Sandbox, secrets: Secrets, tmp_path: Path
) -> Soak:
    machine.environment |= {
        "EARTHKEY_SANDBOX": sandbox.url,
        "ES_OAUTH2__DOMAIN": sandbox.url,
        "ES_RESOURCES__API_URL": sandbox.url,
        "ES_OAUTH2__ALLOWED_HOSTS": '["127.0.0.1"]',
    }
    return Soak(earthkey, machine, sandbox, secrets, tmp_path)


class Crowd:
    """Processes that wait at one line until they are let go together."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self._machine = machine
        self._directory = directory / f"crowd-{time.monotonic_ns()}-{id(self)}"
        self._directory.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._line, self._start = os.pipe()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.go()
        os.close(self._line)
        for process in self._processes:
            process.kill()
            process.wait()

    def add(
        self,
        *argv: str | Path,
        environment: Mapping[str, str] | None = None,
        waits_itself: bool = False,
    ) -> None:
        """Starts a process that begins when the line is lifted.

        One that `waits_itself` reads its standard input, prepares before and prints `ready`.
        """
        number = len(self._processes)
        at_line = [] if waits_itself else ["/bin/sh", "-c", 'read -r _; exec "$@"', "sh"]
        with (
            self._file(number, "stdout").open("wb") as stdout,
            self._file(number, "stderr").open("wb") as stderr,
        ):
            process = subprocess.Popen(
                [*at_line, *map(str, argv)],
                stdin=self._line,
                stdout=stdout,
                stderr=stderr,
                env=self._machine.environment | dict(environment or {}),
                cwd=self._machine.home,
                start_new_session=True,
            )
        self._processes.append(process)

    def go(self) -> None:
        """Lifts the line."""
        if self._start is not None:
            os.close(self._start)
            self._start = None

    def errors(self) -> list[str]:
        """Returns what each has written to standard error by now."""
        return [self._text(number, "stderr") for number in range(len(self._processes))]

    def until_ready(self) -> None:
        """Returns once everybody who prepares has said `ready`."""

        def all_are() -> bool:
            return all(
                "ready" in self._text(number, "stdout")
                for number, process in enumerate(self._processes)
                if process.args[0] != "/bin/sh"
            )

        until(all_are, "not everybody became ready")

    def wait(self) -> list[Finished]:
        """Waits for all and returns what they left behind."""
        for process in self._processes:
            process.wait(timeout=2 * DEADLINE)
        return [
            Finished(process.returncode, self._text(number, "stdout"), self._text(number, "stderr"))
            for number, process in enumerate(self._processes)
        ]

    def _file(self, number: int, stream: str) -> Path:
        return self._directory / f"{number}.{stream}"

    def _text(self, number: int, stream: str) -> str:
        return self._file(number, stream).read_text()


def until(condition: Callable[[], object], otherwise: str, pause: float = 0.01) -> None:
    """Returns once something has come about that is under way."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{otherwise} in {DEADLINE:.0f} s"
        time.sleep(pause)


def state_of(ledger: Path) -> str:
    """Returns how far the ledger says that the last attempt has come."""
    newest = (0, "idle")
    content = ledger.read_bytes() if ledger.exists() else b""
    for start in (0, SLOT_SIZE):
        header = content[start : start + HEADER_SIZE]
        if not header.startswith(b"EKLEDGR1"):
            continue
        length = int.from_bytes(header[24:28], "little")
        try:
            # A killed writer may have got no further than the header.
            json.loads(content[start + HEADER_SIZE : start + HEADER_SIZE + length])
        except ValueError:
            continue
        newest = max(newest, (int.from_bytes(header[16:24], "little"), STATES[header[12]]))
    return newest[1]


def is_valid(token: str) -> bool:
    """Returns whether a JWT has not expired by this machine's clock."""
    return claims(token)["exp"] > time.time()


def connected_to(port: int) -> set[str]:
    """Returns who is connected to a server of this machine, whether or not they still live."""
    listens, waits = "0A", "06"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        row[2] for row in rows if row[1].endswith(f":{port:04X}") and row[3] not in (listens, waits)
    }
