"""Embeddings: what every dialect of them sends, and what it does with what its provider says."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pydantic
import pytest
from google.genai.types import EmbedContentResponse
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.embedding_create_params import EmbeddingCreateParams

from dfllm._core.errors import OptionError
from dfllm._core.keys import keyer
from dfllm._core.terms import terms_of
from dfllm._core.types import Failure, Message, Terms
from dfllm._core.vectors import Vector, Vectors, packed
from dfllm._wire.embeddings import EMBEDDERS, MOST_BYTES, MOST_TEXTS, TASKS, dialect_of, packing_of
from dfllm._wire.providers import PROVIDERS, Embeds

NUMBERS = [[0.5, -0.25], [1.0, 0.1]]
VECTORS = tuple(struct.pack("<2f", *numbers) for numbers in NUMBERS)
IN_BASE64 = [base64.b64encode(vector).decode() for vector in VECTORS]
TEXTS = ["Oslo", 'a "b" é\u2028\U0001f600']


def _openai(vectors, **usage) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "m", "usage": usage or {"prompt_tokens": 7, "total_tokens": 7}}


#: By dialect: a good answer with lists, one with base64 if it has that, and where it says what it cost.
ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str | None]] = {
    "openai-embeddings": (_openai(NUMBERS), _openai(IN_BASE64), "usage"),
    "mistral-embeddings": (_openai(NUMBERS), _openai(IN_BASE64), "usage"),
    "voyage-embeddings": (_openai(NUMBERS, total_tokens=7), _openai(IN_BASE64, total_tokens=7), "usage"),
    "gemini-embeddings": (
        {"embeddings": [{"values": one} for one in NUMBERS], "usageMetadata": {"promptTokenCount": 7}},
        None,
        "usageMetadata",
    ),
    "cohere-embeddings": (
        {"id": "x", "embeddings": {"float": NUMBERS}, "meta": {"billed_units": {"input_tokens": 7.0}}},
        {"id": "x", "embeddings": {"base64": IN_BASE64}, "meta": {"billed_units": {"input_tokens": 7.0}}},
        "meta",
    ),
}
#: An error of each vendor's, with a word on what is wrong.
ERRORS = {
    "openai-embeddings": {"error": {"message": "no such thing", "type": "invalid_request_error"}},
    "mistral-embeddings": {"object": "error", "message": "no such thing"},
    "voyage-embeddings": {"detail": "no such thing"},
    "gemini-embeddings": {"error": {"code": 400, "message": "no such thing", "status": "INVALID_ARGUMENT"}},
    "cohere-embeddings": {"id": "x", "message": "no such thing"},
}
every_dialect = pytest.mark.parametrize("name", EMBEDDERS)


def terms(name, **changes) -> Terms:
    """Return what some texts share."""
    extra = changes.pop("extra", None)
    made = terms_of(provider="p", dialect=name, model="m", extra=extra)
    return Terms(**{field: getattr(made, field) for field in Terms.__slots__} | changes)


def sent(name, texts=TEXTS, *, in_base64=False, **changes) -> dict[str, Any]:
    """Return the body of a request, as the provider reads it."""
    return json.loads(packing_of(Embeds(name, base64=in_base64), terms(name, **changes)).body(texts))


def read(name, body, status=200):
    """Return what an answer means."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return dialect_of(Embeds(name)).read(status, {}, raw)


def test_every_dialect_is_held_to_it():
    """A new one fails here until its vendor's answers are known."""
    assert set(EMBEDDERS) == set(ANSWERS) == set(ERRORS)


def test_bodies_are_what_they_should_be():
    """Word for word, with all that can be asked."""
    full = {"dimensions": 2, "task": "query"}

    assert {"model": "m", "input": TEXTS, "encoding_format": "base64", "dimensions": 2} == sent(
        "openai-embeddings", in_base64=True, dimensions=2
    )
    assert {"model": "m", "input": TEXTS, "output_dimension": 2} == sent("mistral-embeddings", dimensions=2)
    assert {
        "model": "m",
        "input": TEXTS,
        "input_type": "query",
        "output_dimension": 2,
        "truncation": False,
        "encoding_format": "base64",
    } == sent("voyage-embeddings", in_base64=True, **full)
    assert {
        "model": "m",
        "texts": TEXTS,
        "input_type": "search_query",
        "embedding_types": ["float"],
        "output_dimension": 2,
        "truncate": "NONE",
    } == sent("cohere-embeddings", **full)
    part = {"model": "models/m", "outputDimensionality": 2, "taskType": "RETRIEVAL_QUERY"}
    assert {"requests": [{**part, "content": {"parts": [{"text": text}]}} for text in TEXTS]} == sent(
        "gemini-embeddings", **full
    )


@every_dialect
def test_what_is_not_asked_is_not_sent(name):
    """Least of all a null."""
    assert None not in _values(sent(name))


def _values(body: Any) -> list[Any]:
    if isinstance(body, dict):
        return [found for value in body.values() for found in _values(value)]
    if isinstance(body, list):
        return [found for value in body for found in _values(value)]
    return [body]


def test_bodies_are_those_of_the_official_types():
    """OpenAI's SDK takes ours for its own."""
    body = sent("openai-embeddings", in_base64=True, dimensions=2)

    assert body == pydantic.TypeAdapter(EmbeddingCreateParams).validate_python(body)
    assert set(body) <= set(EmbeddingCreateParams.__annotations__)
    assert CreateEmbeddingResponse.model_validate(ANSWERS["openai-embeddings"][0])
    assert EmbedContentResponse.model_validate(ANSWERS["gemini-embeddings"][0])


