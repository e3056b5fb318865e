"""The contract: what every dialect does with what its provider sends, and with what it is asked to send."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests._wire.vendors import TEXT, VENDORS, packed

from dfllm._core.errors import OptionError
from dfllm._core.retry import is_kept
from dfllm._core.schema import schema_of
from dfllm._core.terms import terms_of
from dfllm._core.types import Failure, Message, Response
from dfllm._wire.dialects import DIALECTS

ASK = (Message("system", "Be brief."), Message("user", "Where is Oslo?"))
TALK = (*ASK, Message("assistant", "In the north."), Message("user", "Of what?"))
PLACE = schema_of({"country": str, "people": int, "kind": ["city", "village"]})
OPTIONS = {"max_tokens": 50, "stop": ["\n"], "reasoning": "low", "seed": 1, "extra": {"labels": {"a": "b"}}}

every_dialect = pytest.mark.parametrize("name", DIALECTS)


def terms(name, **options):
    """Return the terms of a question in a dialect."""
    dialect = DIALECTS[name]
    return terms_of(provider="p", dialect=name, model="m", **{"max_tokens": dialect.max_tokens} | options)


def sent(name, messages=ASK, **options):
    """Return the body of a question, as the provider reads it."""
    return json.loads(DIALECTS[name].encoder(terms(name, **options))(messages))


def read(name, which, **headers):
    """Return the outcome of one of the vendor's answers."""
    return DIALECTS[name].read(200, headers, packed(getattr(VENDORS[name], which)))


def failed(name, status, message, **headers):
    """Return the failure of an error with this status."""
    return DIALECTS[name].read(status, headers, packed(VENDORS[name].error(status, message)))


def test_every_dialect_is_held_to_it():
    """A new dialect fails here until its vendor's answers are known."""
    assert set(DIALECTS) == set(VENDORS)


@every_dialect
def test_plain(name):
    """Text, finish, tokens and the served model; what was thought is no answer."""
    vendor = VENDORS[name]  # not all of them say everything in this answer

    assert Response(TEXT, vendor.finish, 12, 4, 2, vendor.reasoning, vendor.model, vendor.written) == read(
        name, "plain"
    )


@every_dialect
@pytest.mark.parametrize(
    ("which", "kind", "reason"),
    [
        ("refused", "Refused", "I cannot."),
        ("cut", "Truncated", "4 output tokens"),
        ("empty", "EmptyResponse", "blank"),
    ],
)
def test_answers_that_are_none(name, which, kind, reason):
    """Each says what it is, was paid for, and stays the row's."""
    if getattr(VENDORS[name], which) is None:
        assert name in ("gemini", "vertex-gemini", "converse")  # where a refusal is a text like any other
        return
    outcome = read(name, which)

    assert (kind, reason, "paid") == (outcome.type, outcome.reason, outcome.billing)
    assert is_kept(outcome)
    assert (12, 4) == (outcome.response.tokens_in, outcome.response.tokens_out)


@every_dialect
def test_cut_text_is_kept(name):
    """What was said before the end is there."""
    assert TEXT == read(name, "cut").response.text


@every_dialect
def test_filtered(name):
    """What a filter withheld is not asked again."""
    outcome = read(name, "filtered")

    assert (VENDORS[name].filtered_as, "paid") == (outcome.type, outcome.billing)
    assert is_kept(outcome)


@every_dialect
def test_mute(name):
    """A body that counts its tokens and says nothing was paid for, and may be better the next time."""
    outcome = read(name, "mute")

    assert ("EmptyResponse", "paid", False) == (outcome.type, outcome.billing, is_kept(outcome))


@every_dialect
def test_usage_that_is_left_out_is_unknown(name):
    """Nothing is guessed."""
    body = {field: value for field, value in VENDORS[name].plain.items() if field != VENDORS[name].usage}

    outcome = DIALECTS[name].decode(packed(body))

    assert (TEXT, None, None) == (outcome.text, outcome.tokens_in, outcome.tokens_out)


@every_dialect
def test_odd_usage_does_not_cost_the_answer(name):
    """A count that is no number is left out, the text stays."""
    outcome = DIALECTS[name].decode(packed(VENDORS[name].plain | {VENDORS[name].usage: "many"}))

    assert (TEXT, None) == (outcome.text, outcome.tokens_in)


