"""What every counterpart needs: a machine, our program, a person, and an eye on leaks."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from machine import DEADLINE, Finished, Machine, Terminal
from person import Person, Visit

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
VENV = TARGET / "venv" / "bin"
NODE_PACKAGES = TARGET / "node"

SERVER_ERRORS = "server.stderr"

PRINTS_A_TOKEN = frozenset({"token", "header", "exec", "export"})
"""The commands of ours whose purpose is to print one, on standard output alone."""

SECRET = re.compile(
    rb"""eyJ[\w-]+\.[\w-]+\.[\w-]+                     # JWS, compact form
    | sandbox-[\w-]{20,}                               # the sandbox's refresh tokens
    | "(?:\w+_token|client_secret|code_verifier|password)"\s*:\s*"([^"]{8,})"
    """,
    re.VERBOSE,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--earthkey",
        default=str(TARGET / "debug" / "earthkey"),
        help="the program under test (default: target/debug/earthkey)",
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A computer with an empty home."""
    return Machine(tmp_path / "home")


class Secrets:
    """Every secret that a test came to know, and where none of them may stand."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._known: set[str] = set()
        self._texts: list[tuple[str, str]] = []

    def know(self, *secrets: str) -> None:
        """Adds secrets that no file of the home holds."""
        self._known.update(secrets)

    def watch(self, origin: str, text: str) -> None:
        """Keeps a text that must hold no secret, and looks for new ones in the home."""
        self._texts.append((origin, text))
        for path in self._home.rglob("*"):
            # A file may be replaced or removed while the tree is walked.
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    self._know_all_in(path.read_bytes())

    def leaks(self) -> list[str]:
        """Returns one line for each text that holds the end of a secret."""
        return [
            f"{origin} shows a secret that ends in …{secret[-6:]}"
            for origin, text in self._texts
            for secret in sorted(self._known)
            if secret[-24:] in text
        ]

    def _know_all_in(self, content: bytes) -> None:
        for match in SECRET.finditer(content):
            self._known.add((match.group(1) or match.group(0)).decode(errors="replace"))


@pytest.fixture(autouse=True)
def secrets(machine: Machine) -> Iterator[Secrets]:
    """Fails the test afterwards if our program showed a token where none belongs."""
    secrets = Secrets(machine.home)
    yield secrets
    secrets.watch("", "")
    leaks = secrets.leaks()
    assert not leaks, "\n".join(leaks)


class Earthkey:
    """The program under test."""

    def __init__(self, program: Path, machine: Machine, secrets: Secrets) -> None:
        self.program = program
        self._machine = machine
        self._secrets = secrets

    def __call__(self, *args: str, stdin: str = "", **environment: str) -> Finished:
        """Runs a command with no terminal and returns its exit code and what it wrote."""
        done = self._machine.run(self.program, *args, stdin=stdin, environment=environment)
        told = f"earthkey {' '.join(args)}"
        if args and args[0] in PRINTS_A_TOKEN:
            if done.code == 0 and args[0] == "token" and "--json" not in args:
                self._secrets.know(done.stdout.strip())
        else:
            self._secrets.watch(f"{told} (stdout)", done.stdout)
        self._secrets.watch(f"{told} (stderr)", done.stderr)
        return done

    def token(self, *args: str, **environment: str) -> str:
        """Returns the access token that `earthkey token` prints, which must succeed."""
        done = self("token", *args, **environment)
        assert done.code == 0, done.stderr
        assert re.fullmatch(r"\S+\n", done.stdout), done.stdout
        return done.stdout.strip()

    def json(self, *args: str, **environment: str) -> Any:
        """Returns what a command prints with `--json`, which must succeed."""
        done = self(*args, "--json", **environment)
        assert done.code == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def terminal(self, *args: str, **environment: str) -> Iterator[Terminal]:
        """Runs a command on a terminal."""
        with self._machine.terminal(self.program, *args, environment=environment) as terminal:
            yield terminal
            # What a person typed comes back as echo; that is not the program speaking.
            shown = terminal.screen
            for line in terminal.typed:
                shown = shown.replace(line, "")
            self._secrets.watch(f"earthkey {' '.join(args)} (terminal)", shown)

    def login(self, *args: str, person: Person, **environment: str) -> tuple[Visit, str]:
        """Logs in as a person would who opens the printed page, and returns visit and screen."""
        with self.terminal("login", *args, "--no-browser", **environment) as terminal:
            terminal.expect(r"[Vv]isit\b")
            visit = person.visit(terminal.expect_url())
            code = terminal.finish()
        assert code == 0, terminal.screen
        return visit, terminal.screen


@pytest.fixture
def earthkey(request: pytest.FixtureRequest, machine: Machine, secrets: Secrets) -> Earthkey:
    """Our program, on the machine of this test."""
    program = Path(request.config.getoption("--earthkey")).resolve()
    assert os.access(program, os.X_OK), f"{program} is not there: run `cargo build` first"
    return Earthkey(program, machine, secrets)


class Sandbox:
    """A running `earthkey sandbox` and its control interface."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def settings(self, realm: str, **settings: str | int) -> None:
        """Changes how a realm behaves from now on."""
        self._control("settings", realm=realm, **settings)

    def revoke(self, realm: str) -> None:
        """Ends every login of a realm."""
        self._control("revoke", realm=realm)

    def grants(self, realm: str, grant_type: str, status: int = 200) -> int:
        """Returns how many token requests of this kind the realm has answered so."""
        return sum(
            entry.get("realm") == realm
            and entry.get("grant_type") == grant_type
            and entry.get("status") == status
            for entry in json.loads(self.requests())
        )

    def requests(self) -> str:
        """Returns the log of all requests, as the sandbox gives it."""
        return self._session.get(f"{self.url}/_control/requests", timeout=30).text

    def _control(self, operation: str, **body: str | int) -> None:
        answer = self._session.post(f"{self.url}/_control/{operation}", json=body, timeout=30)
        assert answer.ok, answer.text


