"""Peers on the same job as ours: one table, and a failure where ours is not twice as fast. See ../README.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
#: Where the environments are; git ignores it.
FOLDER = HERE.parents[2] / ".venv-peers"
OURS = "dfllm"
#: How many times the fastest peer's rate, and how many times less CPU than the leanest, is promised.
PROMISED = 2.0
#: Peers by name: the script is ``with_NAME.py``; the environment is made from ``requirements/ENVIRONMENT.txt``.
PEERS = {
    OURS: None,
    "lm_deluge": "lm_deluge",
    "openai": "openai",
    "openai_aiohttp": "openai",
    "langchain": "langchain",
    "litellm": "litellm",
    "litellm_batch": "litellm",
}
#: Variables that would steer a peer elsewhere: keys and addresses, tracing, caches, proxies.
_STEERING = ("OPENAI_", "LANGCHAIN_", "LANGSMITH_", "LITELLM_", "DFLLM_", "VLLM_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
#: A peer that takes longer than this for a round is given up.
_MOST_SECONDS = 900

#: What a script printed: figures, or why there are none.
Run = Mapping[str, Any]


class Line(NamedTuple):
    """A peer's line of the table: medians over its rounds."""

    name: str
    version: str
    rate: float
    cpu_ms: float
    times_rate: float  # our rate over its rate in the same round
    times_cpu: float  # its CPU over ours in the same round
    faults: str  # wrong answers or how it failed; empty where all is right


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run the server in its own process; yield its base URL."""
    command = [sys.executable, str(HERE / "echo.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()


def python_of(name: str, folder: Path) -> Path:
    """Return the Python that a peer runs with."""
    environment = PEERS[name]
    return Path(sys.executable) if environment is None else folder / environment / "bin" / "python"


def install(names: Sequence[str], folder: Path) -> None:
    """Make the environments of these peers."""
    for environment in dict.fromkeys(PEERS[name] for name in names if PEERS[name]):
        print(f"Installing {environment} in {folder / environment}", flush=True)
        venv.create(folder / environment, with_pip=True, clear=True)
        requirements = HERE / "requirements" / f"{environment}.txt"
        python = str(folder / environment / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", str(requirements)], check=True)


def check_installed(names: Sequence[str], folder: Path) -> None:
    """End here if an environment is missing."""
    missing = [name for name in names if not python_of(name, folder).exists()]
    if missing:
        sys.exit(f"No environment for {', '.join(missing)} in {folder}; make it with --install.")


def surroundings(name: str) -> dict[str, str]:
    """Return the environment variables of a peer, none of which steers it elsewhere."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(_STEERING) and key.lower() not in _PROXIES
    }
    if name != OURS:
        kept.pop("PYTHONPATH", None)
    return kept


def run_of(stdout: str) -> Run:
    """Read a script's output: the last line is its figures, whatever the peer printed before."""
    lines = stdout.splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"failed": f"printed no figures but {lines[-1]!r}" if lines else "printed nothing"}


def run(name: str, url: str, rows: int, in_flight: int, folder: Path, *, paced: bool = False) -> Run:
    """Run one peer in its own process, ours with limits told if `paced`; return its figures, or how it failed."""
    script = HERE / f"with_{name}{'_paced' if paced and name == OURS else ''}.py"
    return run_script(name, script, [url, str(rows), str(in_flight)], folder)


def command_of(name: str, script: Path, words: Sequence[str], folder: Path) -> list[str]:
    """Return the command that runs a script in a peer's environment."""
    return [str(python_of(name, folder)), str(script), *words]


def run_script(name: str, script: Path, words: Sequence[str], folder: Path, most_seconds: int = _MOST_SECONDS) -> Run:
    """Run a script in a peer's environment; return what its last line says, or how it failed."""
    command = command_of(name, script, words, folder)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=most_seconds, env=surroundings(name)
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {most_seconds} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no word"]
        return {"failed": f"exit code {done.returncode}: {said[-1]}"}
    return run_of(done.stdout)


def faults_of(runs: Sequence[Run]) -> str:
    """Name what was wrong in a peer's rounds."""
    for found in runs:
        if "failed" in found:
            return found["failed"]
        if found["wrong"]:
            return f"{found['wrong']:,} of {found['rows']:,} wrong, the first in row {found['first_wrong']}"
    return ""


