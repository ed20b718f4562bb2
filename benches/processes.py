"""Measures earthkey as a process, and other programs for the same work in the same rounds; then has
earthkey as a library measured, and other libraries.

    target/venv/bin/python benches/processes.py EARTHKEY DYNAMIC LIBRARY

A row's commands take turns: each round starts every one of them once. So what a row says is its
ratios; the times are this machine's and this moment's. `scripts/bench` builds what this needs.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import requests

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from machine import Machine  # noqa: E402
from person import Person  # noqa: E402

VENV = ROOT / "target" / "venv" / "bin"
HERD = 32
QUICK, SLOW = 500, 15
"""Rounds where commands take about a millisecond, and where one takes a good part of a second."""

GOOGLE_AUTH_CACHED = """
import sys
from google.oauth2.credentials import Credentials
credentials = Credentials.from_authorized_user_file(sys.argv[1])
assert credentials.valid
print(credentials.token)
"""
OPENEO_CONNECT = """
import sys, openeo
openeo.connect(sys.argv[1]).authenticate_oidc(max_poll_time=1)
"""
GOOGLE_AUTH_REFRESH = """
import json, sys
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials
with open(sys.argv[1]) as file:
    login = json.load(file)
names = ("refresh_token", "client_id", "client_secret")
kept = {name: login[name] for name in names}
credentials = Credentials(None, token_uri=sys.argv[2], **kept)
credentials.refresh(Request())
print(credentials.token)
"""


class Ended(NamedTuple):
    """How one process went."""

    milliseconds: float
    faults: int
    """Minor page faults."""
    code: int


class Command:
    """Something to run, and how it went each time."""

    def __init__(self, name: str, *argv: str | Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.environment = dict(environment)
        self.runs: list[Ended] = []

    def start(self) -> int:
        """Starts it with its output thrown away, and returns the process."""
        nowhere = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
        return os.posix_spawn(self.argv[0], self.argv, self.environment, file_actions=nowhere)

    def run(self) -> None:
        began = time.perf_counter_ns()
        _, status, usage = os.wait4(self.start(), 0)
        took = (time.perf_counter_ns() - began) / 1e6
        code = os.waitstatus_to_exitcode(status)
        if code:
            raise SystemExit(f"{' '.join(self.argv)} ended with {code}")
        self.runs.append(Ended(took, usage.ru_minflt, code))

    def median(self) -> float:
        return statistics.median(run.milliseconds for run in self.runs)

    def faults(self) -> int:
        return int(statistics.median(run.faults for run in self.runs))


def take_turns(commands: list[Command], rounds: int) -> None:
    """Runs each command once per round, after two rounds that do not count."""
    for number in range(rounds + 2):
        for command in commands:
            command.run()
        if number == 1:
            for command in commands:
                command.runs.clear()


def ratio(command: Command, base: Command) -> float:
    """Returns the median of the rounds' ratios, in which what disturbs both cancels out."""
    pairs = zip(command.runs, base.runs, strict=True)
    return statistics.median(ours.milliseconds / theirs.milliseconds for ours, theirs in pairs)


