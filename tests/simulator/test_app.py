"""Paths lead where they should, strangers are kept out, and every call is on the bill."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from dfllm.simulator import Faults, Manners, Outage, RateLimits, Simulator
from dfllm.simulator.asks import hash_of

ASK = {"model": "small", "messages": [{"role": "user", "content": "Where is Oslo?"}]}

BAD_FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}}}


@pytest.fixture(scope="module")
def simulator():
    """Return a simulator that all tests of this file share; each asks its own questions."""
    with Simulator() as running:
        yield running


def get(simulator, path, **headers):
    """Get a path below the root."""
    return httpx.get(simulator.base_url.removesuffix("/v1") + path, headers=headers)


def test_answers_come_with_headers(simulator, post):
    """An answer has the vendor's headers, and a request id of its own."""
    first, second = post(simulator, ASK), post(simulator, ASK)

    assert 200 == first.status_code
    assert {"date", "openai-processing-ms", "openai-version", "x-request-id"} <= first.headers.keys()
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_answers_stay_from_run_to_run(simulator, post):
    """Another simulator gives the same answer."""
    here = post(simulator, ASK).json()["choices"]

    with Simulator() as other:
        there = post(other, ASK).json()["choices"]

    assert here == there


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/nowhere", 404, "Invalid URL (GET /v1/nowhere)"),
        ("GET", "/v1/chat/completions", 405, "Not allowed to GET on /v1/chat/completions."),
        ("GET", "/v1/models/gpt", 404, "The model `gpt` does not exist or you do not have access to it."),
    ],
)
def test_wrong_ways_end_in_errors(simulator, method, path, status, message):
    """Where nothing is, an error in the vendor's shape is."""
    response = httpx.request(method, simulator.base_url.removesuffix("/v1") + path)

    assert (status, message) == (response.status_code, response.json()["error"]["message"])


def test_models_are_there(simulator):
    """The models are listed and found."""
    models = get(simulator, "/v1/models").json()["data"]

    assert models[0] == get(simulator, f"/v1/models/{models[0]['id']}").json()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_loopback_names_are_let_in(simulator, name):
    """Every name of this computer will do."""
    response = get(simulator, "/_health", Host=f"{name}:{simulator.port}")

    assert {"status": "ok"} == response.json()


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.example.com", ""])
def test_other_names_are_kept_out(simulator, host):
    """A page in a browser that was led here by another name gets nothing."""
    response = get(simulator, "/v1/models", Host=host)

    assert (403, "host_not_allowed") == (response.status_code, response.json()["error"]["code"])


