"""Takes one defence after another out of the library and sees that a test turns red: ``python -m tests.chaos.mutants``.

Each mutant is one line of the source, changed in a copy of the tree. A name, or a part of one, on the command line
plays only those. It ends with exit code 1 where a mutant survives, or does not fit the source any more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SCHEDULES = "tests/chaos/test_schedules.py"
PROMISE = f"{SCHEDULES}::test_no_schedule_breaks_a_promise"


class Mutant(NamedTuple):
    """A defence taken out.

    Attributes:
        name: what is missing.
        file: where, below src/dfllm.
        old: the line, or a part of it.
        new: what stands there instead.
        test: what must turn red.
        more: further arguments of pytest.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
    more: tuple[str, ...] = ()


MUTANTS = (
    Mutant(
        "what a killed process had reserved is counted twice",
        "_run/store_ledger.py",
        'connection.execute(f"UPDATE claims SET reserved = 0 WHERE {where}", values)',
        "pass",
        "tests/_run/test_store_ledger.py",
    ),
    Mutant(
        "what was reserved by the dead is forgotten",
        "_run/store_ledger.py",
        "        pay(connection, lost)",
        "        pass",
        "tests/_run/test_store_ledger.py",
    ),
    Mutant(
        "a budget does not look at what is reserved",
        "_run/store_ledger.py",
        "- (0 if spent is None else spent[0]) - reserved, reserved)",
        "- (0 if spent is None else spent[0]), reserved)",
        "tests/_run/test_store_ledger.py",
    ),
    Mutant(
        "no single-flight between processes",
        "_run/store_claims.py",
        "elif place in held:",
        "elif place in held and False:",
        "tests/chaos/test_processes.py::test_eight_processes_pay_once",
    ),
    Mutant(
        "no single-flight within a run",
        "_run/engine.py",
        "if (positions := self._waiting.get(one.key)) is not None:",
        "if (positions := self._waiting.get(one.key)) is not None and False:",
        PROMISE,
    ),
    Mutant(
        "rows hear before the commit",
        "_run/commits.py",
        "saved.add_done_callback(partial(self._saved, group, committed))",
        "self._landed(group, committed, None)",
        PROMISE,
    ),
    Mutant(
        "rows hear before the commit, in a real process",
        "_run/commits.py",
        "saved.add_done_callback(partial(self._saved, group, committed))",
        "self._landed(group, committed, None)",
        "tests/chaos/test_kill.py",
        ("--chaos-kills", "60"),
    ),
    Mutant(
        "max_tokens is not in the key",
        "_core/keys.py",
        "if field.name not in WIRE_ONLY and",
        'if field.name not in {*WIRE_ONLY, "max_tokens"} and',
        "tests/_core/test_keys.py",
    ),
    Mutant(
        "what may have been billed is sent again without end",
        "_core/retry.py",
        "return unsure <= resend_ambiguous",
        "return unsure <= resend_ambiguous + 1",
        PROMISE,
    ),
    Mutant(
        "paid answers that are none are not kept",
        "_core/retry.py",
        "return isinstance(outcome, Response) or outcome.response is not None",
        "return isinstance(outcome, Response)",
        PROMISE,
    ),
    Mutant(
        "checksums are not compared",
        "_run/store.py",
        "if crc32(body, crc32(fixed)) == total:",
        "if crc32(body, crc32(fixed)) or total:",
        "tests/chaos/test_flips.py",
    ),
    Mutant(
        "spill files stay where they are",
        "_run/store.py",
        "spills = spills_of(self.path)",
        "spills = spills_of(self.path)[:0]",
        "tests/chaos/test_failing_disk.py",
    ),
    Mutant(
        "a failing disk stops nothing",
        "_run/engine.py",
        'self._stop(Failure("StoreError", str(error)))',
        'Failure("StoreError", str(error))',
        "tests/chaos/test_failing_disk.py",
    ),
    Mutant(
        "a busy store is a broken one",
        "_run/store_errors.py",
        "return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)",
        "return code_of(error) in (sqlite3.SQLITE_LOCKED,)",
        "tests/chaos/test_failing_disk.py",
        ("-k", "busy"),
    ),
    Mutant(
        "the dead keep their claims",
        "_run/store_claims.py",
        "if _start_of(owner.pid) != owner.start:",
        "if _start_of(owner.pid) != owner.start and False:",
        "tests/chaos/test_processes.py::test_seven_go_on_when_one_is_killed",
        ("--timeout", "40"),
    ),
    Mutant(
        "claims of rows without an answer are not given back",
        "_run/engine.py",
        "return self._store.save(entries, self._run, free=bare, spends=spends)",
        "return self._store.save(entries, self._run, spends=spends)",
        PROMISE,
    ),
    Mutant(
        "Ctrl-C does not stop what waits",
        "_run/live.py",
        "waiting = [*self._queue, *self._timers]\n        self._queue.clear()",
        "waiting = [*self._timers]",
        PROMISE,
    ),
    Mutant(
        "attempts in doubt are not journalled",
        "_run/engine.py",
        "self._store.journal([self._bill.noted(missed)], [self._bill.missed(missed)])",
        "self._bill.missed(missed)",
        PROMISE,
    ),
    Mutant(
        "the first request does not go alone",
        "_run/gate.py",
        "self.is_open = False\n        self.lock",
        "self.is_open = True\n        self.lock",
        PROMISE,
    ),
    Mutant(
        "an outage is no reason to pause",
        "_run/live.py",
        "if self._is_outage(ask, failure):",
        "if self._is_outage(ask, failure) and False:",
        f"{SCHEDULES}::test_an_hour_of_outage_costs_a_few_requests",
    ),
    Mutant(
        "what providers say is not scrubbed",
        "_wire/status.py",
        'line = _SECRETS.sub("***", _ASIDE.sub(" ", str(text))).strip()',
        'line = _ASIDE.sub(" ", str(text)).strip()',
        PROMISE,
    ),
    Mutant(
        "a worker that is cancelled forgets its question",
        "_run/live.py",
        "                    self._put_unsent(ask)\n                if self.stopped",
        "                    pass\n                if self.stopped",
        "tests/chaos/test_live_fuzz.py",
    ),
)


