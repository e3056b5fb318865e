"""Bytes arrive as the reply says: whole, late, in part, or not at all."""

import http.client
import json
import socket
import struct

import httpx
import pytest

from dfllm.simulator import Faults, Simulator

ASK = {"model": "small", "messages": [{"role": "user", "content": "Where is Oslo?"}]}


@pytest.fixture
def ask():
    """Return a function that asks a question of a simulator on which one fault strikes, on a fresh connection."""
    running = []

    def send(fault, **options):
        simulator = Simulator(faults=Faults(by_text={"": fault}, **options)).start()
        running.append(simulator)
        host, port = simulator.base_url.removeprefix("http://").removesuffix("/v1").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        running.append(connection)
        connection.request("POST", "/v1/chat/completions", json.dumps(ASK), {"Content-Type": "application/json"})
        return simulator, connection

    yield send
    for opened in reversed(running):
        opened.stop() if isinstance(opened, Simulator) else opened.close()


@pytest.mark.parametrize(("fault", "billed"), [("drop_before", 0), ("drop_before_billed", 1)])
def test_reset_sends_no_byte(ask, fault, billed):
    """The connection is reset before any answer, and who is charged cannot be seen from here."""
    simulator, connection = ask(fault)

    with pytest.raises(ConnectionResetError):
        connection.getresponse()

    assert billed == simulator.bill.billed
    assert [{0: 1}] == [entry.statuses for entry in simulator.bill.entries().values()]


def test_cut_ends_in_mid_body(ask):
    """Half of the announced bytes arrive, then the connection ends."""
    simulator, connection = ask("drop_mid")
    response = connection.getresponse()

    with pytest.raises(http.client.IncompleteRead) as raised:
        response.read()

    assert int(response.headers["content-length"]) // 2 == len(raised.value.partial)
    assert 1 == simulator.bill.billed


def test_cut_may_be_a_reset(ask):
    """A reset in mid-body is an error of its own."""
    _, connection = ask("reset_mid")

    with pytest.raises(ConnectionResetError):
        connection.getresponse().read()


def test_chunks_may_stop(ask):
    """A chunked body without its last chunk is incomplete."""
    _, connection = ask("chunk_cut")
    response = connection.getresponse()

    with pytest.raises(http.client.IncompleteRead):
        response.read()

    assert "chunked" == response.headers["transfer-encoding"]


@pytest.mark.parametrize("fault", ["stall", "drip"])
def test_late_answers_are_whole(ask, fault):
    """A late answer is a good one in the end."""
    _, connection = ask(fault, stall_seconds=0.05)

    body = json.loads(connection.getresponse().read())

    assert "stop" == body["choices"][0]["finish_reason"]


def test_stalls_outlast_patience():
    """Who waits less than the stall gets nothing, and pays."""
    with Simulator(faults=Faults(by_text={"": "stall"}, stall_seconds=60)) as simulator:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{simulator.base_url}/chat/completions", json=ASK, timeout=0.1)

        assert 1 == simulator.bill.billed


def test_stale_connections_look_alive(ask):
    """The connection is promised to stay open, and is closed."""
    _, connection = ask("stale")
    response = connection.getresponse()

    body = json.loads(response.read())

    assert body["choices"]
    assert response.headers.get("connection") != "close"
    assert b"" == connection.sock.recv(1)


def test_frames_may_come_twice():
    """A second answer that nobody asked for follows the first on the same connection."""
    with Simulator(faults=Faults(by_text={"": "frame"})) as simulator:
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as connection:
            connection.sendall(request_to(simulator))
            heard = b""
            while heard.count(b"chat.completion") < 2 or not heard.endswith(b"}"):
                heard += connection.recv(65_536)

        assert 1 == simulator.bill.requests

    first, second = (answer.partition(b"\r\n\r\n")[2] for answer in heard.split(b"HTTP/1.1 200 OK\r\n")[1:])
    assert first == second


def test_hanging_up_is_no_matter():
    """A client that resets its own connection leaves the simulator as it was."""
    with Simulator(latency_seconds=0.05) as simulator:
        rude = socket.create_connection(("127.0.0.1", simulator.port))
        rude.sendall(request_to(simulator))
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.close()

        response = httpx.post(f"{simulator.base_url}/chat/completions", json=ASK)

    assert 200 == response.status_code


def request_to(simulator):
    """Return a request as bytes."""
    body = json.dumps(ASK).encode()
    head = ["POST /v1/chat/completions HTTP/1.1", f"Host: 127.0.0.1:{simulator.port}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body
