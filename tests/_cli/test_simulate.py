"""`dfllm simulate` runs a provider in the foreground and ends cleanly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from dfllm._cli.simulate import simulate
from dfllm.cli import main
from dfllm.simulator import FAULTS, RateLimits, Simulator
from dfllm.simulator.limiter import KINDS


def test_faults_are_listed():
    """Everything that can go wrong is named and explained."""
    ended = CliRunner().invoke(main, ["simulate", "--list-faults"])

    assert 0 == ended.exit_code
    assert list(FAULTS) == [text.split()[0] for text in ended.stdout.splitlines()]


def test_limiters_are_those_there_are():
    """The choices of the option are the simulator's kinds."""
    (option,) = (option for option in simulate.params if option.name == "kind")

    assert KINDS == tuple(option.type.choices)


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ([], None),
        (["--rpm", "60"], RateLimits(rpm=60)),
        (["--tpm", "900", "--limiter", "minute"], RateLimits(tpm=900, kind="minute")),
        (
            ["--rpm", "60", "--limiter", "shallow", "--limiter-depth", "5"],
            RateLimits(rpm=60, kind="shallow", depth_seconds=5),
        ),
    ],
)
def test_limits_are_as_asked_for(given, limits, monkeypatch: pytest.MonkeyPatch):
    """Limits given on the command line are the simulator's."""
    started = []
    monkeypatch.setattr("dfllm.simulator.serve", lambda simulator, announce: started.append(simulator.limits))

    assert 0 == CliRunner().invoke(main, ["simulate", *given]).exit_code
    assert [limits] == started


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--fault", "rat429=0.1"], "Did you mean 'rate429'"),
        (["--fault", "rate429"], "'rate429' is no NAME=SHARE, such as rate429=0.1."),
        (["--fault", "rate429=0.9", "--fault", "5xx=0.9"], "add up to at most 1"),
        (["--latency", "-1"], "-1"),
        (["--port", "70000"], "70000"),
        (["--rpm", "0"], "--rpm"),
        (["--tpm", "inf"], "tpm is a number from 1 up"),
        (["--rpm", "60", "--limiter", "leaky"], "leaky"),
        (["--limiter", "sliding"], "need a limit: --rpm, --tpm or both"),
        (["--rpm", "60", "--limiter-depth", "5"], "for --limiter shallow only"),
        (["--rpm", "60", "--limiter", "shallow", "--limiter-depth", "61"], "--limiter-depth"),
    ],
)
def test_wrong_numbers_are_a_wrong_usage(given, said):
    """What cannot be is refused before anything listens."""
    ended = CliRunner().invoke(main, ["simulate", *given])

    assert 2 == ended.exit_code
    assert said in ended.stderr


def test_taken_port_is_a_line():
    """A port that is taken is said in one line."""
    with Simulator() as other:
        ended = CliRunner().invoke(main, ["simulate", "--port", str(other.port)])

    assert (1, 1) == (ended.exit_code, ended.stderr.count("\n"))
    assert f"cannot listen on port {other.port}" in ended.stderr


def test_bill_that_is_no_bill_is_a_line(tmp_path: Path):
    """A file of something else is left alone, and that is said in one line."""
    bill = tmp_path / "bill.db"
    bill.write_text("my diary")

    ended = CliRunner().invoke(main, ["simulate", "--bill", str(bill)])

    assert (1, 1, "my diary") == (ended.exit_code, ended.stderr.count("\n"), bill.read_text())


def test_it_serves_until_it_is_told_to_end(tmp_path: Path):
    """It says where it listens and how to use it, misbehaves as asked, keeps a bill, and ends with 0 on Ctrl-C."""
    command = [sys.executable, "-W", "error", "-m", "dfllm", "simulate", "--fault", "rate429=1"]
    simulator = subprocess.Popen(
        [*command, "--bill", str(tmp_path / "bill.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert simulator.stdout is not None
        simulator.stdout.readline()
        url = simulator.stdout.readline().removeprefix("  export DFLLM_SIMULATOR_URL=").strip()
        body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
        with httpx.Client(base_url=url) as client:
            statuses = [client.post("/chat/completions", json=body).status_code for _ in range(2)]
        simulator.send_signal(signal.SIGINT)
        said, errors = simulator.communicate(timeout=20)
    finally:
        simulator.kill()
        simulator.wait()

    assert [429, 200] == statuses
    assert (0, "2 requests served, 1 of them billed.\n", "") == (simulator.returncode, said, errors)
    assert (tmp_path / "bill.db").exists()
