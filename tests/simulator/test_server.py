"""A simulator starts, stops, comes back, and stays on this computer."""

import os
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from dfllm.simulator import Bill, Faults, Outage, Simulator, serve

ASK = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


def ask(simulator):
    """Ask the usual question."""
    return httpx.post(f"{simulator.base_url}/chat/completions", json=ASK)


def test_start_returns_when_it_listens():
    """The first request after the start is answered."""
    with Simulator() as simulator:
        response = ask(simulator)

    assert "hello" == response.json()["choices"][0]["message"]["content"]


def test_start_and_stop_may_be_repeated():
    """A second start or stop changes nothing, and a new start comes back on the same port."""
    simulator = Simulator()
    simulator.stop()
    url = simulator.start().base_url
    assert url == simulator.start().base_url
    simulator.stop()
    simulator.stop()

    with pytest.raises(httpx.ConnectError):
        ask(simulator)
    with simulator:
        assert url == simulator.base_url
        assert 200 == ask(simulator).status_code


def test_bill_can_be_read_afterwards():
    """A stopped simulator still has its bill."""
    with Simulator() as simulator:
        ask(simulator)

    assert 1 == simulator.bill.billed


def test_bill_goes_on_in_the_next(tmp_path):
    """The next simulator with the same bill adds to it."""
    for _ in range(2):
        with Simulator(bill_path=tmp_path / "bill") as simulator:
            ask(simulator)

    assert (2, 1) == (simulator.bill.requests, simulator.bill.distinct)


def test_attempts_go_on_in_the_next(tmp_path):
    """A fault that has passed does not come back with the next simulator."""
    statuses = []
    for _ in range(2):
        with Simulator(bill_path=tmp_path / "bill", faults=Faults(rates={"500": 1.0})) as simulator:
            statuses.append(ask(simulator).status_code)

    assert [500, 200] == statuses


def test_port_may_be_chosen():
    """A port that is asked for is used."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with Simulator(port=port) as simulator:
        assert f"http://127.0.0.1:{port}/v1" == simulator.base_url


def test_taken_port_is_an_error():
    """A port that somebody has is refused, with what to do about it."""
    with Simulator() as simulator, pytest.raises(OSError, match="Choose another port, or 0") as raised:
        Simulator(port=simulator.port).start()

    assert str(simulator.port) in str(raised.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "example.com", "192.0.2.1"])
def test_other_hosts_are_refused(host):
    """Nothing is served to the network."""
    with pytest.raises(ValueError, match="this computer only"):
        Simulator(host)


@pytest.mark.parametrize("options", [{"latency_seconds": -1}, {"latency_spread": 2}, {"latency_spread": -0.1}])
def test_odd_latencies_are_refused(options):
    """Time runs forward, and answers come no earlier than their questions."""
    with pytest.raises(ValueError, match="latency_seconds is 0 or more"):
        Simulator(**options)


@pytest.mark.parametrize("fault", ["dns", "refuse"])
def test_outages_of_no_server_are_refused(fault):
    """A server that runs cannot be one that nobody reaches, from the start or later."""
    with pytest.raises(ValueError, match="Stop the simulator"):
        Simulator(outages=[Outage(0, 1, fault)])
    simulator = Simulator()
    with pytest.raises(ValueError, match="Stop the simulator"):
        simulator.outages = [Outage(0, 1, fault)]


def test_localhost_is_loopback():
    """The name of this computer serves as well as its number."""
    with Simulator("localhost") as simulator:
        assert 200 == httpx.get(f"http://127.0.0.1:{simulator.port}/_health").status_code


def test_stop_does_not_wait_for_stalls(until):
    """A stop hangs up on those who still wait."""
    with Simulator(faults=Faults(by_text={"": "stall"}, stall_seconds=600)) as simulator:
        failed = []

        def wait():
            try:
                httpx.post(f"{simulator.base_url}/chat/completions", json=ASK, timeout=60)
            except httpx.HTTPError as error:
                failed.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert until(lambda: simulator.bill.in_flight)
    waiting.join(10)

    assert 1 == len(failed)


def test_crowds_are_let_in():
    """Hundreds of connections at once are all taken, and kept."""
    with Simulator() as simulator:
        crowd = [socket.create_connection(("127.0.0.1", simulator.port)) for _ in range(400)]
        request = f"GET /_health HTTP/1.1\r\nHost: 127.0.0.1:{simulator.port}\r\n\r\n".encode()
        for one in crowd * 2:
            one.sendall(request)
        answers = [one.recv(100)[:15] for one in crowd]
        for one in crowd:
            one.close()

    assert {b"HTTP/1.1 200 OK"} == set(answers)


EXIT = """
import sys
import httpx
from pathlib import Path
from dfllm.simulator import Simulator
simulator = Simulator(bill_path=Path(sys.argv[1])).start()
body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
httpx.post(simulator.base_url + "/chat/completions", json=body)
"""


def test_bill_is_complete_at_exit(tmp_path):
    """A process that ends without a stop leaves a complete bill."""
    subprocess.run([sys.executable, "-W", "error", "-c", EXIT, tmp_path / "bill"], check=True, env=os.environ)

    assert 1 == Bill(tmp_path / "bill").billed


def test_failed_start_leaves_nothing(monkeypatch):
    """What goes wrong in the thread is raised by start, and the port is free again."""
    monkeypatch.setattr("dfllm.simulator.server.application", None)
    simulator = Simulator()

    with pytest.raises(TypeError):
        simulator.start()
    monkeypatch.undo()

    with simulator:
        assert 200 == ask(simulator).status_code


SERVE = """
from dfllm.simulator import Simulator, serve
simulator = Simulator()
serve(simulator, lambda url: (sys.stdout.write(url + "\\n"), sys.stdout.flush()))
sys.stdout.write(str(simulator.bill.requests))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_runs_until_told(number):
    """In the foreground, it announces where it is, serves, and ends in good order when told to."""
    command = [sys.executable, "-W", "error", "-c", "import sys\n" + SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        url = process.stdout.readline().strip()
        status = httpx.post(f"{url}/chat/completions", json=ASK).status_code
        process.send_signal(number)
        rest = process.stdout.read()

    assert (200, "1", 0) == (status, rest, process.returncode)


def test_serve_gives_signals_back():
    """Afterwards, signals mean what they meant before."""
    before = signal.getsignal(signal.SIGINT)

    serve(Simulator(), lambda url: os.kill(os.getpid(), signal.SIGTERM))

    assert before == signal.getsignal(signal.SIGINT)
