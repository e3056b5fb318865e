"""A frame whose every answer is in the store, read twice: prints seconds and memory. Run in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd

import dfllm
from dfllm._core.keys import keyer
from dfllm._core.types import Message, Terms
from dfllm._run.settings import current
from dfllm._run.store import Entry, Store

sys.path.insert(0, str(Path(__file__).parent))
from server import BODY  # after its folder is on the path

TEXT = "it works well and looks good, and it came in time. " * 6
PROMPT = "Classify review {{ number }} in one word: {{ review }}"


def rss_mb() -> float:
    """Return this process's resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Peak(threading.Thread):
    """Watches the memory while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = rss_mb()
        self.over = threading.Event()

    def run(self) -> None:
        """Look twenty times a second."""
        while not self.over.wait(0.05):
            self.most = max(self.most, rss_mb())


def fill(rows: int) -> None:
    """Put the answers into the store; done in another process, so that its memory does not count here."""
    key_of = keyer(Terms("vllm", "openai", "bench"))
    store = Store(current().store_path)
    for start in range(0, rows, 10_000):
        keys = [
            key_of((Message("user", f"Classify review {number} in one word: {TEXT}"),))
            for number in range(start, min(rows, start + 10_000))
        ]
        store.save([Entry(key, BODY, "vllm", "bench", time.time(), 0.1, None) for key in keys], "bench").result()
    store.close()


def main(rows: int) -> dict[str, float]:
    """Read a full store back through the accessor, and compare."""
    os.environ["DFLLM_STORE"] = tempfile.mkdtemp(prefix="dfllm-bench-")
    subprocess.run([sys.executable, __file__, str(rows), "fill"], check=True)
    frame = pd.DataFrame({"number": range(rows), "review": [TEXT] * rows})
    frame.head(10).llm.complete(PROMPT, model="vllm/bench", progress=False)
    before = rss_mb()
    peak = Peak()
    peak.start()
    started, cpu = time.perf_counter(), time.process_time()
    made = frame.llm.complete(PROMPT, model="vllm/bench", progress=False)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak.over.set()
    assert int(made["completion"].notna().sum()) == rows
    assert dfllm.last_run().to_dict()["sent"] == 0
    answers_mb = (made["completion"].memory_usage(deep=True) + made["completion_error"].memory_usage(deep=True)) / 2**20

    started = time.perf_counter()
    sample = min(rows, 20_000)
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = ImmutableSandboxedEnvironment().from_string(PROMPT)
    for _, row in frame.head(sample).iterrows():
        template.render(**row)
    naive = (time.perf_counter() - started) / sample
    return {
        "us_per_row": 1e6 * seconds / rows,
        "cpu_us_per_row": 1e6 * cpu_seconds / rows,
        "naive_render_us": 1e6 * naive,
        "answers_mb": answers_mb,
        "over_mb": peak.most - before - answers_mb,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    if sys.argv[2:] == ["fill"]:
        fill(int(sys.argv[1]))
    else:
        print(json.dumps(main(int(sys.argv[1]))))
