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
from person import Person, RobotBrowser, Visit

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
VENV = TARGET / "venv" / "bin"
NODE_PACKAGES = TARGET / "node"

SERVER_ERRORS = "server.stderr"

pytest_plugins = ("soak",)

PRINTS_A_TOKEN = frozenset({"token", "header", "exec", "export"})
"""The commands of ours whose purpose is to print one, on standard output alone."""

SECRET = re.compile(
    rb"""eyJ[\w-]+\.[\w-]+\.[\w-]+                     # JWS, compact form
    | ya29\.[\w.-]{20,}                               # Google's access tokens
    | sandbox-[\w-]{20,}                               # the sandbox's refresh tokens
    | "(?:\w+_token|client_secret|code_verifier|password)"\s*:\s*"([^"]{8,})"
    """,
    re.VERBOSE,
)

PRIVATE_KEY = re.compile(rb"BEGIN (?:\w+ )?PRIVATE KEY-----((?:[\w+/=\s]|\\n)+)")
"""A key in PEM, also as a string of JSON; its lines are the secret, all keys have the same end."""

KEY_ID = re.compile(rb'"private_key_id"\s*:\s*"([^"]+)"')
"""Names a key of a service account, and is no secret although the sandbox's look like one."""


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
        found = {match.group(1) or match.group(0) for match in SECRET.finditer(content)}
        found.difference_update(KEY_ID.findall(content))
        for key in PRIVATE_KEY.findall(content):
            found.update(re.findall(rb"[\w+/=]{24,}", key))
        self._known.update(secret.decode(errors="replace") for secret in found)


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

    pid: int
    """Its process, to be stopped and continued."""

    def __init__(self, url: str, authority: Path) -> None:
        self.url = url
        self.authority = authority
        """The certificate to trust for what it serves over TLS."""
        self._session = requests.Session()
        self._session.trust_env = False

    def settings(self, realm: str, **settings: Any) -> None:
        """Changes how a realm behaves from now on."""
        self._control("settings", realm=realm, **settings)

    def revoke(self, realm: str) -> None:
        """Ends every login of a realm."""
        self._control("revoke", realm=realm)

    def expire(self, realm: str, what: str) -> None:
        """Lets things of a realm expire now."""
        self._control("expire", realm=realm, what=what)

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

    def service_account_key(self, **account: str) -> dict[str, str]:
        """Returns a new key of a service account, as it is downloaded."""
        return self._control("service-account-keys", **account).json()

    def client_file(self, kind: str = "installed") -> dict[str, dict[str, Any]]:
        """Returns a client of a person's own, as it is downloaded."""
        url = f"{self.url}/_control/client-file"
        answer = self._session.get(url, params={"kind": kind}, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def _control(self, operation: str, **body: Any) -> requests.Response:
        answer = self._session.post(f"{self.url}/_control/{operation}", json=body, timeout=30)
        assert answer.ok, answer.text
        return answer


@pytest.fixture
def sandbox(
    request: pytest.FixtureRequest,
    earthkey: Earthkey,
    machine: Machine,
    secrets: Secrets,
    tmp_path: Path,
) -> Iterator[Sandbox]:
    """A sandbox of this test's own: refresh tokens rotate, and nothing forgives a spent one.

    Mark the test `documents` for Earth Engine's own documents in place of the sandbox's short ones.
    """
    authority = tmp_path / "authority.pem"
    argv = [earthkey.program, "sandbox", "--listen", "127.0.0.1:0", "--json"]
    argv += ["--tls", "--ca-out", authority]
    if request.node.get_closest_marker("documents"):
        [documents] = VENV.parent.glob("lib/python*/site-packages/ee/tests")
        argv += ["--earthengine-documents", documents]
    with _server(argv, machine.environment | {"HOME": str(tmp_path)}, tmp_path) as announced:
        sandbox = Sandbox(announced["url"], authority)
        sandbox.pid = announced["pid"]
        yield sandbox
        secrets.watch("the sandbox's request log", sandbox.requests())
    secrets.watch("earthkey sandbox (stderr)", (tmp_path / SERVER_ERRORS).read_text())


class Google:
    """The sandbox as Google, to the real clients.

    They know Google's addresses and no others, so that the sandbox is their proxy: it answers for
    those hosts itself, over TLS, and for nobody else. It is what `requests` and `urllib` ask; who
    has other transports passes them by and fails, because there is no network where it should be.
    """

    REALM = "google"

    def __init__(self, sandbox: Sandbox, machine: Machine) -> None:
        self._sandbox = sandbox
        self._machine = machine
        self.environment = {
            "HTTPS_PROXY": sandbox.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "SSL_CERT_FILE": str(sandbox.authority),
            "REQUESTS_CA_BUNDLE": str(sandbox.authority),
            # The machine that the tests run on may be one of Google's, with an account of its own.
            "NO_GCE_CHECK": "true",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, program: str, *args: str | Path, **environment: str) -> Finished:
        """Runs a program of theirs."""
        return self._machine.run(VENV / program, *args, environment=self.environment | environment)

    def python(self, script: str, *args: str | Path, **environment: str) -> str:
        """Returns what a script prints, which must succeed."""
        done = self.run("python", "-c", script, *args, **environment)
        assert done.code == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def login(self, script: str, *args: str | Path, person: Person) -> str:
        """Runs a script that waits for a person at a browser, and returns the screen."""
        argv = (VENV / "python", "-c", script, *args)
        with self._machine.terminal(*argv, environment=self.environment) as terminal:
            person.visit(self.played(terminal.expect_url("https://")))
            assert terminal.finish() == 0, terminal.screen
        return terminal.screen

    def played(self, url: str) -> str:
        """Returns where the sandbox plays an address of Google's, without TLS."""
        scheme, rest = url.split("://", 1)
        assert scheme == "https", url
        return f"{self._sandbox.url}/google/{rest}"

    def requests(self, path: str, status: int | None = 200) -> list[dict[str, Any]]:
        """Returns the requests for an address below `https://` that were answered so."""
        return [
            entry
            for entry in json.loads(self._sandbox.requests())
            if entry["path"] == f"/google/{path}" and status in (None, entry["status"])
        ]

    def subject(self, token: str) -> str:
        """Returns whose access token it is, as Google would say."""
        url = self.played("https://oauth2.googleapis.com/tokeninfo")
        answer = requests.post(url, data={"access_token": token}, timeout=30)
        assert answer.ok, answer.text
        return answer.json()["sub"]

    def key_file(self, path: Path, **account: str) -> Path:
        """Downloads a new key of a service account."""
        path.write_text(json.dumps(self._sandbox.service_account_key(**account), indent=2))
        path.chmod(0o600)
        return path

    def client_file(self, path: Path, kind: str = "installed") -> Path:
        """Downloads a client of a person's own."""
        path.write_text(json.dumps(self._sandbox.client_file(kind)))
        return path


@pytest.fixture
def google(sandbox: Sandbox, machine: Machine) -> Google:
    """Google, to both sides: ours by variable, theirs by proxy."""
    program = VENV / "earthengine"
    assert program.exists(), f"{program} is not there: run scripts/setup-tests"
    try:
        answer = requests.get(
            "https://www.googleapis.com/oauth2/v3/certs",
            proxies={"https": sandbox.url},
            verify=str(sandbox.authority),
            timeout=30,
        )
        answer.raise_for_status()
    except (OSError, requests.RequestException) as error:
        pytest.fail(
            "Google's clients cannot be led to the sandbox, their proxy by HTTPS_PROXY, "
            f"SSL_CERT_FILE and REQUESTS_CA_BUNDLE: {error}"
        )
    machine.environment["EARTHKEY_SANDBOX"] = sandbox.url
    return Google(sandbox, machine)


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


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[RobotBrowser]:
    """The browser of this machine."""
    browser = RobotBrowser(tmp_path / "browser")
    yield browser
    browser.close()


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
            yield json.loads(line) | {"pid": process.pid}
            assert process.poll() is None, f"{argv[0]} ended:\n{errors.read_text()}"
            process.terminate()
            process.wait(timeout=DEADLINE)
        finally:
            process.kill()