def table(title: str, note: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n## {title}\n\n{note}\n")
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


class Bench:
    """A machine with logins at a sandbox, made by the program that is measured."""

    def __init__(self, earthkey: Path, dynamic: Path, directory: Path) -> None:
        self.earthkey = earthkey
        self.cli = earthkey.with_name("earthkey-cli")
        self.dynamic = dynamic
        self.machine = Machine(directory / "home")
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = ""

    @contextlib.contextmanager
    def sandbox(self) -> Iterator[None]:
        """Runs a sandbox, and points our program and the SDKs to it."""
        argv = [self.earthkey, "sandbox", "--listen", "127.0.0.1:0", "--json"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=self.machine.environment) as process:
            try:
                assert process.stdout is not None
                self.url = json.loads(process.stdout.readline())["url"]
                self.machine.environment |= {
                    "EARTHKEY_SANDBOX": self.url,
                    "ES_OAUTH2__DOMAIN": self.url,
                    "ES_RESOURCES__API_URL": self.url,
                    "ES_OAUTH2__ALLOWED_HOSTS": '["127.0.0.1"]',
                }
                yield
            finally:
                process.terminate()

    def control(self, operation: str, **body: Any) -> None:
        self._session.post(f"{self.url}/_control/{operation}", json=body, timeout=30).raise_for_status()

    def forget_faults(self) -> None:
        self._session.delete(f"{self.url}/_control/faults", timeout=30).raise_for_status()

    def refreshes(self, realm: str) -> list[int]:
        """Returns the statuses of the refresh requests of a realm since the last call."""
        log = self._session.get(f"{self.url}/_control/requests", timeout=30).json()
        self._session.delete(f"{self.url}/_control/requests", timeout=30).raise_for_status()
        return [
            entry["status"]
            for entry in log
            if entry["realm"] == realm and entry["grant_type"] == "refresh_token"
        ]

    def sign_in(
        self,
        *login: str,
        realm: str,
        flow: str = "device",
        lifetime: int = 3600,
        secret: str = "",
    ) -> None:
        """Signs a person in, whose access token lives for so many seconds; later ones live long."""
        self.control("settings", realm=realm, access_token_lifetime=lifetime)
        argv = [self.earthkey, "login", *login, "--no-browser", "--flow", flow]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.machine.environment,
            text=True,
        ) as process:
            assert process.stdin is not None and process.stderr is not None
            process.stdin.write(secret)
            process.stdin.close()
            said = ""
            for line in process.stderr:
                said += line
                if address := re.search(r"[Vv]isit\s+(http\S+)", said):
                    Person().visit(address.group(1))
                    said = ""
        if process.returncode:
            raise SystemExit(f"earthkey login {' '.join(login)} ended with {process.returncode}")
        self.control("settings", realm=realm, access_token_lifetime=3600)

    def google_login(self) -> tuple[Path, Path]:
        """Signs a person in to Google, and returns the file of the login, and one of google-auth's
        own kind that holds an access token, too."""
        self.sign_in("google", realm="google", flow="loopback:0")
        home = self.machine.home / ".config/gcloud/application_default_credentials.json"
        done = self.machine.run(self.earthkey, "token", "google")
        with_token = self.machine.home / "with-token.json"
        with_token.write_text(
            json.dumps(
                json.loads(home.read_text())
                | {"token": done.stdout.strip(), "expiry": "2999-01-01T00:00:00Z"}
            )
        )
        return home, with_token

    def command(self, name: str, *argv: str | Path) -> Command:
        return Command(name, *argv, environment=self.machine.environment)

    def token(self, login: str, *args: str, program: Path | None = None, name: str = "") -> Command:
        program = program or self.earthkey
        return self.command(name or f"`{program.name} token`", program, "token", login, *args)

    def together(self, command: Command) -> tuple[float, int]:
        """Starts a herd of one command; returns the milliseconds until all have ended, and how
        many failed."""
        began = time.perf_counter_ns()
        herd = [command.start() for _ in range(HERD)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in herd]
        return (time.perf_counter_ns() - began) / 1e6, sum(map(bool, codes))