@pytest.mark.parametrize(
    ("origin", "status"), [("https://example.com", 403), ("null", 403), ("http://localhost:{}", 200)]
)
def test_pages_from_elsewhere_are_kept_out(simulator, origin, status):
    """A page in a browser cannot empty the bill."""
    url = simulator.base_url.removesuffix("/v1") + "/_reset"

    response = httpx.post(url, headers={"Origin": origin.format(simulator.port)})

    assert status == response.status_code


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({"Authorization": "Bearer right"}, 200),
        ({"Authorization": "Bearer wrong-key-0123456789"}, 401),
        ({"Authorization": b"Bearer \xff\xfe"}, 401),
        ({"Authorization": "Basic right"}, 401),
        ({}, 401),
    ],
)
def test_key_is_checked(post, header, status):
    """With a key set, only who has it gets answers; the attempt is on the bill, and free."""
    with Simulator(key="right") as simulator:
        response = post(simulator, ASK, **header)

        assert status == response.status_code
        assert (1, int(status == 200)) == (simulator.bill.requests, simulator.bill.billed)
        if status == 401:
            assert "invalid_api_key" == response.json()["error"]["code"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/small", "/_bill"])
def test_key_guards_the_rest(path):
    """With a key set, nothing but the health is told without it."""
    with Simulator(key="right") as simulator:
        assert 401 == get(simulator, path).status_code
        assert 200 == get(simulator, path, Authorization="Bearer right").status_code
        assert 200 == get(simulator, "/_health").status_code


def test_any_key_is_let_in(simulator, post):
    """Without a key set, it does not matter what is presented."""
    assert 200 == post(simulator, ASK, Authorization="Bearer anything").status_code


def test_calls_are_billed_by_hash(post):
    """The bill has an entry for each question, which is charged what its usage says."""
    with Simulator() as simulator:
        usage = post(simulator, ASK).json()["usage"]
        post(simulator, ASK | {"user": "somebody"})

        entry = simulator.bill.entries()[hash_of(ASK)]

    assert (2, 2, {200: 2}) == (entry.calls, entry.billed, entry.statuses)
    assert (2 * usage["prompt_tokens"], 2 * usage["completion_tokens"]) == (
        entry.prompt_tokens,
        entry.completion_tokens,
    )


@pytest.mark.parametrize(
    "asked",
    [b"{", ASK | {"model": "gpt"}, ASK | {"response_format": BAD_FORM}],
    ids=["broken", "unknown model", "bad schema"],
)
def test_broken_calls_are_free(post, asked):
    """What the provider would not take is counted, not charged."""
    with Simulator() as simulator:
        response = post(simulator, asked)

        assert response.status_code in (400, 404)
        assert (1, 0) == (simulator.bill.requests, simulator.bill.billed)


def test_bill_is_served_and_reset(post):
    """The bill can be read and emptied from outside."""
    with Simulator() as simulator:
        post(simulator, ASK)
        before = get(simulator, "/_bill").json()
        httpx.post(simulator.base_url.removesuffix("/v1") + "/_reset")
        after = get(simulator, "/_bill").json()

    assert (1, [hash_of(ASK)]) == (before["totals"]["requests"], list(before["requests"]))
    assert (0, {}) == (after["totals"]["requests"], after["requests"])


def test_reset_forgets_what_was_read(post):
    """The next prompt is read anew, as by a simulator that has just begun."""
    long = {**ASK, "messages": [{"role": "user", "content": "x" * 5_000}]}
    cached = []
    with Simulator() as simulator:
        for _ in range(2):
            cached += [
                post(simulator, long).json()["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in range(2)
            ]
            httpx.post(simulator.base_url.removesuffix("/v1") + "/_reset")

    assert [0, 1_152, 0, 1_152] == cached


def test_faults_strike_by_attempt(post):
    """A fault passes when its attempts are over, and a new set of faults counts at once."""
    with Simulator(faults=Faults(rates={"500": 1.0}, attempts=2)) as simulator:
        statuses = [post(simulator, ASK).status_code for _ in range(3)]
        simulator.faults = Faults(by_text={"Oslo": "529"})
        statuses.append(post(simulator, ASK).status_code)

    assert [500, 500, 200, 529] == statuses


def test_limits_are_kept(post):
    """What is over the limit is refused, free and with the vendor's headers, which a good answer has too."""
    with Simulator(limits=RateLimits(rpm=2, tpm=10_000)) as simulator:
        good, _, refused = (post(simulator, ASK) for _ in range(3))

        assert (200, "1", "2") == (
            good.status_code,
            good.headers["x-ratelimit-remaining-requests"],
            good.headers["x-ratelimit-limit-requests"],
        )
        assert (429, "rate_limit_exceeded") == (refused.status_code, refused.json()["error"]["code"])
        assert 29 < float(refused.headers["retry-after-ms"]) / 1000 <= 30
        assert (3, 2) == (simulator.bill.requests, simulator.bill.billed)


def test_limits_may_change(post):
    """Other limits count at once, from their beginning; none let everybody in."""
    with Simulator(limits=RateLimits(rpm=1)) as simulator:
        statuses = [post(simulator, ASK).status_code for _ in range(2)]
        simulator.limits = RateLimits(rpm=1)
        statuses += [post(simulator, ASK).status_code for _ in range(2)]
        simulator.limits = None
        response = post(simulator, ASK)

    assert [200, 429, 200, 429] == statuses
    assert 200 == response.status_code
    assert "x-ratelimit-limit-requests" not in response.headers


def test_outages_may_change(post):
    """An outage that is on hits everybody, until it is taken back."""
    with Simulator(outages=[Outage(0, 3600, "529")]) as simulator:
        statuses = [post(simulator, ASK).status_code]
        simulator.outages = ()
        statuses.append(post(simulator, ASK).status_code)

    assert [529, 200] == statuses


def test_answers_go_out_in_parallel(until):
    """While one question waits for its answer, others are taken in."""
    with Simulator(latency_seconds=0.1) as simulator, httpx.Client(base_url=simulator.base_url) as client:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.post("/chat/completions", json=ASK), range(8)))

        assert 8 == simulator.bill.most_in_flight
        assert until(lambda: simulator.bill.in_flight == 0)


def test_latency_keeps_to_its_spread():
    """Latency varies by the share it is given, the same way each time."""
    manners = Manners(latency_seconds=2.0, latency_spread=0.5)
    latencies = [manners.latency(str(turn), 1) for turn in range(500)]

    assert latencies == [manners.latency(str(turn), 1) for turn in range(500)]
    assert 1.0 <= min(latencies) < 1.1
    assert 2.9 < max(latencies) <= 3.0


def test_big_bodies_are_taken(simulator, post):
    """A body of some megabytes, as images make them, is taken."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoA" + "A" * 5_000_000}}
    response = post(simulator, {"model": "small", "messages": [{"role": "user", "content": [image]}]})

    assert 200 == response.status_code
