"""A process that has imported everything and forks children which make the call: a new process in 20 ms.

Run as a program it reads one JSON order a line and answers each with a line: a call starts a child and gives its pid, a
pid waits for that child's end and gives its exit code.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path


def main():
    """Take orders until there are no more, then end every child."""
    import pandas  # noqa: F401, ICN001  # so that the children need not

    import dfllm  # noqa: F401  # likewise
    from dfllm._run import http, runtime  # noqa: F401  # likewise

    children = set()
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            _, status = os.waitpid(order, 0)
            children.discard(order)
            sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
            sys.stdout.flush()
            continue
        pid = os.fork()
        if pid == 0:
            _be_a_child(order)
        children.add(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)


def _be_a_child(order):
    code = 1
    try:
        os.environ.update(order["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        with Path(order["out"]).open("wb", buffering=0) as out:
            os.dup2(out.fileno(), 1)
            call(order, lambda what: out.write(json.dumps(what).encode() + b"\n"))
        code = 0
    except BaseException:  # noqa: BLE001  # it is told of, and nothing else of this process goes on
        traceback.print_exc()
    finally:
        os._exit(code)


def call(order, tell):
    """Ask about each value and tell of each row as soon as it is heard of, or of all at the end."""
    import pandas as pd

    import dfllm

    while not Path(order["go"]).exists():
        time.sleep(0.001)
    frame = pd.DataFrame({"n": order["values"]})
    options = {"model": "simulator/echo", "limits": dfllm.Limits(concurrency=order["concurrency"])}
    if order["by_row"]:
        for row in frame.llm.iter_completions(order["prompt"], **options):
            tell([row.position, row.value, row.error])
    else:
        done = frame.llm.complete(order["prompt"], **options)
        for position, (answer, error) in enumerate(zip(done["completion"], done["completion_error"], strict=True)):
            tell([position, None if pd.isna(answer) else answer, None if pd.isna(error) else error])


class Child:
    """A process that makes the call."""

    def __init__(self, nursery, pid, out):
        self._nursery = nursery
        self.pid = pid
        self._out = out

    def kill(self):
        """End it at once, and wait until it is gone."""
        os.kill(self.pid, 9)
        return self.ends()

    def ends(self):
        """Wait for its end; return its exit code, the signal's number below zero."""
        return self._nursery.order(self.pid)

    def heard(self):
        """Return the rows it has told of: answer and error by position."""
        lines = self._out.read_bytes().split(b"\n")[:-1]
        return {position: (answer, error) for position, answer, error in map(json.loads, lines)}


class Nursery:
    """The process above, from outside.

    Args:
        folder: where children write what they hear.
        environment: what they find in theirs.
    """

    def __init__(self, folder, environment):
        self._folder = folder
        self._environment = environment
        self._started = 0
        self._running = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def order(self, what):
        """Send one order and return the answer."""
        self._running.stdin.write(json.dumps(what) + "\n")
        self._running.stdin.flush()
        return int(self._running.stdout.readline())

    def start(self, prompt, values, *, concurrency, by_row=False, go=None):
        """Start a child that asks about these values, at once or when the file `go` is there."""
        self._started += 1
        out = self._folder / f"heard-{self._started}"
        out.touch()
        order = {
            "environment": self._environment,
            "out": str(out),
            "go": str(go or self._folder),
            "values": list(values),
            "prompt": prompt,
            "concurrency": concurrency,
            "by_row": by_row,
        }
        return Child(self, self.order(order), out)

    def close(self):
        """End it and its children."""
        self._running.stdin.close()
        self._running.wait(10)
        self._running.stdout.close()


if __name__ == "__main__":
    main()