class OidcAgent:
    """An oidc-agent on the same machine, with logins that ours made."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        programs = {name: shutil.which(name) for name in ("oidc-agent", "oidc-gen", "oidc-token")}
        missing = sorted(name for name, path in programs.items() if path is None)
        if missing:
            raise SystemExit(f"missing: {', '.join(missing)}; on Debian: apt-get install oidc-agent-cli")
        self._programs = {name: path for name, path in programs.items() if path is not None}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        environment = self._bench.machine.environment
        said = subprocess.run(
            [self._programs["oidc-agent"]],
            env=environment,
            stdout=subprocess.PIPE,
            # It keeps this one for itself, and its end is not waited for.
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        ).stdout
        environment |= dict(re.findall(r"(OIDC\w+)=([^;]+);", said))
        try:
            yield
        finally:
            os.kill(int(environment["OIDCD_PID"]), signal.SIGTERM)

    def add(self, name: str) -> None:
        """Signs a person in and hands the login over to the agent."""
        self._bench.sign_in(
            f"oidc/for-{name}",
            "https://login.example.org",
            *("--client-id", "sandbox-confidential", "--client-secret-stdin"),
            realm="oidc",
            secret="sandbox-secret",
        )
        state = self._bench.machine.home / ".local/state/earthkey"
        login = json.loads((state / f"oidc/for-{name}.json").read_text())
        password = self._bench.machine.home / "password"
        password.write_text("sandbox")
        argv = [self._programs["oidc-gen"], name, "--manual", f"--iss={self._bench.url}/oidc"]
        argv += ["--client-id=sandbox-confidential", "--client-secret=sandbox-secret"]
        argv += ["--scope=openid offline_access", "--redirect-uri=http://localhost:4242"]
        argv += ["--flow=refresh", f"--rt={login['refresh_token']}", f"--pw-file={password}"]
        done = subprocess.run(
            argv,
            env=self._bench.machine.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"oidc-gen: {done.stdout}{done.stderr}")

    def expire(self, name: str) -> None:
        """Lets the agent have a token that has ended."""
        self._bench.control("settings", realm="oidc", access_token_lifetime=1)
        self.token(name, "--force-new").run()
        self._bench.control("settings", realm="oidc", access_token_lifetime=3600)
        time.sleep(1.5)

    def token(self, account: str, *args: str, name: str = "`oidc-token`") -> Command:
        return self._bench.command(name, self._programs["oidc-token"], account, *args)


def cached(bench: Bench, agent: OidcAgent, google: tuple[Path, Path]) -> None:
    """A token that is there, printed by a process of its own."""
    true = bench.command("`/bin/true`", "/bin/true")
    commands = [
        true,
        bench.token("earthscope", name="`earthkey token`, static front"),
        bench.token("earthscope", program=bench.dynamic, name="`earthkey token`, dynamic front"),
        bench.token("earthscope", program=bench.cli, name="`earthkey-cli token`, no front"),
        agent.token("peer"),
    ]
    take_turns(commands, QUICK)
    slow_true = bench.command("", "/bin/true")
    slow = [
        bench.command("`es user get-access-token`", VENV / "es", "user", "get-access-token"),
        bench.command("google-auth, from a file", VENV / "python", "-c", GOOGLE_AUTH_CACHED, google[1]),
        bench.command("`openeo-auth token-dump`", VENV / "openeo-auth", "token-dump"),
    ]
    take_turns([slow_true, *slow], SLOW)
    rows = [
        [command.name, f"{command.median():.2f} ms", f"{ratio(command, base):.2f}", f"{command.faults()}"]
        for commands, base in ((commands, true), (slow, slow_true))
        for command in commands
    ]
    note = f"{QUICK} rounds ({SLOW} of the Python programs), each command once per round; medians."
    table("A token that is there", note, ["command", "time", "x `/bin/true`", "page faults"], rows)


def crowded(bench: Bench) -> None:
    """The same with very many logins."""
    store = bench.machine.home / ".local/state/earthkey/oidc"
    # Logins that the provider does not know; nobody asks it.
    home = (store / "work.json").read_text()
    rows = []
    made = 0
    for count in (1, 100, 10_000):
        for made in range(made, count - 1):
            (store / f"crowd-{made}.json").write_text(home)
        command = bench.token("earthscope")
        take_turns([command], 100)
        trace = bench.machine.home / "trace"
        strace = ["/usr/bin/strace", "-f", "-o", str(trace), *command.argv]
        subprocess.run(strace, env=command.environment, stdout=subprocess.DEVNULL, check=True)
        calls = sum("(" in line for line in trace.read_text().splitlines())
        rows.append([f"{count:,}", f"{calls}", f"{command.faults()}"])
    for file in store.glob("crowd-*"):
        file.unlink()
    note = "`earthkey token` of one login, with that many in the store."
    table("Many logins", note, ["logins", "system calls", "page faults"], rows)


def refreshed(bench: Bench, agent: OidcAgent, google: tuple[Path, Path]) -> None:
    """One refresh as a process, at a provider that answers at once."""
    disk = statistics.median(fdatasync(bench.machine.home) for _ in range(50))
    commands = [
        bench.token("earthscope", "--refresh", name="`earthkey token --refresh`, rotating"),
        bench.token("google", "--refresh", name="`earthkey token google --refresh`, not rotating"),
        agent.token("peer", "--force-new", name="`oidc-token --force-new`, rotating"),
    ]
    take_turns(commands, 50)
    url = f"{bench.url}/google/oauth2.googleapis.com/token"
    slow = bench.command("google-auth", VENV / "python", "-c", GOOGLE_AUTH_REFRESH, google[0], url)
    take_turns([slow], SLOW)
    rows = [[command.name, f"{command.median():.1f} ms"] for command in (*commands, slow)]
    bar = 8 + 8 * disk
    note = (
        f"One `fdatasync` of 4 KiB takes {disk:.2f} ms on this disk (median of 50), so that the bar is "
        f"8 ms + 8 x that = {bar:.1f} ms. What rotates is encrypted and kept by oidc-agent, too, which runs "
        "already; google-auth keeps nothing."
    )
    table("A refresh", note, ["command", "time"], rows)


def fdatasync(directory: Path) -> float:
    """Returns the milliseconds that it takes to have 4 KiB on the disk below a directory."""
    with (directory / "disk").open("wb", buffering=0) as file:
        file.write(bytes(4096))
        began = time.perf_counter_ns()
        os.fdatasync(file.fileno())
        return (time.perf_counter_ns() - began) / 1e6


def herd(bench: Bench, agent: OidcAgent) -> None:
    """Everybody at once, on a token that has just expired, at a provider that rotates."""
    rows = []

    def measure(name: str, command: Command, realm: str, path: str) -> float:
        bench.refreshes(realm)
        bench.control("faults", path=path, grant_type="refresh_token", times=HERD, delay_ms=200)
        took, failed = bench.together(command)
        bench.forget_faults()
        statuses = bench.refreshes(realm)
        refused = sum(status != 200 for status in statuses)
        row = [name, f"{len(statuses)}", f"{refused}", f"{HERD - failed}", f"{took:.0f} ms"]
        rows.append(row)
        return took

    bench.sign_in("earthscope", realm="earthscope", lifetime=0)
    took = measure("`earthkey token`", bench.token("earthscope"), "earthscope", "/oauth/token")
    alone, _ = bench.together(bench.token("earthscope", program=bench.cli))
    bench.sign_in("earthscope", realm="earthscope", lifetime=0)
    es = bench.command("", VENV / "es", "user", "get-access-token")
    measure("`es user get-access-token`", es, "earthscope", "/oauth/token")
    url = f"{bench.url}/openeo"
    connect = bench.command("", VENV / "python", "-c", OPENEO_CONNECT, url)
    measure("openeo, `authenticate_oidc`", connect, "openeo", "/openeo-id/token")
    agent.expire("peer")
    measure("`oidc-token`", agent.token("peer"), "oidc", "/oidc/token")
    note = (
        f"{HERD} processes; the provider answers after 200 ms and forgives no second use. The bar for "
        f"ours is 200 ms + {HERD} cached gets through `earthkey-cli` ({alone:.0f} ms) + 50 ms = "
        f"{250 + alone:.0f} ms; it took {took:.0f} ms."
    )
    head = ["command", "requests", "of these refused", "processes served", "wall time"]
    table("A herd on an expired token", note, head, rows)


def beside(bench: Bench, agent: OidcAgent) -> None:
    """The cached token of one login, while another is refreshed for three seconds."""
    rows = []
    for name, slow, quick, realm, path in (
        (
            "`earthkey token`",
            bench.token("earthscope", "--refresh"),
            bench.token("oidc/work"),
            "earthscope",
            "/oauth/token",
        ),
        (
            "`oidc-token`",
            agent.token("peer", "--force-new"),
            agent.token("other"),
            "oidc",
            "/oidc/token",
        ),
    ):
        take_turns([quick], 20)
        alone = quick.median()
        bench.control("faults", path=path, grant_type="refresh_token", times=1, delay_ms=3000)
        process = slow.start()
        time.sleep(0.3)
        quick.runs.clear()
        quick.run()
        while os.waitpid(process, os.WNOHANG) == (0, 0) and len(quick.runs) < 50:
            quick.run()
        meanwhile = quick.median()
        longest = max(run.milliseconds for run in quick.runs)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)
        bench.forget_faults()
        bench.refreshes(realm)
        rows.append([name, f"{alone:.2f} ms", f"{meanwhile:.2f} ms", f"{longest:.2f} ms"])
    head = ["command", "alone, median of 20", "beside the refresh, median of up to 50", "slowest of these"]
    note = (
        "The other login's provider takes three seconds to answer; meanwhile the cached token is asked "
        "for again and again, up to 50 times."
    )
    table("One login beside another that is being refreshed", note, head, rows)


def library(bench: Bench, program: Path) -> None:
    """A token that a library has at hand, handed out again and again by one process."""
    # Its contestants sign in for themselves, at a sandbox of its own.
    environment = {"HOME": str(bench.machine.home)}
    said = subprocess.run([program], stdout=subprocess.PIPE, env=environment, text=True, check=True).stdout
    measured = json.loads(said)
    lock = tomllib.loads((ROOT / "benches" / "Cargo.lock").read_text())
    versions = {package["name"]: package["version"] for package in lock["package"]}
    ours = next(row["nanoseconds"] for row in measured["rows"] if row["package"] == "earthkey")
    rows = []
    for row in measured["rows"]:
        package, call = row["package"], row["call"]
        named = [f"{package} {versions[package]}", f"`{call}`"] if package else [call, ""]
        for theirs, base in zip(row["nanoseconds"], ours, strict=True):
            times = statistics.median(their / our for their, our in zip(theirs, base, strict=True))
            named += [f"{statistics.median(theirs):.0f} ns", f"{times:.2f}"]
        rows.append(named)
    note = (
        f"CPU time of one call; {measured['rounds']} rounds, in each of which every library hands out its "
        f"token {measured['calls']:,} times on one thread, and then on each of two at once; medians. All have "
        "the same token. Each thread has a `Cached` of its own; others share one object between threads, each "
        "of which has a runtime of its own."
    )
    head = ["library", "call", "one thread", "x earthkey", "two threads", "x earthkey"]
    table("A token at hand in a program", note, head, rows)


def install(folder: Path, program: Path, *others: Path) -> Path:
    """Copies programs as an installer does, and returns the first.

    A file as a linker leaves it, written here and there, lies in the page cache in smaller pieces, and
    mapping it takes more page faults; nobody runs such a one but who built it.
    """
    folder.mkdir()
    for path in (program, *others):
        shutil.copy(path, folder)
    return folder / program.name


def main() -> None:
    earthkey, dynamic, contestants = (Path(path).resolve() for path in sys.argv[1:])
    version = subprocess.run([earthkey, "--version"], capture_output=True, text=True, check=True).stdout
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    print(
        f"{version.strip()}, {datetime.date.today()}, {os.cpu_count()} x {cpu and cpu.group(1)}, "
        f"{platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}. "
        "Made by `scripts/bench`."
    )
    with tempfile.TemporaryDirectory() as directory:
        static = install(Path(directory, "static"), earthkey, earthkey.with_name("earthkey-cli"))
        bench = Bench(static, install(Path(directory, "dynamic"), dynamic), Path(directory))
        agent = OidcAgent(bench)
        with bench.sandbox(), agent.running():
            bench.sign_in("earthscope", realm="earthscope")
            bench.sign_in("oidc/work", "https://login.example.org", realm="oidc")
            bench.sign_in("openeo", f"{bench.url}/openeo", realm="openeo")
            google = bench.google_login()
            agent.add("peer")
            agent.add("other")
            cached(bench, agent, google)
            crowded(bench)
            refreshed(bench, agent, google)
            herd(bench, agent)
            beside(bench, agent)
        library(bench, contestants)


if __name__ == "__main__":
    main()
