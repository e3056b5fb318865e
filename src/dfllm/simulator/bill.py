"""The bill: what was asked, how often, and what it cost, for each request hash.

It is kept in memory, and on disk as well if it has a path; then the next bill with that path goes on adding, and
several processes may add to it at once.
"""

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from operator import add
from pathlib import Path

from .ledger import Ledger, Line

_log = logging.getLogger("dfllm")
_SAVE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Entry:
    """What one request hash has come to.

    Attributes:
        calls: how often it was asked.
        billed: how many of these calls cost something.
        prompt_tokens: tokens charged for reading.
        completion_tokens: tokens charged for answering.
        statuses: HTTP status to number of calls; 0 where the connection was dropped without one.
    """

    calls: int
    billed: int
    prompt_tokens: int
    completion_tokens: int
    statuses: Mapping[int, int]


class Bill:
    """What a simulator has served and charged. Safe to read from any thread, at any time.

    Args:
        path: a file to keep it in, made for its owner alone if it is not there; None keeps it in memory.

    Raises:
        OSError: the file cannot be made or opened, or is something else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._ledger = Ledger(path) if path is not None else None
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._unsaved: dict[tuple[str, int], Line] = {}
        self._attempts: Counter[str] = Counter()
        self._in_flight = 0
        self._most_in_flight = 0
        self._closing = threading.Event()
        self._writer: threading.Thread | None = None
        for line in self._ledger.lines() if self._ledger else ():
            self._attempts[line.hash] += line.calls

    @property
    def requests(self) -> int:
        """Calls served, refused ones and repeated ones too."""
        return self.totals()["requests"]

    @property
    def billed(self) -> int:
        """Calls that cost something."""
        return self.totals()["billed"]

    @property
    def distinct(self) -> int:
        """Different request hashes seen."""
        return self.totals()["distinct"]

    @property
    def prompt_tokens(self) -> int:
        """Tokens charged for reading."""
        return self.totals()["prompt_tokens"]

    @property
    def completion_tokens(self) -> int:
        """Tokens charged for answering."""
        return self.totals()["completion_tokens"]

    @property
    def in_flight(self) -> int:
        """Calls being served now, by this simulator."""
        return self._in_flight

    @property
    def most_in_flight(self) -> int:
        """The most calls that were being served at one moment, by this simulator."""
        return self._most_in_flight

    def totals(self) -> dict[str, int]:
        """Return all the sums at once."""
        lines = self._lines()
        return {
            "requests": sum(line.calls for line in lines),
            "billed": sum(line.billed for line in lines),
            "distinct": len({line.hash for line in lines}),
            "prompt_tokens": sum(line.prompt_tokens for line in lines),
            "completion_tokens": sum(line.completion_tokens for line in lines),
            "in_flight": self._in_flight,
            "most_in_flight": self._most_in_flight,
        }

    def entries(self) -> dict[str, Entry]:
        """Return what each request hash has come to."""
        by_hash: dict[str, list[Line]] = {}
        for line in self._lines():
            by_hash.setdefault(line.hash, []).append(line)
        return {request_hash: _entry(lines) for request_hash, lines in by_hash.items()}

    def enter(self, request_hash: str) -> int:
        """Note that a call has come in, and return which attempt at its hash it is, counted from 1."""
        with self._lock:
            self._attempts[request_hash] += 1
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
            return self._attempts[request_hash]

    def charge(self, line: Line) -> None:
        """Put a call on the bill."""
        with self._lock:
            self._unsaved[line[:2]] = _sum(self._unsaved.get(line[:2]), line)

    def leave(self) -> None:
        """Note that a call is over."""
        with self._lock:
            self._in_flight -= 1

    def reset(self) -> None:
        """Forget everything, on disk too; attempts are counted from 1 again."""
        with self._saving, self._lock:
            if self._ledger:
                self._ledger.clear()
            self._unsaved = {}
            self._attempts.clear()
            self._most_in_flight = self._in_flight

    def save(self) -> None:
        """Write down what is not yet on disk; without a path there is nothing to do."""
        if self._ledger is None:
            return
        with self._saving:
            with self._lock:
                taken, self._unsaved = self._unsaved, {}
            try:
                if taken:
                    self._ledger.add(taken.values())
            except OSError:
                with self._lock:
                    for key, line in taken.items():
                        self._unsaved[key] = _sum(self._unsaved.get(key), line)
                raise

    def open(self) -> None:
        """Start to save in the background, ten times a second."""
        if self._ledger is not None and self._writer is None:
            self._closing.clear()
            self._writer = threading.Thread(target=self._keep_saving, name="dfllm-simulator-bill", daemon=True)
            self._writer.start()

    def close(self) -> None:
        """Save what is left and stop; the bill can still be read."""
        if self._writer is not None:
            self._closing.set()
            self._writer.join()
            self._writer = None
        self.save()

    def _keep_saving(self) -> None:
        while not self._closing.wait(_SAVE_SECONDS):
            try:
                self.save()
            except OSError:  # tried again on the next round; close() raises what stays wrong
                _log.warning("simulator.bill_not_saved", exc_info=True)

    def _lines(self) -> list[Line]:
        with self._saving:
            with self._lock:
                unsaved = dict(self._unsaved)
            if self._ledger is None:
                return list(unsaved.values())
            for line in self._ledger.lines():
                unsaved[line[:2]] = _sum(unsaved.get(line[:2]), line)
            return list(unsaved.values())


def _sum(one: Line | None, other: Line) -> Line:
    return Line(*other[:2], *map(add, one[2:], other[2:])) if one else other


def _entry(lines: list[Line]) -> Entry:
    return Entry(
        calls=sum(line.calls for line in lines),
        billed=sum(line.billed for line in lines),
        prompt_tokens=sum(line.prompt_tokens for line in lines),
        completion_tokens=sum(line.completion_tokens for line in lines),
        statuses={line.status: line.calls for line in sorted(lines)},
    )
