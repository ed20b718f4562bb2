"""A computer of its own for each test: a private home, an empty environment, real processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

CONTROL = re.compile(
    r"""\x1b\[[0-?]*[ -/]*[@-~]            # colours and cursor movements
      | \x1b\][^\x07\x1b]*(?:\x07|\x1b\\) # titles and hyperlinks
      | \x1b[@-Z\\^_]
      | \x1b.*\Z                           # what is not yet complete
    """,
    re.VERBOSE | re.DOTALL,
)

DEADLINE = 60.0
"""Seconds after which a program has failed. No good run comes near."""


class Finished(NamedTuple):
    """What a program left behind."""

    code: int
    stdout: str
    stderr: str


class Machine:
    """A home directory, and an environment that holds nothing which a test did not put there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.home.mkdir(mode=0o700, parents=True)
        empty_path = home.parent / "bin"
        empty_path.mkdir()
        self.environment: dict[str, str] = {
            "HOME": str(home),
            "PATH": str(empty_path),
            "LANG": "C.UTF-8",
        }

    def run(
        self,
        *argv: str | Path,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Finished:
        """Runs a program to its end, with no terminal anywhere."""
        with subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment | dict(environment or {}),
            cwd=self.home,
            start_new_session=True,
            text=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                stdout, stderr = process.communicate()
                raise AssertionError(
                    f"{argv[0]} did not end in {DEADLINE:.0f} s\n{stdout}\n{stderr}"
                ) from None
        return Finished(process.returncode, stdout, stderr)

    @contextlib.contextmanager
    def terminal(
        self, *argv: str | Path, environment: Mapping[str, str] | None = None
    ) -> Iterator[Terminal]:
        """Runs a program on a terminal of its own, and ends it with the block."""
        terminal = Terminal(
            [str(part) for part in argv],
            {"TERM": "xterm-256color", **self.environment, **(environment or {})},
            self.home,
        )
        try:
            yield terminal
        finally:
            terminal.close()


class Terminal:
    """A program whose standard streams are all one pseudo-terminal, 50 lines of 250 columns."""

    def __init__(self, argv: list[str], environment: Mapping[str, str], directory: Path) -> None:
        self._written = b""
        self.typed: list[str] = []
        self._seen = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 250, 0, 0))
        self._process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(environment),
            cwd=directory,
            # It must be behind /dev/tty too: that is where secrets are asked.
            preexec_fn=lambda: os.login_tty(0),
        )
        os.close(slave)

    @property
    def screen(self) -> str:
        """All that the program wrote, without colours and cursor movements."""
        return CONTROL.sub("", self._written.decode(errors="ignore"))

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits for text that matches, beyond what was matched before."""
        deadline = time.monotonic() + DEADLINE
        while not (match := re.search(pattern, self.screen[self._seen :], re.MULTILINE)):
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} never came:\n{self.screen}")
        self._seen += match.end()
        return match

    def expect_url(self, pattern: str = r"https?://") -> str:
        """Waits for a web address that stands complete on the screen."""
        return self.expect(rf"({pattern}[^\s'\"<>]*)(?=[\s'\"<>])").group(1).rstrip(".,)")

    def type(self, line: str) -> None:
        """Types a line and presses enter."""
        self.typed.append(line)
        os.write(self._master, line.encode() + b"\n")

    def finish(self) -> int:
        """Waits for the program's own end and returns its exit code."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        try:
            return self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self._process.args[0]} did not end:\n{self.screen}") from None

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)

    def _read(self, deadline: float) -> bool:
        """Reads what the program wrote; false once it has closed the terminal or time is up."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # EIO is how Linux says that no program has the other side open.
            return False
        self._written += chunk
        return bool(chunk)
