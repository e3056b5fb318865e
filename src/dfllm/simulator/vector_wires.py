"""The wires of embeddings: each reads texts from bodies of its own, and says vectors in its own shape.

Vectors are said once in OpenAI's shape, go wrong there if they are to, and are said again here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from .asks import tokens_of
from .openai import Rejected, error, no_model
from .replies import Reply, packed
from .vector_faults import Said
from .vectors import MODELS, MOST_IN_ALL, MOST_TEXTS, MOST_TOKENS, Texts, written
from .wires import GEMINI, OPENAI, Wire

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VectorWire:
    """One vendor's words for vectors.

    Attributes:
        read: from a body, and what was given beside it, to texts; raises Rejected.
        answer: from OpenAI's body, and the texts, to its own.
        wire: its words for everything else.
        error: from a status and an error as OpenAI's to its own; None where the wire has words for it.
    """

    read: Callable[[bytes, Mapping[str, str]], Texts]
    answer: Callable[[Body, Texts], Body]
    wire: Wire = OPENAI
    error: Callable[[int, Body], Body] | None = None

    def say(self, reply: Reply, asked: Texts | None = None) -> Reply:
        """Return a reply in the words of this wire."""
        try:
            body = json.loads(reply.body)
        except ValueError:  # nothing, half of something, or a page: no words to change
            return reply
        if not isinstance(body, dict):
            return reply
        if "data" in body and asked is not None:
            return replace(reply, body=packed(self.answer(body, asked)))
        if self.error is not None and isinstance(body.get("error"), dict):
            return replace(reply, body=packed(self.error(reply.status, body["error"])))
        return self.wire.say(reply)


def _body(raw: bytes, known: frozenset[str]) -> dict[str, Any]:
    try:
        body = json.loads(raw.decode())
    except (ValueError, RecursionError):
        _reject("We could not parse the JSON body of your request.")
    if not isinstance(body, dict):
        _reject("Invalid body: expected a JSON object.")
    for name in body:
        if name not in known:
            _reject(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    return body


def _reject(message: str, param: str | None = None, code: str | None = None) -> NoReturn:
    raise Rejected(error(400, message, param=param, code=code))


def _texts(
    name: Any, texts: Any, dimensions: Any, *, most: int = MOST_TEXTS, in_base64: bool = False, task: str = ""
) -> Texts:
    """Return the texts, looked at: model, number, and length of each and of all."""
    if name not in MODELS:
        raise Rejected(no_model(str(name)))
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        _reject("Invalid type for 'input': expected one of a string or array of strings.", "input", "invalid_type")
    if len(texts) > most:
        text = f"Invalid 'input': array too long. Expected an array with maximum length {most}, but got {len(texts)}."
        _reject(text, "input", "array_above_max_length")
    if not all(texts):
        _reject("Invalid 'input': input cannot be an empty string.", "input", "invalid_value")
    sizes = list(map(tokens_of, texts))
    if max(sizes) > MOST_TOKENS:
        text = f"This model's maximum context length is {MOST_TOKENS} tokens, however you requested {max(sizes)} tokens"
        _reject(f"{text} ({max(sizes)} in your prompt; 0 for the completion). Please reduce your prompt.", "input")
    if sum(sizes) > MOST_IN_ALL:
        text = f"Requested {sum(sizes)} tokens, max {MOST_IN_ALL} tokens per request"
        _reject(text, "input", "max_tokens_per_request")
    if dimensions is None:
        dimensions = MODELS[name]
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or not 1 <= dimensions <= MODELS[name]:
        text = f"Invalid 'dimensions': expected a value from 1 to {MODELS[name]}, but got {dimensions} instead."
        _reject(text, "dimensions", "invalid_value")
    return Texts(name, tuple(texts), dimensions, in_base64, task)


def openai_body(asked: Texts, said: Said) -> dict[str, Any]:
    """Return vectors in OpenAI's shape."""
    tokens = sum(map(tokens_of, asked.texts))
    data = [
        {"object": "embedding", "index": index, "embedding": written(vector, in_base64=asked.base64)}
        for index, vector in said
    ]
    return {
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _form(body: Mapping[str, Any]) -> bool:
    form = body.get("encoding_format")
    if form not in (None, "float", "base64"):
        text = f"Invalid value: '{form}'. Supported values are: 'float' and 'base64'."
        _reject(text, "encoding_format", "invalid_value")
    return bool(form == "base64")


_OPENAI_FIELDS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
_MISTRAL_FIELDS = frozenset({"model", "input", "output_dimension", "output_dtype", "encoding_format", "metadata"})
_VOYAGE_FIELDS = frozenset(
    {"model", "input", "input_type", "truncation", "output_dimension", "output_dtype", "encoding_format"}
)
_COHERE_FIELDS = frozenset(
    {"model", "input_type", "texts", "embedding_types", "output_dimension", "max_tokens", "truncate", "priority"}
)
_GEMINI_FIELDS = frozenset({"model", "content", "taskType", "title", "outputDimensionality"})


def _read_openai(raw: bytes, given: Mapping[str, str]) -> Texts:
    body = _body(raw, _OPENAI_FIELDS)
    return _texts(body.get("model"), body.get("input"), body.get("dimensions"), in_base64=_form(body))


def _read_mistral(raw: bytes, given: Mapping[str, str]) -> Texts:
    body = _body(raw, _MISTRAL_FIELDS)
    return _texts(body.get("model"), body.get("input"), body.get("output_dimension"), in_base64=_form(body))


def _read_voyage(raw: bytes, given: Mapping[str, str]) -> Texts:
    body = _body(raw, _VOYAGE_FIELDS)
    task = body.get("input_type")
    if task not in (None, "query", "document"):
        _reject(f"Invalid input_type: {task}")
    dimensions = body.get("output_dimension")
    return _texts(body.get("model"), body.get("input"), dimensions, most=1_000, in_base64=_form(body), task=task or "")


def _read_cohere(raw: bytes, given: Mapping[str, str]) -> Texts:
    body = _body(raw, _COHERE_FIELDS)
    task, types = body.get("input_type"), body.get("embedding_types", ["float"])
    if task not in ("search_document", "search_query", "classification", "clustering"):
        _reject("valid input_type must be provided with the provided model")
    if types not in (["float"], ["base64"]):
        _reject("embedding_types: the simulator has float and base64, one at a time")
    dimensions, in_base64 = body.get("output_dimension"), types == ["base64"]
    return _texts(body.get("model"), body.get("texts"), dimensions, most=96, in_base64=in_base64, task=task)


def _read_gemini(raw: bytes, given: Mapping[str, str]) -> Texts:
    body = _body(raw, frozenset({"requests"}) if given.get("many") else _GEMINI_FIELDS)
    parts = body.get("requests") if given.get("many") else [body]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        _reject("Invalid value at 'requests'")
    for part in parts:
        for name in part:
            if name not in _GEMINI_FIELDS:
                _reject(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        if part.get("model", f"models/{given['model']}") != f"models/{given['model']}":
            _reject("The model of each request must be that of the path.")
    alike = {(part.get("outputDimensionality"), part.get("taskType")) for part in parts}
    if len(alike) > 1:
        _reject("The simulator takes one outputDimensionality and taskType for all.")
    dimensions, task = alike.pop()
    texts = [_gemini_text(part.get("content")) for part in parts]
    return _texts(given["model"], texts, dimensions, most=100, task=task or "")


def _gemini_text(content: Any) -> str:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        _reject("Invalid value at 'content'")
    return "\n".join(str(part.get("text", "")) for part in parts)


def _voyage(body: Body, asked: Texts) -> Body:
    usage = {"usage": {"total_tokens": body["usage"]["total_tokens"]}} if "usage" in body else {}
    return {**body, **usage}


def _cohere(body: Body, asked: Texts) -> Body:
    kind = "base64" if asked.base64 else "float"
    units = {"billed_units": {"input_tokens": body["usage"]["prompt_tokens"]}} if "usage" in body else {}
    return {
        "id": "00000000-0000-4000-8000-000000000000",
        "embeddings": {kind: [one["embedding"] for one in body["data"]]},
        "texts": list(asked.texts),
        "meta": {"api_version": {"version": "2"}, **units},
        "response_type": "embeddings_by_type",
    }


def _gemini(body: Body, asked: Texts) -> Body:
    # It says nothing of tokens.
    return {"embeddings": [{"values": one["embedding"]} for one in body["data"]]}


def _gemini_one(body: Body, asked: Texts) -> Body:
    return {"embedding": {"values": body["data"][0]["embedding"]}}


def _as_it_is(body: Body, asked: Texts) -> Body:
    return body


#: By the path they are at.
PATHS: Mapping[str, VectorWire] = {
    "/v1/embeddings": VectorWire(_read_openai, _as_it_is),
    "/mistral/v1/embeddings": VectorWire(_read_mistral, _as_it_is),
    "/voyage/v1/embeddings": VectorWire(
        _read_voyage, _voyage, error=lambda status, said: {"detail": said.get("message")}
    ),
    "/v2/embed": VectorWire(
        _read_cohere,
        _cohere,
        error=lambda status, said: {"id": "00000000-0000-4000-8000-000000000000", "message": said.get("message")},
    ),
    **{
        f"{version}/models/{{id}}:{verb}": VectorWire(_read_gemini, answer, GEMINI)
        for version in ("/v1", "/v1beta")  # Google's has both
        for verb, answer in (("batchEmbedContents", _gemini), ("embedContent", _gemini_one))
    },
}