def rate_of(found: Run) -> float:
    """Return rows per second."""
    return found["rows"] / found["wall"]


def cpu_ms_of(found: Run) -> float:
    """Return CPU milliseconds a row."""
    return 1e3 * found["cpu"] / found["rows"]


def lines_of(found: Mapping[str, Sequence[Run]]) -> list[Line]:
    """Return a line for each peer, the fastest first, those that failed last.

    Ratios are taken within a round, since what the neighbours do changes from one round to the next.
    """
    lines = []
    for name, runs in found.items():
        rounds = zip(runs, found[OURS], strict=True)
        pairs = [(one, ours) for one, ours in rounds if "failed" not in one and "failed" not in ours]
        if not pairs:
            lines.append(Line(name, "", 0.0, 0.0, 0.0, 0.0, faults_of(runs) or "nothing of ours to compare with"))
            continue
        line = Line(
            name,
            pairs[0][0]["version"],
            statistics.median(rate_of(one) for one, _ in pairs),
            statistics.median(cpu_ms_of(one) for one, _ in pairs),
            statistics.median(rate_of(ours) / rate_of(one) for one, ours in pairs),
            statistics.median(cpu_ms_of(one) / cpu_ms_of(ours) for one, ours in pairs),
            faults_of(runs),
        )
        lines.append(line)
    return sorted(lines, key=lambda line: -line.rate)


def table(lines: Sequence[Line]) -> str:
    """Return the table, in Markdown."""
    text = [
        "| peer | version | rows/s | CPU ms a row | ours, times the rate | ours, times less CPU | answers |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        if not line.rate:
            text.append(f"| {line.name} | | | | | | {line.faults} |")
            continue
        figures = f"{line.rate:,.0f} | {line.cpu_ms:.3f} | {line.times_rate:.2f} | {line.times_cpu:.2f}"
        text.append(f"| {line.name} | {line.version} | {figures} | {line.faults or 'all right'} |")
    return "\n".join(text)


def broken(lines: Sequence[Line]) -> list[str]:
    """Return the promises that do not hold: twice the fastest, and every answer right so that it is the same job."""
    said = [f"{line.name}: {line.faults}" for line in lines if line.faults]
    peers = [line for line in lines if line.name != OURS and line.rate]
    if peers:
        fastest = min(peers, key=lambda line: line.times_rate)
        leanest = min(peers, key=lambda line: line.times_cpu)
        if fastest.times_rate < PROMISED:
            said.append(f"{fastest.times_rate:.2f} x the rate of {fastest.name}, {PROMISED:g} x is promised")
        if leanest.times_cpu < PROMISED:
            said.append(f"{leanest.times_cpu:.2f} x less CPU than {leanest.name}, {PROMISED:g} x is promised")
    return said


def main() -> None:
    """Make the environments if told to, run all or what is named, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PEERS, []], metavar="PEER", help="which to run; all by default")
    parser.add_argument("--install", action="store_true", help="make the environments first; needs the package index")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the environments are")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paced", action="store_true", help="tell ours limits, so that it charges every request")
    asked = parser.parse_args()
    names = list(dict.fromkeys([OURS, *(asked.names or PEERS)]))
    if asked.install:
        install(names, asked.folder)
    check_installed(names, asked.folder)
    found: dict[str, list[Run]] = {name: [] for name in names}
    loads = [os.getloadavg()[0]]
    with serving() as url:
        for _ in range(asked.rounds):
            for name in names:
                found[name].append(run(name, url, asked.rows, asked.in_flight, asked.folder, paced=asked.paced))
                print(f"{name}: {json.dumps(found[name][-1])}", file=sys.stderr, flush=True)
            loads.append(os.getloadavg()[0])
    lines = lines_of(found)
    print(f"\n{asked.rows:,} rows, {asked.in_flight} in flight, 0 ms, a core each; median of {asked.rounds} rounds")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {min(loads):.1f} to {max(loads):.1f}\n")
    print(table(lines), flush=True)
    if said := broken(lines):
        sys.exit("\n" + "\n".join(said))


if __name__ == "__main__":
    main()
