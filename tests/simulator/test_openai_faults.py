"""Each fault looks as it does in the wild, and costs what it does there."""

import email.utils
import json
import zlib
from dataclasses import replace

import pytest

from dfllm.simulator import FAULTS, Faults, openai
from dfllm.simulator.answers import answers_to
from dfllm.simulator.asks import Ask, tokens_of
from dfllm.simulator.openai_faults import go_wrong

ASK = Ask(hash="ab" * 32, model="small", text="What is the capital of Norway?", prompt_tokens=12)
JSON_ASK = replace(ASK, schema={"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
BILLED_AT_200 = {name for name in FAULTS if list(FAULTS).index(name) >= list(FAULTS).index("trunc_json")}


def wrong(name, ask=ASK, **options):
    """Return the reply to a question that goes wrong."""
    return go_wrong(name, ask, openai.completion(ask, answers_to(ask), 1), Faults(**options))


def body_of(name, ask=ASK):
    """Return the JSON of that reply."""
    return json.loads(wrong(name, ask).body)


def choice_of(name, ask=ASK):
    """Return the first choice of that reply."""
    return body_of(name, ask)["choices"][0]


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_had(name):
    """What the table lists is there, and what is refused is free."""
    reply = wrong(name)

    assert reply.status in (0, 200) or not reply.billed
    assert reply.billed == (reply.prompt_tokens > 0)


@pytest.mark.parametrize("name", sorted(BILLED_AT_200))
def test_useless_answers_are_billed(name):
    """An answer that is of no use costs as much as one that is."""
    reply = wrong(name)

    assert (200, True) == (reply.status, reply.billed)


@pytest.mark.parametrize(
    ("name", "status", "kind", "code"),
    [
        ("rate429", 429, "requests", "rate_limit_exceeded"),
        ("day429", 429, "requests", "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota", "insufficient_quota"),
        ("quota402", 402, "unknown_error", "invalid_request_error"),
        ("credit400", 400, "invalid_request_error", None),
        ("400", 400, "invalid_request_error", "unsupported_value"),
        ("401", 401, "invalid_request_error", "invalid_api_key"),
        ("403", 403, "request_forbidden", "unsupported_country_region_territory"),
        ("404", 404, "invalid_request_error", "model_not_found"),
        ("408", 408, "timeout", None),
        ("409", 409, "conflict_error", None),
        ("413", 413, "invalid_request_error", "request_too_large"),
        ("ctx", 400, "invalid_request_error", "context_length_exceeded"),
        ("policy400", 400, "invalid_request_error", "content_policy_violation"),
        ("500", 500, "server_error", None),
        ("502", 502, "server_error", None),
        ("503", 503, "server_error", None),
        ("504", 504, "timeout", None),
        ("529", 529, "overloaded_error", None),
        ("slowdown", 503, "service_unavailable_error", "slow_down"),
    ],
)
def test_refusals_name_their_reason(name, status, kind, code):
    """Status, type and code are those a client must tell apart."""
    error = body_of(name)["error"]

    assert (status, kind, code) == (wrong(name).status, error["type"], error["code"])


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("rate429", {"retry-after-ms": "1500", "retry-after": "2"}),
        ("day429", {"retry-after": "72000"}),
        ("ra_junk", {"retry-after": "soon"}),
        ("ra_huge", {"retry-after": "99999999999"}),
        ("ra_negative", {"retry-after": "-5"}),
        ("ra_nan", {"retry-after": "nan"}),
        ("xsr_false", {"x-should-retry": "false"}),
        ("xsr_true", {"x-should-retry": "true"}),
        ("redirect", {"location": "http://127.0.0.1:1/x"}),
        ("quota", {}),
    ],
)
def test_headers_say_what_to_do(name, headers):
    """Waits and orders are in the headers."""
    reply = wrong(name, retry_after_seconds=1.5, redirect_to="http://127.0.0.1:1/x")

    assert headers == reply.headers


@pytest.mark.parametrize(("name", "wait"), [("ra_date", 100), ("ra_skew", 100), ("ra_past", 100 - 3600)])
def test_dates_are_by_the_servers_clock(name, wait):
    """A date to wait for is to be read against the answer's own date, however wrong that is."""
    headers = wrong(name, retry_after_seconds=100.0).headers

    until, now = (email.utils.parsedate_to_datetime(headers[header]) for header in ("retry-after", "date"))
    assert wait <= (until - now).total_seconds() <= wait + 1


@pytest.mark.parametrize(
    ("name", "content", "finish"),
    [
        ("blank", "", "stop"),
        ("refusal", None, "stop"),
        ("filter", None, "content_filter"),
        ("think_out", "", "length"),
        ("fncall", None, "tool_calls"),
        ("badshape", '{"unexpected":["another","shape"]}', "stop"),
        ("weirdjson", '{"value":NaN,"value":1}', "stop"),
    ],
)
def test_answers_say_too_little(name, content, finish):
    """What is said, and why it ends, is wrong in its own way."""
    choice = choice_of(name, JSON_ASK)

    assert (content, finish) == (choice["message"]["content"], choice["finish_reason"])


def test_refusal_has_a_text():
    """A refusal is said in a field of its own."""
    assert "can't help" in choice_of("refusal")["message"]["refusal"]