@every_dialect
def test_a_text_is_measured_as_it_stands_in_the_body(name):
    """What surrounds it is shared by the pack, and nobody's own."""
    encode = dialect_of(Embeds(name)).encoder(terms(name))
    bodies = [packing_of(Embeds(name), terms(name)).body(texts) for texts in (TEXTS[1:], [""])]

    assert len(bodies[0]) - len(bodies[1]) == len(encode((Message("user", TEXTS[1]),))) - len('""')


@every_dialect
def test_extra_is_merged_in_but_takes_nothing_over(name):
    """Further fields are sent; those that vectors would be lost by are refused."""
    assert "here" in _values(sent(name, extra={"user": "here"}))
    for field in ("model", "input", "texts", "requests", "dimensions", "output_dimension", "outputDimensionality"):
        try:
            body = sent(name, extra={field: "mine"}, dimensions=2)
        except OptionError:
            continue
        assert field not in sent(name, dimensions=2), f"{name} lets extra set {field}"
        assert "mine" in _values(body)


@every_dialect
@pytest.mark.parametrize("form", [0, 1])
def test_vectors_are_read(name, form):
    """From lists of numbers and from base64, whatever was asked for; with the tokens and in the order of the texts."""
    body = ANSWERS[name][form]
    if body is None:
        pytest.skip("it has no base64")

    found = read(name, body)

    assert (VECTORS, 7, 0) == (found.vectors, found.tokens_in, found.tokens_out)
    assert found.places in (None, (0, 1))


@every_dialect
def test_usage_may_be_missing(name):
    """Then nobody knows what it cost, and the vectors are good all the same."""
    body, _, usage = ANSWERS[name]

    found = read(name, {field: value for field, value in body.items() if field != usage})

    assert (VECTORS, None, None) == (found.vectors, found.tokens_in, found.tokens_out)


@every_dialect
def test_an_odd_count_costs_no_vectors(name):
    """What was paid for is not thrown away for a number that is text."""
    body, _, usage = ANSWERS[name]

    assert VECTORS == read(name, {**body, usage: {"prompt_tokens": "many"} if usage == "usage" else "many"}).vectors


@every_dialect
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"<html>", b"\xff", b'{"data":7,"embeddings":7}'])
def test_what_is_no_answer_is_a_bad_response(name, body):
    """It may have been billed."""
    found = read(name, body)

    assert ("BadResponse", "maybe") == (found.type, found.billing)


@every_dialect
def test_an_answer_without_vectors_is_empty(name):
    """There is nothing to keep."""
    found = read(name, {"data": [], "embeddings": [] if name.startswith("gemini") else {}})

    assert "EmptyResponse" == found.type


@every_dialect
def test_broken_base64_is_a_bad_response(name):
    """Half of a vector is none."""
    body = json.loads(json.dumps(ANSWERS[name][1] or ANSWERS[name][0]).replace(IN_BASE64[0], "AAA"))
    if ANSWERS[name][1] is None:
        pytest.skip("it has no base64")

    found = read(name, body)

    assert ("BadResponse", "paid") == (found.type, found.billing)


@every_dialect
def test_nan_is_read_for_what_it_is(name):
    """JSON has none, but some servers write it; whoever cuts the pack looks for it."""
    found = read(name, json.dumps(ANSWERS[name][0]).replace("-0.25", "NaN").encode())

    assert isinstance(found, Vectors)
    assert math.isnan(struct.unpack("<2f", found.vectors[0])[1])


@every_dialect
@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_says_why(name, status):
    """In the vendor's words, and for free."""
    found = read(name, ERRORS[name], status)

    assert ("BadRequest", "free", True) == (found.type, found.billing, "no such thing" in found.reason)


@every_dialect
def test_every_task_is_another_question(name):
    """It decides the vector, so it is in the key, and it is sent."""
    tasks = EMBEDDERS[name].tasks
    keys = {keyer(terms(name, task=task))((Message("user", "x"),)) for task in (None, *tasks)}
    bodies = {json.dumps(sent(name, task=task)) for task in tasks}

    assert set(tasks) <= set(TASKS)
    assert (len(tasks) + 1, len(tasks)) == (len(keys), len(bodies))


@every_dialect
def test_how_numbers_travel_is_no_part_of_the_question(name):
    """Base64 or a list: the same vector, the same key. How many numbers it has is part of it."""
    key = keyer(terms(name))((Message("user", "x"),))

    assert key != keyer(terms(name, dimensions=2))((Message("user", "x"),))
    assert "base64" not in Terms.__slots__


@every_dialect
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5))
def test_texts_arrive_as_they_are(name, texts):
    """Whatever is in them."""
    body = sent(name, texts)

    found = body.get("input") or body.get("texts") or [part["content"]["parts"][0]["text"] for part in body["requests"]]
    assert texts == found


@pytest.mark.parametrize("provider", [one for one in PROVIDERS.values() if one.embeds], ids=lambda one: one.name)
def test_packs_stay_within_what_each_takes(provider):
    """And within what a kill may lose."""
    packing = packing_of(provider.embeds, terms(provider.embeds.dialect))

    assert 1 <= packing.texts <= min(provider.embeds.texts, MOST_TEXTS)
    assert 1 <= packing.size <= min(provider.embeds.tokens, MOST_BYTES)


def test_what_is_stored_is_read_by_every_dialect():
    """A kept vector has no dialect."""
    vector = Vector("", finish="", tokens_in=3, tokens_out=0, model="m", vector=VECTORS[0])

    assert {vector} == {dialect_of(Embeds(name)).decode(packed(vector)) for name in EMBEDDERS}


def test_a_page_is_called_one():
    """A gateway's 200 with HTML."""
    dialect = dialect_of(Embeds("openai-embeddings"))

    found = dialect.read(200, {"content-type": "text/html"}, b"<html>")

    assert isinstance(found, Failure)
    assert "text/html, not JSON" == found.reason