@pytest.fixture
def sandbox(
    earthkey: Earthkey, machine: Machine, secrets: Secrets, tmp_path: Path
) -> Iterator[Sandbox]:
    """A sandbox of this test's own: refresh tokens rotate, and nothing forgives a spent one."""
    argv = [earthkey.program, "sandbox", "--listen", "127.0.0.1:0", "--json"]
    with _server(argv, machine.environment | {"HOME": str(tmp_path)}, tmp_path) as announced:
        sandbox = Sandbox(announced["url"])
        yield sandbox
        secrets.watch("the sandbox's request log", sandbox.requests())
    secrets.watch("earthkey sandbox (stderr)", (tmp_path / SERVER_ERRORS).read_text())


class OidcProvider:
    """A running provider of oidc-provider.mjs."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._session = requests.Session()
        self._session.trust_env = False

    def issued(self, kind: str | None = None) -> list[str]:
        """Returns every code and token it has made, or those of one kind."""
        log = self._session.get(f"{self.issuer}/-/issued", timeout=30).json()
        return [entry["secret"] for entry in log if kind in (None, entry["kind"])]

    def grants(self, grant_type: str, error: str | None = None) -> int:
        """Returns how many token requests of this kind ended so."""
        log = self._session.get(f"{self.issuer}/-/grants", timeout=30).json()
        return log.count({"grant_type": grant_type, "error": error})

    def post(self, path: str, **form: str) -> requests.Response:
        """Sends a form as some other program could."""
        return self._session.post(f"{self.issuer}{path}", data=form, timeout=30)


@pytest.fixture
def oidc_provider(
    request: pytest.FixtureRequest, machine: Machine, secrets: Secrets, tmp_path: Path
) -> Iterator[OidcProvider]:
    """An OpenID provider of another make; mark the test `registration` for one that registers."""
    argv = [node(), Path(__file__).with_name("oidc-provider.mjs"), NODE_PACKAGES]
    if request.node.get_closest_marker("registration"):
        argv.append("--registration")
    with _server(argv, machine.environment, tmp_path) as announced:
        provider = OidcProvider(announced["issuer"])
        yield provider
        secrets.know(*provider.issued())


@pytest.fixture
def person() -> Callable[..., Person]:
    """Somebody with an account: ada, unless told otherwise."""
    return Person


def node() -> Path:
    """Returns the Node.js that set up the packages."""
    program = shutil.which("node")
    assert program, "node is not in PATH: run scripts/setup-tests"
    assert NODE_PACKAGES.is_dir(), f"{NODE_PACKAGES} is not there: run scripts/setup-tests"
    return Path(program)


def claims(token: str) -> dict[str, Any]:
    """Returns the claims of a JWT, unverified."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def wait_until_expired(token: str) -> None:
    """Returns once this machine's clock is past the token's own end."""
    while (left := claims(token)["exp"] - time.time()) >= 0:
        time.sleep(left + 0.01)


@contextlib.contextmanager
def _server(
    argv: list[str | Path], environment: dict[str, str], directory: Path
) -> Iterator[dict[str, Any]]:
    """Runs a server that announces itself in a line of JSON, and ends it with the block."""
    errors = directory / SERVER_ERRORS
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            cwd=directory,
        ) as process,
    ):
        try:
            ready, _, _ = select.select([process.stdout], [], [], DEADLINE)
            line = process.stdout.readline() if ready else b""
            assert line.endswith(b"\n"), f"{argv[0]} announced nothing:\n{errors.read_text()}"
            yield json.loads(line)
            assert process.poll() is None, f"{argv[0]} ended:\n{errors.read_text()}"
            process.terminate()
            process.wait(timeout=DEADLINE)
        finally:
            process.kill()