def test_function_call_is_whole():
    """A function call has a name and arguments in JSON."""
    (call,) = choice_of("fncall")["message"]["tool_calls"]

    assert {"query": "this"} == json.loads(call["function"]["arguments"])


def test_length_is_part_of_the_good_answer():
    """A text that is cut begins as the good one does."""
    (good,), choice = answers_to(ASK), choice_of("length")

    assert good.text.startswith(choice["message"]["content"])
    assert "length" == choice["finish_reason"]


def test_thought_takes_the_allowance():
    """Reasoning uses all the tokens there are."""
    usage = body_of("think_out", replace(ASK, allowance=77))["usage"]

    assert (77, 77) == (usage["completion_tokens"], usage["completion_tokens_details"]["reasoning_tokens"])


def test_fence_holds_the_good_answer():
    """The good answer can be taken out of its fence."""
    (good,), content = answers_to(JSON_ASK), choice_of("fenced", JSON_ASK)["message"]["content"]

    assert good.text == content.split("```json\n")[1].split("\n```")[0]


@pytest.mark.parametrize(("name", "choices", "usage"), [("empty", [], True), ("nochoices", None, False)])
def test_choices_are_missing(name, choices, usage):
    """There is no choice, with usage or without."""
    body = body_of(name)

    assert (choices, usage) == (body["choices"], "usage" in body)


def test_usage_is_missing():
    """The answer is good, and its usage is not told."""
    body = body_of("nousage")

    assert "usage" not in body
    assert body["choices"][0]["message"]["content"]


def test_another_model_answers():
    """The answer is by another model than asked."""
    assert "another-model" == body_of("othermodel")["model"]


def test_errors_hide_in_200():
    """A gateway may say 200 and mean 502; that is free."""
    reply = wrong("err200")

    assert (200, False, 502) == (reply.status, reply.billed, json.loads(reply.body)["error"]["code"])


@pytest.mark.parametrize(("name", "status"), [("html", 503), ("5xx_html", 503), ("html200", 200)])
def test_pages_are_html(name, status):
    """A proxy answers with a page, and charges nothing."""
    reply = wrong(name)

    assert (status, "text/html", False) == (reply.status, reply.content_type, reply.billed)


@pytest.mark.parametrize(
    ("name", "quota", "wait"),
    [("gemini429", "PerMinute", "34.07s"), ("gemini_day429", "PerDay", "72000s")],
)
def test_googles_details_are_what_counts(name, quota, wait):
    """Google's text is that of an empty purse; quota and wait are in the details, and no header helps."""
    reply = wrong(name, retry_after_seconds=34.07)

    error = json.loads(reply.body)["error"]
    details = {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}
    assert (429, "RESOURCE_EXHAUSTED", {}) == (reply.status, error["status"], reply.headers)
    assert error["message"].startswith("You exceeded your current quota")
    assert quota in details["QuotaFailure"]["violations"][0]["quotaId"]
    assert wait == details["RetryInfo"]["retryDelay"]


def test_responses_fail_in_200():
    """A body of the Responses API fails by a status of its own, and is free."""
    reply, body = wrong("failed200"), body_of("failed200")

    assert (200, False) == (reply.status, reply.billed)
    assert ("failed", "server_error", []) == (body["status"], body["error"]["code"], body["output"])


def test_streams_fail_on_the_way():
    """A stream begins well and ends with an error; it is billed."""
    reply = wrong("sse_err")

    first, last = (json.loads(event.removeprefix(b"data: ")) for event in reply.body.strip().split(b"\n\n"))
    assert ("text/event-stream", True) == (reply.content_type, reply.billed)
    assert first["choices"][0]["delta"]["content"]
    assert "server_error" == last["error"]["type"]


def test_json_is_cut():
    """Half of a JSON text is none."""
    with pytest.raises(json.JSONDecodeError):
        body_of("trunc_json")


def test_surrogate_is_an_escape():
    """Half a character comes as an escape in ASCII: valid JSON, and no text that can be encoded."""
    reply = wrong("surrogate")

    assert b"\\ud83d" in reply.body
    assert choice_of("surrogate")["message"]["content"].endswith("\ud83d")


def test_hostile_text_is_hostile():
    """Markup, formulas and terminal codes are all there."""
    content = choice_of("xss")["message"]["content"]

    assert content.startswith("=HYPERLINK(")
    assert all(part in content for part in ("<script>", "\x1b[31m", "onerror"))


def test_bomb_unpacks_to_more_than_allowed():
    """A small body becomes more than 64 MiB, and still is JSON at its end."""
    reply = wrong("bomb")

    unpacked = zlib.decompress(reply.body, wbits=31)

    assert "gzip" == reply.headers["content-encoding"]
    assert len(unpacked) > 64 * 2**20
    assert len(unpacked) > 100 * len(reply.body)
    assert unpacked.endswith(b"}]}")


def test_any_5xx_is_one_of_them():
    """The catch-all is one of three, by the hash."""
    statuses = {wrong("5xx", replace(ASK, hash=str(turn))).status for turn in range(30)}

    assert {500, 502, 503} == statuses


def test_every_choice_goes_wrong():
    """Of several choices none is spared, and all are charged."""
    body = body_of("prose", replace(ASK, choices=3))

    said = [choice["message"]["content"] for choice in body["choices"]]
    assert 3 * [said[0]] == said
    assert 3 * tokens_of(said[0]) == body["usage"]["completion_tokens"]