@every_dialect
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "not JSON at 0"),
        (b"", "not JSON at 0"),
        (b"[1]", "a JSON list, not an object"),
        (b'{"a":' * 100_000, "n"),
    ],
    ids=["page", "nothing", "list", "deep"],
)
def test_broken_body(name, body, reason):
    """What cannot be read may have been billed."""
    outcome = DIALECTS[name].decode(body)

    assert ("BadResponse", "maybe") == (outcome.type, outcome.billing)
    assert outcome.reason.startswith(reason)


@every_dialect
def test_half_a_body(name):
    """Half of an answer is none."""
    whole = packed(VENDORS[name].plain)

    assert "BadResponse" == DIALECTS[name].decode(whole[: len(whole) // 2]).type


@every_dialect
def test_a_page_with_200_is_named(name):
    """A proxy's page is no answer, and the page itself is not shown."""
    outcome = DIALECTS[name].read(200, {"content-type": "text/html; charset=utf-8"}, b"<html>secret page</html>")

    assert "BadResponse: text/html, not JSON (maybe)" == str(outcome)


@every_dialect
def test_a_lone_surrogate_is_an_answer(name):
    """Legal JSON that fast decoders refuse is read once more."""
    body = packed(VENDORS[name].plain).replace(b"Norway.", rb"\ud83d")

    assert "In \ud83d" == DIALECTS[name].decode(body).text


@every_dialect
@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "temperature: Extra inputs are not permitted", "BadRequest"),
        (400, "Your credit balance is too low to access the API.", "QuotaExhausted"),
        (400, "prompt is too long: 9 tokens > 8 maximum", "ContextTooLong"),
        (401, "invalid key", "AuthFailed"),
        (404, "model: m", "ModelNotFound"),
        (429, "Too many requests", "RateLimited"),
        (500, "Internal error", "ServerError"),
        (503, "The model is overloaded", "Overloaded"),
        (529, "Overloaded", "Overloaded"),
    ],
)
def test_errors(name, status, message, kind):
    """Each vendor's body says the same of the same trouble; none of it was billed."""
    failure = failed(name, status, message)

    assert (kind, status, "free") == (failure.type, failure.status, failure.billing)


@every_dialect
def test_a_limit_says_how_long(name):
    """The wait is read from the header."""
    assert 7.0 == failed(name, 429, "Too many requests", **{"retry-after": "7"}).wait_seconds


@every_dialect
def test_an_empty_purse_is_no_limit(name):
    """It looks like a rate limit and does not pass."""
    status, error = VENDORS[name].quota

    assert "QuotaExhausted" == DIALECTS[name].read(status, {}, packed(error)).type


@every_dialect
def test_the_request_id_is_kept(name):
    """It is what the vendor's support asks for."""
    assert "req_7" == failed(name, 500, "x", **{VENDORS[name].request_id: "req_7"}).request_id


@every_dialect
def test_an_error_inside_a_200_is_one(name):
    """Some gateways say so."""
    outcome = DIALECTS[name].decode(packed(VENDORS[name].error(500, "odd")))

    assert isinstance(outcome, Failure)
    assert not is_kept(outcome)


@every_dialect
def test_sample_answers_are_valid_by_the_official_types(name):
    """What this suite reads is what the vendor's own client reads."""
    vendor = VENDORS[name]

    for which in ("plain", "refused", "cut", "filtered", "empty", "called"):
        if (sample := getattr(vendor, which)) is not None:
            vendor.answer.validate_json(packed(sample))


@every_dialect
@pytest.mark.parametrize("messages", [ASK, TALK], ids=["ask", "talk"])
@pytest.mark.parametrize("given", ["plain", "full", "schema"])
def test_bodies_are_valid_by_the_official_types(name, messages, given):
    """The vendor's own type of requests takes our bodies, with no field that it does not know."""
    options = {"plain": {}, "full": dict(OPTIONS), "schema": {"schema": asked_for(name)}}[given]
    options = {
        option: value for option, value in options.items() if option not in ("extra", *VENDORS[name].unsupported)
    }
    body = sent(name, messages, **options)

    checked = VENDORS[name].asked.validate_python(body)

    assert set(body) == set(
        checked if isinstance(checked, dict) else checked.model_dump(exclude_unset=True, by_alias=True)
    )


