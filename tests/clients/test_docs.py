"""The documentation, followed word for word: each page in a home of its own, from top to bottom.

```sh blocks are run command by command, each expected to end with 0, or with N where a comment
`# exit N` says so. ```python blocks are run by the Python of the real clients. A ```text block
right below either is all that it prints, `…` standing for anything. Other ```text blocks are no
output of anything, and no page has a command in a block of another kind.

Under a sandbox earthkey finds every public address played, so that commands stand in the pages as
people type them. The other programs do not know of sandboxes: in what they are told, addresses
are replaced before it is run. Google's own clients, which are told none, are led there by proxy.
Whoever follows a page has downloaded `client_secret.json` and `key.json` from Google's console.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import PRINTS_A_TOKEN, ROOT, VENV
from machine import DEADLINE

PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

LANGUAGES = {"sh", "python", "text", "toml"}
"""Of these, `sh` and `python` are run; in the others nobody looks for something to type."""

NOT_RUN = {
    "cargo build --release": "it would take minutes; the programs under test are a debug build",
    "cargo run --release -- demo": "as above; test_picture runs `earthkey demo`",
    "scripts/test": "it runs this test",
    "earthkey sandbox --listen 127.0.0.1:8989": "a fixed port may be taken; a fixture runs it",
    "export EARTHKEY_SANDBOX=http://127.0.0.1:8989": "the fixture's port is another one",
}
"""Commands that the pages show and this test does not run, with the reason."""

PLAYED = {
    "https://openeo.dataspace.copernicus.eu/openeo": "/openeo",
    "https://openeo.dataspace.copernicus.eu": "/openeo",
    "https://login.example.org": "/oidc",
    "https://accounts.google.com": "/google/accounts.google.com",
    "https://oauth2.googleapis.com": "/google/oauth2.googleapis.com",
    "https://earthengine.googleapis.com": "/google/earthengine.googleapis.com",
    "https://generativelanguage.googleapis.com": "/google/generativelanguage.googleapis.com",
    "https://api.earthscope.org": "",
}
"""Public addresses, and where the sandbox plays them; the first that fits counts, both ways."""

NOT_EARTHKEY = {"curl", "earthengine", "es", "openeo-auth", "python3"}
"""Programs that the pages use and that do not know of sandboxes."""

STAND_IN = re.compile(r"^`\S+` is played by the sandbox\n", re.MULTILINE)
"""What nobody sees who is not in a sandbox."""

PROMPT = re.compile(r"^(?:[$#] |(?:earthkey|curl|cargo|export|es|openeo-auth) )", re.MULTILINE)
"""How a line begins that somebody is to type."""

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

EXPECTED_EXIT = re.compile(r"\s+# exit (\d+)$")

ROBOT = """#!{python}
import sys
sys.path.insert(0, {here!r})
from person import Person
Person().visit(sys.argv[1])
"""


@dataclass
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    output: str | None = None
    """What the page says that it prints, if it says so."""


@dataclass
class Command:
    """A command of a block, with the exit code that the page expects."""

    text: str
    code: int

    @property
    def program(self) -> str:
        return self.text.split()[0]

    @property
    def is_visited(self) -> bool:
        """Whether it leaves it to a person to open the page that it prints."""
        return bool({"--no-browser", "--quiet"} & set(self.text.split()))

    @property
    def prints_a_token(self) -> bool:
        return self.program != "earthkey" or bool(PRINTS_A_TOKEN & set(self.text.split()))


def blocks_of(page: str) -> list[Block]:
    """Returns a page's blocks; a text block right below another is its output."""
    blocks: list[Block] = []
    end = 0
    for fence in FENCE.finditer(page):
        indent, language, text = fence.groups()
        line = page.count("\n", 0, fence.start()) + 1
        assert not indent, f"line {line}: a block that is indented is not found by this test"
        assert language in LANGUAGES, f"line {line}: a block of `{language}`, not of {LANGUAGES}"
        is_output = bool(blocks) and not page[end : fence.start()].strip() and language == "text"
        if is_output and blocks[-1].language in ("sh", "python"):
            blocks[-1].output = text
        else:
            typed = None if language in ("sh", "python", "toml") else PROMPT.search(text)
            assert not typed, f"line {line}: a command in a block of `{language}`, which is not run"
            blocks.append(Block(language, text, line))
        end = fence.end()
    assert page.count("```") == 2 * len(FENCE.findall(page)), "a fence is not closed"
    return blocks


