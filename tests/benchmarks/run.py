"""Benchmarks: our figure beside a baseline measured in the same run. See README.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def serving(delay_seconds: float = 0.0) -> Iterator[str]:
    """Run the server in its own process; yield its base URL."""
    command = [sys.executable, str(HERE / "server.py"), str(delay_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()


def client(name: str, url: str, rows: int, in_flight: int) -> dict[str, float]:
    """Run one client in its own process; return its figures."""
    command = [sys.executable, str(HERE / "clients.py"), name, url, str(rows), str(in_flight)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(name: str, rows: list[tuple[str, str, str]]) -> None:
    """Print a small table."""
    print(f"\n## {name}\n\n| what | figure | beside |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()


def bench_rows(*, short: bool) -> list[str]:
    """Render, encode and key of a row."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from dfllm._core.keys import keyer
    from dfllm._core.template import Prompt, recipe_of
    from dfllm._core.types import Terms
    from dfllm._wire.openai import encoder

    count = 20_000 if short else 200_000
    text = "Classify {{ number }} of {{ product }} in one word: {{ review }}"
    rows = [(number, "Trail Stove", "it works well and looks good. " * 11) for number in range(count)]
    prompt = Prompt(recipe_of(text, None, "skip"))
    place = [("number", "product", "review").index(column) for column in prompt.columns]
    values = [tuple(row[index] for index in place) for row in rows]
    terms = Terms("openai", "openai", "m", temperature=0.0)
    render, key_of, encode = prompt.renderer(), keyer(terms), encoder(terms)
    ours, naive = [], []
    template = ImmutableSandboxedEnvironment().from_string(text)
    for _ in range(3):
        started = time.process_time()
        for row in values:
            messages = render(row)
            key_of(messages)
            encode(messages)
        ours.append(1e6 * (time.process_time() - started) / count)
        started = time.process_time()
        for number, product, review in rows[: count // 10]:
            said = template.render(number=number, product=product, review=review)
            json.dumps({"model": "m", "messages": [{"role": "user", "content": said}]})
        naive.append(1e6 * (time.process_time() - started) / (count // 10))
    ours_us, naive_us = statistics.median(ours), statistics.median(naive)
    beside = f"render + json.dumps alone {naive_us:.2f} us"
    report("render + encode + key", [("ours", f"{ours_us:.2f} us a row", beside)])
    return [f"rows: {ours_us:.2f} us a row"] if ours_us > 5 * (2 if short else 1) else []


#: Ordinary templates: what most prompts are, and what they do now and then.
ORDINARY = (
    "Classify {{ number }} of {{ product }} in one word: {{ review }}",
    "{% if number > 3 %}Good{% elif number == 3 %}Fair{% else %}Bad{% endif %}: {{ review | upper }}",
    "{% for tag in tags %}{{ loop.index }}. {{ tag }}{{ ', ' if not loop.last }}{% endfor %}",
    "{{ product | trim | title }} for {{ number }}: {{ review[:80] }}",
    "{% set words = review.split(' ') %}{{ words | length }} words: {{ words | join('-') }}",
)


def bench_templates(*, short: bool) -> list[str]:
    """The sandbox beside plain jinja2."""
    import jinja2

    from dfllm._core.template import Prompt, recipe_of

    count = 3_000 if short else 20_000
    row = {"number": 4, "product": "trail stove", "review": "it works well and looks good. " * 11, "tags": list("abcd")}
    rows, worst = [], 0.0
    for text in ORDINARY:
        prompt = Prompt(recipe_of(text))
        render, values = prompt.renderer(), [row[column] for column in prompt.columns]
        template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)
        assert render(values)[0].content == template.render(**row), text
        ours, plain = [], []
        for _ in range(5):  # in turns, so that the neighbours disturb both alike; the best of each
            started = time.process_time()
            for _ in range(count):
                render(values)
            ours.append(1e6 * (time.process_time() - started) / count)
            started = time.process_time()
            for _ in range(count):
                template.render(**row)
            plain.append(1e6 * (time.process_time() - started) / count)
        ratio = min(ours) / min(plain)
        worst = max(worst, ratio)
        rows.append((f"`{text[:40]}`", f"{min(ours):.2f} us", f"{ratio:.2f} x plain jinja2 {min(plain):.2f} us"))
    report("ordinary templates in the sandbox", rows)
    return [f"templates: {worst:.2f} x plain jinja2"] if worst > 1.2 else []


def bench_known(*, short: bool) -> list[str]:
    """Every answer in the store."""
    count = 50_000 if short else 1_000_000
    command = [sys.executable, str(HERE / "known.py"), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"known failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    report(
        f"fully known re-run, {count:,} rows",
        [
            ("time", f"{found['us_per_row']:.2f} us a row", f"iterrows + render {found['naive_render_us']:.1f} us"),
            ("CPU", f"{found['cpu_us_per_row']:.2f} us a row", ""),
            ("memory over frame and answers", f"{found['over_mb']:.0f} MB", f"answers {found['answers_mb']:.0f} MB"),
        ],
    )
    passed = [f"known: {found['us_per_row']:.2f} us a row"] if found["us_per_row"] > 10 * (2 if short else 1) else []
    return passed + ([f"known: {found['over_mb']:.0f} MB over frame and answers"] if found["over_mb"] > 300 else [])


def bench_live(*, short: bool) -> list[str]:
    """CPU of a live row beside bare clients."""
    rounds, count = (1, 4_000) if short else (3, 20_000)
    counts = {"aiohttp": count, "ours": count, "paced": count}
    if not short:
        counts |= {"openai": 1_000, "httpx": 400}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in counts}
    with serving() as url:
        for _ in range(rounds):
            for name, count in counts.items():
                found[name].append(client(name, url, count, 200))
    base = statistics.median(1e6 * one["cpu"] / one["rows"] for one in found["aiohttp"])
    rows, ratio = [], 0.0
    for name, runs in found.items():
        cpu = statistics.median(1e6 * one["cpu"] / one["rows"] for one in runs)
        rate = statistics.median(one["rows"] / one["wall"] for one in runs)
        rows.append((name, f"{cpu:.0f} us CPU a row, {rate:,.0f} rows/s", f"{cpu / base:.2f} x bare aiohttp"))
        ratio = max(ratio, cpu / base) if name in ("ours", "paced") else ratio
    report("live, 0 ms, 200 in flight, one core", rows)
    return [f"live: {ratio:.2f} x bare aiohttp"] if ratio > (2.5 if short else 1.7) else []


def bench_flight(*, short: bool) -> list[str]:
    """Many in flight."""
    seconds = 4 if short else 60  # long enough that filling and emptying the flight do not count
    in_flight = 500 if short else 1_000
    with serving(0.5) as url:
        bare = client("aiohttp", url, in_flight * 2 * seconds, in_flight)
        some = client("ours", url, in_flight * 2 * seconds, in_flight)
        ideal = in_flight / 0.5
        share = some["rows"] / some["wall"] / ideal
        rate = f"{some['rows'] / some['wall']:,.0f} rows/s"
        beside = f"{share:.1%} of {ideal:,.0f}; bare aiohttp {bare['rows'] / bare['wall'] / ideal:.1%}"
        rows = [(f"{in_flight:,} in flight", rate, beside)]
        passed = [f"flight: {share:.1%} of the ideal rate"] if share < (0.8 if short else 0.95) else []
        if not short:
            many = client("ours", url, 50_000, 5_000)
            times = (many["cpu"] / many["rows"]) / (some["cpu"] / some["rows"])
            cpu = 1e6 * many["cpu"] / many["rows"]
            rows.append(("5,000 in flight", f"{cpu:.0f} us CPU a row", f"{times:.2f} x that at 1,000"))
            passed += [f"flight: {times:.2f} x CPU at 5,000"] if times > 1.5 else []
    report("500 ms answers", rows)
    return passed


def bench_start(*, short: bool) -> list[str]:
    """Seconds that `import dfllm` adds to `import pandas`."""
    code = (
        "import time; a = time.perf_counter(); import pandas; b = time.perf_counter(); "
        "import dfllm; print(b - a, time.perf_counter() - b)"
    )
    with tempfile.TemporaryDirectory(prefix="dfllm-bench-") as folder:
        # As where it is installed: compiled once, which a checkout may forbid; the first run does that.
        around = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        runs = [
            [
                float(part)
                for part in subprocess.check_output([sys.executable, "-c", code], text=True, env=around).split()
            ]
            for _ in range(4 if short else 10)
        ][1:]
    pandas, ours = (statistics.median(run[place] for run in runs) for place in (0, 1))
    report("import", [("import dfllm adds", f"{ours:.2f} s", f"import pandas {pandas:.2f} s")])
    return [f"start: {ours:.2f} s"] if ours > 0.3 * (3 if short else 1) else []


def bench_embed(*, short: bool) -> list[str]:
    """Vectors of many short texts, everything included, beside clients without a store."""
    script = str(HERE / "embed.py")
    passed = []
    for dimensions, count in ((256, 10_000),) if short else ((256, 100_000), (1_536, 20_000)):
        figures: dict[str, dict[str, float]] = {}
        command = [sys.executable, script, "serve", str(dimensions)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            for name in ("ours", "aiohttp") if short else ("ours", "openai", "aiohttp"):
                asked = [sys.executable, script, name, url, str(count), str(dimensions)]
                done = subprocess.run(asked, capture_output=True, text=True, check=False)
                if done.returncode:
                    sys.exit(f"{name} failed:\n{done.stderr}")
                figures[name] = json.loads(done.stdout.splitlines()[-1])
            server.stdin.close()
        report(
            f"{count:,} short texts to vectors of {dimensions:,} numbers, a server that answers at once",
            [
                (name, f"{found['seconds']:.1f} s", f"{1e6 * found['cpu'] / count:.0f} us of CPU a text")
                for name, found in figures.items()
            ],
        )
        ours = figures["ours"]
        if not ours["same"]:
            passed.append("embed: vectors are not bit by bit what was sent")
        # 60 s for 100,000 texts, and as much for fewer and longer vectors.
        if ours["seconds"] > (60 * count / 100_000 * 3 if short else 60):
            passed.append(f"embed: {ours['seconds']:.0f} s for {count:,} texts")
    return passed


BENCHES = {
    "rows": bench_rows,
    "templates": bench_templates,
    "known": bench_known,
    "live": bench_live,
    "flight": bench_flight,
    "embed": bench_embed,
    "start": bench_start,
}


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which to run; all by default")
    parser.add_argument("--short", action="store_true", help="small sizes and wide bounds, for CI")
    asked = parser.parse_args()
    passed = [line for name in asked.names or BENCHES for line in BENCHES[name](short=asked.short)]
    if passed:
        sys.exit("Budgets passed: " + "; ".join(passed))


if __name__ == "__main__":
    main()
