"""What strace wrote down of one refresh: its system calls in order, and how far it came."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LINE = re.compile(r"(?P<thread>\d+) +(?P<at>\d+\.\d+) (?P<name>\w+)\((?P<rest>.*)")
RESULT = re.compile(r"\) += (?P<result>-?\w+).*?(?:<(?P<took>\d+\.\d+)>)?$")

INTENT, ANSWERED, LANDED = 1, 2, 3

OPTIONS = ("-f", "-ttt", "-T", "-y", "-s", "512")
"""What makes strace write lines that this module reads."""


@dataclass(frozen=True)
class Call:
    """A system call; `result` is absent where the process died at its door."""

    thread: str
    name: str
    number: int
    """Which of its name this is, from 1."""
    text: str
    at: float
    took: float
    result: int | None

    @property
    def has_returned(self) -> bool:
        return self.result is not None

    def writes(self, state: int) -> bool:
        """Returns whether it writes this state to a ledger."""
        return (
            self.name == "pwrite64"
            and ".earthkey-ledger>" in self.text
            and rf'"EKLEDGR1\1\0\0\0\{state}\0\0\0' in self.text
        )

    @property
    def syncs_ledger(self) -> bool:
        return self.name == "fdatasync" and ".earthkey-ledger>" in self.text

    @property
    def exchanges(self) -> bool:
        return self.name == "renameat2" and "RENAME_EXCHANGE" in self.text


class Trace:
    """The system calls of one run of the program."""

    def __init__(self, path: Path, token_path: str, was_killed: bool) -> None:
        self._was_killed = was_killed
        self._post = f"POST {token_path} HTTP/1.1"
        self.calls: list[Call] = []
        counts: Counter[tuple[str, str]] = Counter()
        for line in path.read_text(errors="replace").splitlines():
            match = LINE.match(line)
            if not match:
                continue
            thread, name, rest = match["thread"], match["name"], match["rest"]
            counts[thread, name] += 1
            result = RESULT.search(rest)
            value = result["result"] if result else "?"
            self.calls.append(
                Call(
                    thread=thread,
                    name=name,
                    number=counts[thread, name],
                    text=rest,
                    at=float(match["at"]),
                    took=float(result["took"] or 0) if result else 0.0,
                    result=int(value, 0) if re.fullmatch(r"-?\d+|0x[\da-f]+", value) else None,
                )
            )

    @property
    def died_at(self) -> Call | None:
        """Returns the call at whose door the process was killed."""
        return self.calls[-1] if self._was_killed else None

    @property
    def state(self) -> str:
        """Returns the last state that the process has written to the ledger."""
        written = [
            name
            for call in self.calls
            for name, state in (("intent", INTENT), ("answered", ANSWERED), ("landed", LANDED))
            if call.has_returned and call.writes(state)
        ]
        return written[-1] if written else "none"

    @property
    def stage(self) -> str:
        """Returns how far the process came, by the calls that had returned.

        `unsent`: nothing has left it. `in flight`: the request has, and no whole answer is here.
        `window`: the whole answer has been read and is not yet in the ledger. `kept`: it is.
        """
        if self._returned(lambda call: call.writes(ANSWERED)):
            return "kept"
        if not self._sent():
            return "unsent"
        return "window" if self._answer_is_whole() else "in flight"

    @property
    def window(self) -> float | None:
        """Returns the seconds from the last byte of the answer to the end of the ledger's write."""
        write = self._returned(lambda call: call.writes(ANSWERED))
        if not write:
            return None
        last = [call for call in self._received() if call.at < write[0].at][-1]
        return write[0].at + write[0].took - (last.at + last.took)

    def labels(self) -> dict[tuple[str, int], str]:
        """Returns which calls are the steps that a refresh stands on."""
        labels = {}
        state = None
        for call in self.calls:
            for name, value in (("intent", INTENT), ("answer", ANSWERED), ("landed", LANDED)):
                if call.writes(value):
                    state = name
                    labels[call.name, call.number] = f"{state} written"
            if call.syncs_ledger and state:
                labels[call.name, call.number] = f"{state} synced"
            if call.exchanges:
                labels[call.name, call.number] = "exchanged"
        return labels

    def _returned(self, wanted) -> list[Call]:
        return [call for call in self.calls if call.has_returned and wanted(call)]

    def _sent(self) -> list[Call]:
        return self._returned(lambda call: self._post in call.text and call.result > 0)

    def _received(self) -> list[Call]:
        """Returns the reads that brought bytes of the answer."""
        sent = self._sent()[0]
        return self._returned(
            lambda call: call.name in ("recvfrom", "read", "recvmsg", "readv")
            and "<socket:" in call.text.split(",")[0]
            and call.at > sent.at
            and call.result > 0
        )

    def _answer_is_whole(self) -> bool:
        received = self._received()
        if not received:
            return False
        head, separator, _ = received[0].text.partition(r"\r\n\r\n")
        length = re.search(r"content-length: (\d+)", head)
        assert separator and length, f"the head of the answer is not seen: {received[0].text}"
        # As strace writes it, each line's end takes four characters, not two.
        head_size = len(head.split('"', 1)[1].replace(r"\r\n", "\r\n")) + 4
        return sum(call.result for call in received) >= head_size + int(length[1])
