"""The job every peer does: a frame's column to answers, timed, each answer checked, one line of JSON.

Imports nothing of any peer, since it runs in each one's own environment.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: A frame to its answers, at once or to be awaited.
Answering = Callable[["pd.DataFrame"], Sequence[str | None] | Awaitable[Sequence[str | None]]]

#: What stands before the row's number, in the prompt and so in the request's body, where the server finds it.
MARK = "review number "
PROMPT = f"Classify the {MARK}{{number}} of this product in one word: " + "it works well and looks good. " * 12
#: Always of one length, so that the server's answers differ in the number only.
ANSWER = f"The answer to {MARK}{{number:08d}}, about as long as short answers are in practice."


def prompts(frame: pd.DataFrame) -> list[str]:
    """Return the prompts of a frame, as one would write it for a client that takes text."""
    return [PROMPT.format(number=number) for number in frame["number"]]


def wrong(numbers: Sequence[int], answers: Sequence[Any]) -> list[int]:
    """Return the rows that have no answer or another row's; one more at the end where there are too many answers."""
    expected = [ANSWER.format(number=number) for number in numbers]
    given = [*answers[: len(expected)], *[None] * (len(expected) - len(answers))]
    rows = [row for row, (right, said) in enumerate(zip(expected, given, strict=True)) if said != right]
    return rows + ([len(expected)] if len(answers) > len(expected) else [])


def cpu_seconds() -> float:
    """Return the CPU time of this process, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(answering: Answering, rows: int, warm: int) -> dict[str, Any]:
    """Answer some rows to warm up, then the frame; only the second is timed."""
    import pandas as pd

    runner = asyncio.Runner()  # one loop for both, since clients keep their connections in it

    def answer(frame: pd.DataFrame) -> Sequence[str | None]:
        made = answering(frame)
        if inspect.iscoroutine(made):
            return runner.run(made)
        assert not inspect.isawaitable(made)
        return made

    answer(pd.DataFrame({"number": range(rows, rows + warm)}))
    frame = pd.DataFrame({"number": range(rows)})
    gc.collect()
    gc.freeze()  # importing is not counted, nor is looking again and again at what it left: all get the best of it
    cpu, wall = cpu_seconds(), time.perf_counter()
    answers = answer(frame)
    if len(answers) == rows:
        frame["answer"] = answers
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    bad = wrong(range(rows), list(answers))
    runner.close()
    return {"rows": rows, "wall": wall, "cpu": cpu, "wrong": len(bad), "first_wrong": bad[0] if bad else None}


def main(package: str, opened: Callable[[str, int], Answering]) -> None:
    """Do the job with what `opened(url, in_flight)` returns, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="base URL of the server, up to /v1")
    parser.add_argument("rows", type=int, help="rows that are timed")
    parser.add_argument("in_flight", type=int, help="requests in flight at most")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the server has the last core
    found = measured(opened(asked.url, asked.in_flight), asked.rows, 2 * asked.in_flight)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.flush()
    print(json.dumps({"package": package, "version": version(package), **found, "peak_mb": peak_mb}))