def commands_of(block: Block) -> Iterator[Command]:
    """Splits a block into commands; a backslash continues a line, a comment line is none."""
    lines = block.text.replace("\\\n", " ").splitlines()
    for line in filter(None, map(str.strip, lines)):
        if line.startswith("#"):
            continue
        expected = EXPECTED_EXIT.search(line)
        text = line[: expected.start()] if expected else line
        yield Command(re.sub(r"\s+", " ", text), int(expected.group(1)) if expected else 0)


class Reader:
    """Somebody who types what a page shows."""

    def __init__(self, earthkey, machine, sandbox, google, secrets, person) -> None:
        self._machine = machine
        self._sandbox = sandbox
        self._google = google
        self._secrets = secrets
        self._person = person
        bin_directory = Path(machine.environment["PATH"])
        robot = bin_directory / "robot"
        here = str(Path(__file__).parent)
        robot.write_text(ROBOT.format(python=VENV / "python", here=here))
        robot.chmod(0o700)
        for program in ("earthengine", "es", "openeo-auth"):
            (bin_directory / program).symlink_to(VENV / program)
        (bin_directory / "earthkey").symlink_to(earthkey.program)
        google.client_file(machine.home / "client_secret.json")
        google.key_file(machine.home / "key.json")
        machine.environment |= {
            "PATH": f"{bin_directory}:/usr/bin:/bin",
            "BROWSER": str(robot),
            # What points the EarthScope SDK to the sandbox.
            "ES_OAUTH2__DOMAIN": sandbox.url,
            "ES_RESOURCES__API_URL": sandbox.url,
            "ES_OAUTH2__ALLOWED_HOSTS": '["127.0.0.1"]',
        }

    def run(self, command: Command) -> str:
        """Runs a command and returns what it printed; it must end as the page says."""
        text = command.text
        before = after = ":"
        if command.program in NOT_EARTHKEY:
            text = self._moved(text)
            theirs = self._google.environment
            before = f"export {shlex.join(f'{name}={value}' for name, value in theirs.items())}"
            after = f"unset {shlex.join(theirs)}"
        # What is exported stays so for the rest of the page.
        exports = self._machine.home.parent / "exports"
        exports.touch()
        script = (
            f'. "{exports}"\n{before}\n{text}\ncode=$?\n{after}\n'
            f'declare -px >"{exports}"\nexit "$code"\n'
        )
        with (
            subprocess.Popen(
                ["/bin/bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._machine.environment,
                cwd=self._machine.home,
                start_new_session=True,
                text=True,
            ) as process,
            _killed_after(DEADLINE, process),
        ):
            output = ""
            for line in process.stdout:
                output += line
                if command.is_visited and (page := re.search(r"^(?:Visit )?(http\S+)", line)):
                    self._visit(command, page.group(1))
        output = STAND_IN.sub("", output)
        if not command.prints_a_token:
            self._secrets.watch(command.text, output)
        assert process.returncode == command.code, (
            f"`{text}` ends with {process.returncode} and not with {command.code}:\n{output}"
        )
        return output

    def run_python(self, text: str) -> str:
        """Runs a script and returns what it printed."""
        done = self._google.run("python", "-c", self._moved(text))
        assert done.code == 0, f"the script ends with {done.code}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def shown(self, output: str) -> str:
        """Returns an output with the public addresses, as a page shows it."""
        shown = output.replace(str(self._machine.home), "/home/ada")
        for public, place in PLAYED.items():
            shown = shown.replace(f"{self._sandbox.url}{place}", public)
        return shown

    def _visit(self, command: Command, page: str) -> None:
        """Opens the page that a command printed; with `--quiet` nobody listens where it ends, so
        that its address is what a person copies."""
        visit = self._person(stays_home="--quiet" in command.text).visit(page)
        if "--quiet" in command.text:
            (self._machine.home / "address.txt").write_text(visit.redirected_abroad)

    def _moved(self, text: str) -> str:
        for public, place in PLAYED.items():
            text = text.replace(public, f"{self._sandbox.url}{place}")
        return text


@contextlib.contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends a process that does not end by itself, with all that it runs."""
    timer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def assert_printed(expected: str, printed: str) -> None:
    """Compares an output with a page's, where `…` stands for anything but the end of a line, and
    for any lines where it has a line of its own."""
    lines = [line.rstrip() for line in expected.splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\ *\n"
        for line in lines
    )
    printed = printed if printed.endswith("\n") else f"{printed}\n"
    assert re.fullmatch(pattern, printed), f"the page says\n{expected}\nand it prints\n{printed}"


@pytest.fixture
def reader(earthkey, machine, sandbox, google, secrets, person) -> Reader:
    """A new user of an own machine."""
    return Reader(earthkey, machine, sandbox, google, secrets, person)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_can_be_followed(page: Path, reader: Reader):
    for block in blocks_of(page.read_text()):
        printed = ""
        try:
            if block.language == "python":
                printed = reader.run_python(block.text)
            elif block.language == "sh":
                commands = (command for command in commands_of(block))
                printed = "".join(
                    reader.run(command) for command in commands if command.text not in NOT_RUN
                )
            if block.output is not None:
                assert_printed(block.output, reader.shown(printed))
        except AssertionError as error:
            raise AssertionError(f"{page.name}, block of line {block.line}: {error}") from None


def test_commands_that_are_not_run_are_shown():
    blocks = [block for page in PAGES for block in blocks_of(page.read_text())]
    shown = {
        command.text for block in blocks if block.language == "sh" for command in commands_of(block)
    }
    assert set(NOT_RUN) <= shown, f"no page shows {set(NOT_RUN) - shown}"


def test_every_command_has_its_help_in_commands_md(earthkey):
    """`UPDATE_DOCS=1` writes the page instead."""
    page = ROOT / "docs" / "commands.md"
    written = commands_page(earthkey)
    if os.environ.get("UPDATE_DOCS") == "1":
        page.write_text(written)
    assert page.read_text() == written, (
        "docs/commands.md is not what `--help` says; write it anew: "
        "UPDATE_DOCS=1 target/venv/bin/pytest tests/clients/test_docs.py -k commands_md"
    )


def test_picture_is_what_the_demo_prints(earthkey, machine):
    """The picture of the README shows the program of today."""
    script = ROOT / "scripts" / "terminal-picture"
    picture = ROOT / "docs" / "demo.svg"
    environment = {"PATH": "/usr/bin:/bin"}
    done = machine.run("/usr/bin/env", "python3", script, earthkey.program, environment=environment)
    assert done.code == 0, done.stderr
    assert picture.read_text() == done.stdout, (
        "docs/demo.svg is not what the demo prints; draw it anew: "
        "scripts/terminal-picture target/debug/earthkey >docs/demo.svg"
    )


def commands_page(earthkey) -> str:
    """Returns the page of all commands: what `--help` prints, the global options once."""
    whole = earthkey("--help").stdout
    listed = re.search(r"^Commands:\n((?: +\S.*\n)+)", whole, re.MULTILINE)
    names = [line.split()[0] for line in listed.group(1).splitlines()]
    parts = [
        "# Commands\n\nWhat `--help` prints. A test writes this page and compares it. The global\n"
        "options stand here once; every command takes them.\n",
        f"## earthkey\n\n```text\n{whole.rstrip()}\n```\n",
    ]
    for name in names:
        if name == "help":
            continue
        text = earthkey(name, "--help").stdout
        text = re.sub(r"^Global options:\n(?:(?: .*)?\n)+", "", text, flags=re.MULTILINE)
        parts.append(f"## earthkey {name}\n\n```text\n{text.rstrip()}\n```\n")
    lines = (line.rstrip() for line in "\n".join(parts).splitlines())
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("```console\n$ earthkey status\n```\n", "a block of `console`"),
        ("Type:\n\n```text\nearthkey status\n```\n", "a command in a block of `text`"),
        ("1. So:\n   ```sh\n   earthkey status\n   ```\n", "indented"),
        ("```sh\nearthkey status\n", "not closed"),
    ],
)
def test_blocks_nobody_would_run_are_noticed(page, fault):
    with pytest.raises(AssertionError, match=fault):
        blocks_of(page)


def test_wrong_page_is_noticed(reader):
    page = "```sh\nearthkey token oidc/none # exit 3\n```\n\n```text\n…\nhint: …\n```\n"
    [block] = blocks_of(page)
    [command] = commands_of(block)
    printed = reader.run(command)
    assert_printed(block.output, printed)
    with pytest.raises(AssertionError, match="and it prints"):
        assert_printed("Signed in\n", printed)
    with pytest.raises(AssertionError, match="ends with 3 and not with 0"):
        reader.run(Command(command.text, 0))
