"""Money: what a workload with trouble bills, killed half-way, run again, and run once more. See ../README.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import workload

from dfllm.simulator import Faults, Simulator

sys.path.append(str(Path(__file__).parents[1] / "peers"))
import run as peers  # after its folder is on the path

HERE = Path(__file__).parent
NAMES = (peers.OURS, "langchain", "lm_deluge", "openai")
#: Billed by necessary, at most.
PROMISED = 1.09
_MOST_SECONDS = 300
_LOOK_SECONDS = 0.002


class Found(NamedTuple):
    """What a client came to.

    Attributes:
        name: whose.
        version: of its package.
        answered: rows with an answer after the second run.
        wrong: rows with another row's answer.
        billed: calls billed in the first two runs.
        at_kill: those of them that were billed when the first run was killed.
        warm: calls billed in the third run.
        warm_calls: calls made in it.
        worst: the most often that one prompt was billed.
        failed: how it failed; empty where it did not.
    """

    name: str
    version: str = ""
    answered: int = 0
    wrong: int = 0
    billed: int = 0
    at_kill: int = 0
    warm: int = 0
    warm_calls: int = 0
    worst: int = 0
    failed: str = ""

    @property
    def ratio(self) -> float:
        """Billed by necessary."""
        return self.billed / workload.necessary()


def kill_halfway(command: Sequence[str], name: str, simulator: Simulator) -> str:
    """Run a client until the server has seen half of the prompts, and kill it; return what went otherwise."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=peers.surroundings(name)
    ) as process:
        until = time.monotonic() + _MOST_SECONDS
        while simulator.bill.distinct < workload.KILLED_AT:
            if process.poll() is not None:
                return f"ended after {simulator.bill.distinct} prompts with exit code {process.returncode}"
            if time.monotonic() > until:
                process.kill()
                return f"asked {simulator.bill.distinct} prompts in {_MOST_SECONDS} s"
            time.sleep(_LOOK_SECONDS)
        process.kill()
    return ""


def measured(name: str, environments: Path) -> Found:
    """Let a client do the workload three times, killed in the first; the server counts."""
    faults = Faults(by_text=workload.faults(), stall_seconds=workload.LATE_SECONDS)
    with (
        tempfile.TemporaryDirectory(prefix="dfllm-money-", ignore_cleanup_errors=True) as folder,
        Simulator(latency_seconds=0.05, latency_spread=0.5, faults=faults) as simulator,
    ):
        bill = simulator.bill
        once = name, HERE / "client.py", [name, simulator.base_url, folder], environments
        failed = kill_halfway(peers.command_of(*once), name, simulator)
        at_kill = bill.billed
        again = peers.run_script(*once, most_seconds=_MOST_SECONDS)
        after = bill.totals()
        warm = peers.run_script(*once, most_seconds=_MOST_SECONDS)
        last = bill.totals()
        worst = max((entry.billed for entry in bill.entries().values()), default=0)
    return Found(
        name,
        again.get("version", ""),
        again.get("answered", 0),
        again.get("wrong", 0),
        after["billed"],
        at_kill,
        last["billed"] - after["billed"],
        last["requests"] - after["requests"],
        worst,
        failed or again.get("failed", "") or warm.get("failed", ""),
    )


def table(found: Sequence[Found]) -> str:
    """Return the table, in Markdown."""
    lines = [
        f"| client | version | billed | billed / {workload.necessary()} necessary | rows answered of {workload.ROWS} | "
        "billed by the warm run | most for one prompt |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        if one.failed:
            lines.append(f"| {one.name} | {one.version} | {one.failed} | | | | |")
            continue
        answered = f"{one.answered}" + (f", {one.wrong} wrong" if one.wrong else "")
        figures = f"{one.billed} | {one.ratio:.3f} | {answered} | {one.warm} | {one.worst}"
        lines.append(f"| {one.name} | {one.version} | {figures} |")
    return "\n".join(lines)


def broken(ours: Found) -> list[str]:
    """Return the promises that do not hold for ours."""
    if ours.failed:
        return [ours.failed]
    most = workload.necessary() + workload.lost() + workload.IN_FLIGHT
    said = []
    if ours.billed > most:
        said.append(f"billed {ours.billed}, at most {most} is what nobody can avoid")
    if ours.ratio > PROMISED:
        said.append(f"billed / necessary is {ours.ratio:.3f}, {PROMISED} is promised")
    if ours.warm:
        said.append(f"the warm run billed {ours.warm}")
    if ours.wrong:
        said.append(f"{ours.wrong} rows have another row's answer")
    if ours.answered != answerable():
        said.append(f"{ours.answered} rows answered, {answerable()} can be")
    return said


def answerable() -> int:
    """Return the rows that can have an answer: neither refused nor withheld."""
    silent = {question for question, fault in workload.faults().items() if fault in (workload.REFUSED, "filter")}
    return sum(question not in silent for question in workload.rows())


def main() -> None:
    """Measure all clients or what is named, print the table, fail where ours breaks a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="CLIENT", help="which to run; all by default")
    parser.add_argument("--short", action="store_true", help="ours only, which needs no environment; as CI runs it")
    parser.add_argument("--install", action="store_true", help="make the peers' environments first")
    parser.add_argument("--folder", type=Path, default=peers.FOLDER, help="where the environments are")
    asked = parser.parse_args()
    names = [peers.OURS] if asked.short else list(dict.fromkeys([peers.OURS, *(asked.names or NAMES)]))
    if asked.install:
        peers.install(names, asked.folder)
    peers.check_installed(names, asked.folder)
    found = []
    for name in names:
        began = time.monotonic()
        found.append(measured(name, asked.folder))
        print(
            f"{name}, {time.monotonic() - began:.0f} s: {json.dumps(found[-1]._asdict())}", file=sys.stderr, flush=True
        )
    print(
        f"\n{workload.ROWS} rows, {workload.DISTINCT} prompts, {workload.necessary()} calls necessary, "
        f"{workload.lost()} answers lost by the server, at most {workload.IN_FLIGHT} in flight at the kill; "
        f"budget {PROMISED}\n"
    )
    print(table(found), flush=True)
    if said := broken(found[0]):
        sys.exit("\n" + "\n".join(said))


if __name__ == "__main__":
    main()