def outcome_of(mutant: Mutant) -> str:
    """Return what became of a mutant: killed, SURVIVED, or why it could not be played."""
    with tempfile.TemporaryDirectory(prefix="dfllm-mutant-") as made:
        copy = Path(made)
        for name in ("src", "tests", "docs", "pyproject.toml", "README.md"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
        file = copy / "src" / "dfllm" / mutant.file
        text = file.read_text("utf-8")
        if text.count(mutant.old) != 1:
            return f"DOES NOT FIT: {text.count(mutant.old)} places"
        file.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test]
        command += [*mutant.more, *([] if "tests/chaos" not in mutant.test else ["--chaos-seed", "1"])]
        command += ["--chaos-schedules", "400"] if mutant.test == PROMISE else []
        environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
        ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode not in (0, 1):
            return f"COULD NOT BE PLAYED: {ended.stdout[-300:]}{ended.stderr[-300:]}"
        return "killed" if ended.returncode == 1 else "SURVIVED"


def main(*wanted: str) -> None:
    """Play the mutants."""
    chosen = [one for one in MUTANTS if not wanted or any(part in one.name for part in wanted)]
    outcomes = []
    for mutant in chosen:
        outcomes.append(outcome_of(mutant))
        sys.stdout.write(f"{outcomes[-1]:<10} {mutant.name} ({mutant.test})\n")
        sys.stdout.flush()
    sys.stdout.write(f"{outcomes.count('killed')} of {len(chosen)} killed\n")
    sys.exit(outcomes.count("killed") < len(chosen))


if __name__ == "__main__":
    main(*sys.argv[1:])