def asked_for(name, schema=PLACE):
    """Return the part of the body that asks for a schema."""
    return DIALECTS[name].response_format(schema.sent, strict=schema.strict)


@every_dialect
def test_the_body_holds_what_was_asked_and_no_more(name):
    """Every turn is there; of the options only what was given."""
    plain = json.dumps(sent(name, TALK))

    assert [] == [said.content for said in TALK if said.content not in plain]
    assert not any(
        word in plain.lower() for word in ("temperature", "top", "stop", "seed", "effort", "think", "schema")
    )


@every_dialect
def test_every_option_changes_the_body(name):
    """No option is dropped without a word."""
    given = {"temperature": 0.5, "top_p": 0.5, "schema": asked_for(name), **OPTIONS}
    plain = sent(name)

    same = [
        option
        for option, value in given.items()
        if option not in VENDORS[name].unsupported and plain == sent(name, **{option: value})
    ]

    assert [] == same


@every_dialect
def test_options_without_a_place_are_refused(name):
    """The call hears of it before anything is sent."""
    given = {"seed": 1, "stop": ["x"], "temperature": 0.5, "top_p": 0.5, "reasoning": "low"}

    for option in VENDORS[name].unsupported:
        with pytest.raises(OptionError, match=option):
            sent(name, **{option: given[option]})


@every_dialect
def test_schema_is_sent(name):
    """The fields, in the user's order, and the labels."""
    body = json.dumps(sent(name, schema=asked_for(name))).replace("\\", "")  # one wire has it as a text in the JSON

    assert sorted(map(body.index, ("country", "people", "kind"))) == [
        body.index(field) for field in ("country", "people", "kind")
    ]
    assert '"village"' in body


@every_dialect
def test_extra_cannot_set_what_is_ours(name):
    """Answers would be lost or mixed up."""
    for taken in ("model", turns_of(sent(name))):
        with pytest.raises(OptionError, match=taken):
            sent(name, extra={taken: "x"})


@every_dialect
@given(said=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=3))
def test_any_text_arrives_as_it_was(name, said):
    """The constant head and tail never mix with a message."""
    body = sent(name, tuple(Message("user", text) for text in said), temperature=0.5)

    assert said == [text for text in texts_of(body) if text in said]


def turns_of(value):
    """Return the name of the field that holds the turns."""
    return next(field for field in ("messages", "contents", "input") if field in value)


def texts_of(value):
    """Yield every text of the turns."""
    for turn in value[turns_of(value)]:
        content = turn.get("content", turn.get("parts"))
        yield content if isinstance(content, str) else content[0]["text"]


@every_dialect
@given(body=st.binary(max_size=200))
def test_no_bytes_break_the_reader(name, body):
    """Whatever a server sends, a row gets an outcome."""
    assert isinstance(DIALECTS[name].decode(body), (Response, Failure))
    assert isinstance(DIALECTS[name].read(500, {}, body), Failure)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@every_dialect
@given(value=json_values, data=st.data())
def test_no_json_breaks_the_reader(name, value, data):
    """Whatever stands in a known field, a row gets an outcome."""
    body = VENDORS[name].plain | {data.draw(st.sampled_from(VENDORS[name].fields)): value}

    assert isinstance(DIALECTS[name].decode(packed(body)), (Response, Failure))


@every_dialect
def test_a_service_tier_travels_where_there_is_one(name):
    """In the vendor's own field; it is refused where that has none."""
    tier = {"converse": {"type": "flex"}}.get(name, "flex")
    if name == "vertex-claude":
        with pytest.raises(OptionError, match="service_tier"):
            sent(name, service_tier="flex", service_tiers=["flex"])
        return

    body = sent(name, service_tier="flex", service_tiers=["flex"])

    assert tier == body.get("service_tier", body.get("serviceTier"))
    VENDORS[name].asked.validate_python(body if name != "anthropic" else body | {"service_tier": "auto"})
