"""The contract: what every dialect does with what its provider sends, and with what it is asked to send."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests._wire.vendors import TEXT, VENDORS, packed

from dfllm._core.errors import OptionError
from dfllm._core.files import file_url
from dfllm._core.images import data_url
from dfllm._core.parts import with_media
from dfllm._core.retry import is_kept
from dfllm._core.schema import schema_of
from dfllm._core.terms import terms_of
from dfllm._core.types import Failure, Message, Part, Parted, Response
from dfllm._wire.dialects import DIALECTS

ASK = (Message("system", "Be brief."), Message("user", "Where is Oslo?"))
TALK = (*ASK, Message("assistant", "In the north."), Message("user", "Of what?"))
PNG, DOCUMENT = b"\x89PNG\r\n\x1a\npixels", b"%PDF-1.7 pages"
IMAGE, FILE, NOTE = (Part("image", data_url(PNG)), Part("file", file_url(DOCUMENT)), Part("file", file_url(b"A note.")))
WEB_IMAGE, WEB_FILE = Part("image", "https://example.com/a.png"), Part("file", "https://example.com/a.pdf")
#: What is shown, as each dialect sends it.
SHOWN = {
    "openai": {
        "image": {"type": "image_url", "image_url": {"url": IMAGE.value}},
        "web image": {"type": "image_url", "image_url": {"url": WEB_IMAGE.value}},
        "file": {"type": "file", "file": {"filename": "document.pdf", "file_data": FILE.value}},
    },
    "openai-responses": {
        "image": {"type": "input_image", "image_url": IMAGE.value, "detail": "auto"},
        "web image": {"type": "input_image", "image_url": WEB_IMAGE.value, "detail": "auto"},
        "file": {"type": "input_file", "filename": "document.pdf", "file_data": FILE.value},
        "web file": {"type": "input_file", "file_url": WEB_FILE.value},
        "note": {"type": "input_file", "filename": "document.txt", "file_data": NOTE.value},
    },
    "anthropic": {
        "image": {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": IMAGE.value.partition(",")[2]},
        },
        "web image": {"type": "image", "source": {"type": "url", "url": WEB_IMAGE.value}},
        "file": {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": FILE.value.partition(",")[2]},
        },
        "web file": {"type": "document", "source": {"type": "url", "url": WEB_FILE.value}},
        "note": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A note."}},
    },
    "gemini": {
        "image": {"inlineData": {"mimeType": "image/png", "data": IMAGE.value.partition(",")[2]}},
        "web image": {"fileData": {"fileUri": WEB_IMAGE.value}},
        "file": {"inlineData": {"mimeType": "application/pdf", "data": FILE.value.partition(",")[2]}},
        "web file": {"fileData": {"mimeType": "application/pdf", "fileUri": WEB_FILE.value}},
        "note": {"inlineData": {"mimeType": "text/plain", "data": NOTE.value.partition(",")[2]}},
    },
    "converse": {
        "image": {"image": {"format": "png", "source": {"bytes": IMAGE.value.partition(",")[2]}}},
        "file": {
            "document": {
                "format": "pdf",
                "name": "document 1",
                "source": {"bytes": FILE.value.partition(",")[2]},
            }
        },
        "note": {
            "document": {
                "format": "txt",
                "name": "document 1",
                "source": {"bytes": NOTE.value.partition(",")[2]},
            }
        },
    },
}
SHOWN |= {f"vertex-{name}": SHOWN[dialect] for name, dialect in (("gemini", "gemini"), ("claude", "anthropic"))}
MEDIA = {"image": IMAGE, "web image": WEB_IMAGE, "file": FILE, "web file": WEB_FILE, "note": NOTE}
PLACE = schema_of({"country": str, "people": int, "kind": ["city", "village"]})
OPTIONS = {"max_tokens": 50, "stop": ["\n"], "reasoning": "low", "seed": 1, "extra": {"labels": {"a": "b"}}}

every_dialect = pytest.mark.parametrize("name", DIALECTS)
every_that_sees = pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect.images])


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


def seen_in(name):
    """Return a conversation that shows all this dialect can, some of it behind its text."""
    media = [MEDIA[what] for what in SHOWN[name]]
    return (*with_media(ASK, media), Message("assistant", "Yes."), Parted("user", "a\nb", (*media, Part("text", "a"))))


@every_that_sees
def test_images_and_files(name):
    """Each in the vendor's own shape, before the text they go with."""
    for what, part in SHOWN[name].items():
        shown = sent(name, with_media(ASK, [MEDIA[what]]))[turns_of(sent(name))][-1]
        first, said = shown.get("content", shown.get("parts"))

        assert part == first
        assert "Where is Oslo?" == said["text"]


@every_that_sees
def test_parts_keep_their_order(name):
    """An image between two texts stands there."""
    parts = (Part("text", "Before."), IMAGE, Part("text", "Behind."))
    turn = sent(name, (Parted("user", "Before.\nBehind.", parts),))[turns_of(sent(name))][0]

    before, image, behind = turn.get("content", turn.get("parts"))

    assert ("Before.", SHOWN[name]["image"], "Behind.") == (before["text"], image, behind["text"])


@every_that_sees
def test_bodies_with_images_and_files_are_valid_by_the_official_types(name):
    """The vendor's own type of requests takes them."""
    body = sent(name, seen_in(name))

    checked = VENDORS[name].asked.validate_python(body)

    assert set(body) == set(
        checked if isinstance(checked, dict) else checked.model_dump(exclude_unset=True, by_alias=True)
    )


@every_dialect
def test_rules_and_turns_have_their_places(name):
    """Rules of either role are the vendor's rules, and the turns keep their order and speakers."""
    talk = (Message("system", "One."), Message("developer", "Two."), *TALK[1:])
    body = sent(name, talk)
    turns = body[turns_of(body)]

    rules = body.get("system", body.get("systemInstruction"))
    spoken = {"model": "assistant"}
    roles = [spoken.get(turn["role"], turn["role"]) for turn in turns]
    assert ["user", "assistant", "user"] == [role for role in roles if role not in ("system", "developer")]
    assert (rules is None) == (["system", "developer"] == roles[:2])
    assert rules is None or ("One." in json.dumps(rules) and "Two." in json.dumps(rules))


def test_turns_of_one_role_are_one_turn_of_geminis():
    """There roles alternate."""
    body = sent("gemini", (Message("user", "a"), Message("user", "b"), Message("assistant", "c")))

    assert [("user", 2), ("model", 1)] == [(turn["role"], len(turn["parts"])) for turn in body["contents"]]


def test_converse_wants_the_user_first():
    """The model alone says whether an answer may have been begun."""
    orders = [DIALECTS["converse"].order(roles) for roles in (["system", "user"], ["user", "assistant"], ["assistant"])]

    assert [None, None, "Bedrock takes no conversation that the assistant begins"] == orders


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        (["system", "user", "assistant", "user"], None),
        (["user", "user"], None),
        (["system"], None),
        (["assistant", "user"], "Anthropic takes no conversation that the assistant begins"),
        (["user", "assistant"], "Anthropic takes no conversation that ends with the assistant"),
    ],
)
def test_anthropic_wants_the_user_first_and_last(roles, why):
    """Others do not mind."""
    assert why == DIALECTS["anthropic"].order(roles)
    assert [None] * 3 == [DIALECTS[name].order(roles) for name in ("openai", "openai-responses", "gemini")]


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
        yield from (content,) if isinstance(content, str) else (part["text"] for part in content)


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
