"""The wires of embeddings: each vendor's shapes, in and out. What the official clients read is in tests/conformance."""

import json

import pytest

from dfllm.simulator import openai
from dfllm.simulator.openai import Rejected
from dfllm.simulator.vector_wires import PATHS, openai_body
from dfllm.simulator.vectors import Texts, vector_of

MODEL = {"model": "embed-small"}
#: By path: a body that is taken, and what is read of it.
GOOD = {
    "/v1/embeddings": ({**MODEL, "input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"}, True, ""),
    "/mistral/v1/embeddings": ({**MODEL, "input": ["a", "b"], "output_dimension": 4}, False, ""),
    "/voyage/v1/embeddings": (
        {**MODEL, "input": ["a", "b"], "output_dimension": 4, "input_type": "query", "truncation": False},
        False,
        "query",
    ),
    "/v2/embed": (
        {**MODEL, "texts": ["a", "b"], "output_dimension": 4, "input_type": "search_query", "truncate": "NONE"},
        False,
        "search_query",
    ),
    "/v1/models/{id}:batchEmbedContents": (
        {"requests": [{"content": {"parts": [{"text": text}]}, "outputDimensionality": 4} for text in "ab"]},
        False,
        "",
    ),
}
GIVEN = {"model": "embed-small", "many": "batch"}
every_path = pytest.mark.parametrize("path", GOOD)


def read(path, body, **given):
    """Return what is read of a body."""
    return PATHS[path].read(json.dumps(body).encode(), {**GIVEN, **given})


def said(path, asked):
    """Return a good answer, in the words of a path."""
    body = openai_body(asked, [(place, vector_of(asked, text)) for place, text in enumerate(asked.texts)])
    return json.loads(PATHS[path].say(openai.good(body), asked).body)


@every_path
def test_texts_are_read(path):
    """With all that was asked of them."""
    body, in_base64, task = GOOD[path]

    assert Texts("embed-small", ("a", "b"), 4, in_base64, task) == read(path, body)


def test_one_text_of_googles():
    """Its other verb takes one."""
    path = "/v1/models/{id}:embedContent"
    asked = read(path, {"content": {"parts": [{"text": "a"}]}}, many="")

    assert Texts("embed-small", ("a",), 256) == asked
    assert {"embedding": {"values": vector_of(asked, "a").tolist()}} == said(path, asked)


@every_path
def test_what_it_does_not_know_is_refused(path):
    """A field, a model, a number of dimensions, a text without words, or no JSON."""
    body = GOOD[path][0]
    texts = next(name for name in ("input", "texts", "requests") if name in body)

    for wrong in ({**body, "colour": "red"}, {**body, texts: []}, {**body, texts: 7}, [body]):
        with pytest.raises(Rejected) as raised:
            read(path, wrong)
        assert 400 == raised.value.reply.status
    with pytest.raises(Rejected):
        PATHS[path].read(b"{", GIVEN)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/v1/embeddings", {"encoding_format": "octal"}),
        ("/v1/embeddings", {"dimensions": 0}),
        ("/voyage/v1/embeddings", {"input_type": "poetry"}),
        ("/voyage/v1/embeddings", {"input": ["x"] * 1_001}),
        ("/v2/embed", {"input_type": None}),
        ("/v2/embed", {"embedding_types": ["int8"]}),
        ("/v2/embed", {"texts": ["x"] * 97}),
        ("/v1/models/{id}:batchEmbedContents", {"requests": [{"content": {}}]}),
        ("/v1/models/{id}:batchEmbedContents", {"requests": [{"model": "models/other", "content": {"parts": []}}]}),
    ],
)
def test_each_has_rules_of_its_own(path, change):
    """As their vendors do."""
    with pytest.raises(Rejected):
        read(path, {**GOOD[path][0], **change})


def test_vectors_are_said_in_each_vendors_shape():
    """Voyage counts in total, Cohere in units, Google not at all."""
    asked = {path: read(path, body) for path, (body, _, _) in GOOD.items()}
    found = {path: said(path, asked[path]) for path in GOOD}

    assert {"prompt_tokens": 2, "total_tokens": 2} == found["/v1/embeddings"]["usage"]
    assert {"total_tokens": 2} == found["/voyage/v1/embeddings"]["usage"]
    assert {"input_tokens": 2} == found["/v2/embed"]["meta"]["billed_units"]
    assert 2 == len(found["/v2/embed"]["embeddings"]["float"])
    assert ["embeddings"] == list(found["/v1/models/{id}:batchEmbedContents"])


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/embeddings", {"error"}),
        ("/voyage/v1/embeddings", {"detail"}),
        ("/v2/embed", {"id", "message"}),
        ("/v1/models/{id}:batchEmbedContents", {"error"}),
    ],
)
def test_refusals_are_said_in_each_vendors_shape(path, names):
    """With the same words in them."""
    reply = PATHS[path].say(openai.error(400, "no such thing"))

    assert names == set(json.loads(reply.body))
    assert b"no such thing" in reply.body
