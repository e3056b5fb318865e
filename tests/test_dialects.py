"""Every dialect from a frame to its columns: the simulator behind each provider's own variables."""

import base64
import hashlib
import json
from dataclasses import replace
from typing import Literal

import pandas as pd
import pytest

import dfllm
from dfllm._core.keys import keyer
from dfllm._core.types import Message
from dfllm._run.settings import PROVIDERS
from dfllm._wire.dialects import DIALECTS
from dfllm._wire.embeddings import EMBEDDERS
from dfllm._work import Work
from dfllm.simulator import Faults, RateLimits, Simulator

SCHEMA = {"mood": ["good", "bad"], "stars": int, "topic": str, "again": bool}
#: Where each dialect's provider is on the simulator, behind its root.
BELOW = {"openai": "/v1", "openai-responses": "/v1"}
#: And a user's own that speaks as it does, where that is elsewhere.
OWN = {"vertex": "/v1/projects/p/locations/l"}
#: Ends that a wire does not know, and what stands for them there.
OTHERWISE = {(name, "Refused"): "ContentFiltered" for name in ("gemini", "vertex", "bedrock")}
#: The providers whose models are listed at another host.
UNLISTED = ("vertex", "bedrock")
#: Who passes no address of an image or a file on to be fetched.
UNFETCHED = {("vertex", "image"), ("bedrock", "image"), ("openai", "file"), ("bedrock", "file")}

PNG = b"\x89PNG\r\n\x1a\npixels"
DOCUMENT = b"%PDF-1.7 pages"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is Rome?"},
    {"role": "assistant", "content": "In Italy."},
]

#: One provider for each dialect; what only some models of a provider are spoken to in has its own tests.
SPEAKERS = {provider.dialect: provider.name for provider in reversed(PROVIDERS.values())}
every_dialect = pytest.mark.parametrize("name", [SPEAKERS[dialect] for dialect in DIALECTS if dialect in SPEAKERS])
every_caller = pytest.mark.parametrize(
    "name", [SPEAKERS[name] for name, dialect in DIALECTS.items() if dialect.tools and name in SPEAKERS]
)
every_that_sees = pytest.mark.parametrize(
    "name", [SPEAKERS[name] for name, dialect in DIALECTS.items() if dialect.images and name in SPEAKERS]
)


class Drawn:
    """A picture as Pillow has them."""

    def getbands(self):
        return ("R",)

    def save(self, place, kind):
        place.write(PNG)


def told(content, kind):
    """Return what echo says of these bytes."""
    return f"[{kind} {len(content)} bytes {hashlib.sha256(content).hexdigest()[:8]}]"


@pytest.fixture
def frame():
    """Return a small frame."""
    return pd.DataFrame({"city": ["Oslo", "Lima", "Quito"]})


@pytest.fixture
def serve(monkeypatch, simulator, google):
    """Return a function that starts a simulator in place of a dialect's provider, and wants its key."""

    def start(name: str, **options) -> Simulator:
        provider = PROVIDERS[name]
        started = simulator(key="sk-right", **options)
        monkeypatch.setenv(provider.url_names[0], started.base_url.removesuffix("/v1") + BELOW.get(name, ""))
        monkeypatch.setenv(provider.key_names[0], google("sk-right") if provider.signs == "google" else "sk-right")
        for _, names in provider.places:
            monkeypatch.setenv(names[0], "some-place")
        return started

    return start


@every_dialect
def test_text(name, serve, frame):
    """A row gets its answer, with all that is known of it, and a second call asks nobody."""
    started = serve(name)

    out, again = (
        frame.llm.complete("Where is {{ city }}?", model=f"{name}/small", system="Be brief.", details=True)
        for _ in range(2)
    )

    assert [True] * 3 == [city in said for city, said in zip(out["city"], out["completion"], strict=True)]
    assert out["completion"].tolist() == again["completion"].tolist()
    assert (out["completion_tokens_in"] > 0).all()
    assert (out["completion_tokens_out"] > 0).all()
    assert 3 == started.bill.billed


@every_dialect
def test_schema(name, serve, frame):
    """The same columns of the same kinds, whoever is asked."""
    serve(name)

    out = frame.llm.complete("Rate {{ city }}.", model=f"{name}/small", schema=SCHEMA)

    assert 3 == out["completion_error"].isna().sum()
    assert ["Int64", "boolean"] == [str(out[f"completion_{field}"].dtype) for field in ("stars", "again")]
    assert set(out["completion_mood"]) <= {"good", "bad"}


@every_dialect
def test_labels(name, serve, frame):
    """One of the labels, in the result column itself."""
    serve(name)

    out = frame.llm.complete("Rate {{ city }}.", model=f"{name}/small", schema=["good", "bad"])

    assert set(out["completion"]) <= {"good", "bad"}


@every_that_sees
@pytest.mark.parametrize("held", ["bytes", "data URL", "path", "Path", "picture", "URL"])
def test_images(name, held, serve, tmp_path):
    """However an image is held, the provider sees the same; a URL is passed on, or its row says that it cannot be."""
    started = serve(name)
    path = tmp_path / "any name"
    path.write_bytes(PNG)
    cells = {
        "bytes": PNG,
        "data URL": f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
        "path": str(path),
        "Path": path,
        "picture": Drawn(),
        "URL": "https://example.com/a.png",
    }
    frame = pd.DataFrame({"city": ["Oslo"], "photo": pd.Series([cells[held]], dtype=object)})

    if held == "URL" and (name, "image") in UNFETCHED:
        with pytest.warns(dfllm.RowsFailedWarning):
            out = frame.llm.complete("Is this {{ city }}?", images="photo", model=f"{name}/echo")
        why = f"BadInput: {name} fetches no images; dfllm.configure(fetch_images=True) does it here"
        assert ([why], 0) == (out["completion_error"].tolist(), started.bill.requests)
        return
    out = frame.llm.complete("Is this {{ city }}?", images="photo", model=f"{name}/echo")

    seen = "[image https://example.com/a.png]" if held == "URL" else told(PNG, "image/png")
    assert [f"Is this Oslo?\n{seen}"] == out["completion"].tolist()
    assert 1 == started.bill.billed


@every_that_sees
@pytest.mark.parametrize("held", ["bytes", "data URL", "path", "Path", "URL", "text"])
def test_files(name, held, serve, tmp_path):
    """The same of documents, where the provider takes them; else the row says so, unsent and free."""
    started = serve(name)
    path = tmp_path / "any name"
    path.write_bytes(DOCUMENT)
    cells = {
        "bytes": DOCUMENT,
        "data URL": f"data:application/pdf;base64,{base64.b64encode(DOCUMENT).decode()}",
        "path": str(path),
        "Path": path,
        "URL": "https://example.com/a.pdf",
        "text": b"A note.",
    }
    frame = pd.DataFrame({"report": pd.Series([cells[held]], dtype=object)})
    seen = {"URL": "[file https://example.com/a.pdf]", "text": told(b"A note.", "text/plain")}

    refused = {"URL": f"BadInput: {name} fetches no files; dfllm.configure(fetch_files=True) does it here"}
    if name == "openai":
        refused["text"] = "BadInput: text file, openai takes PDF"
    if held in refused and (name, "file") in UNFETCHED:
        with pytest.warns(dfllm.RowsFailedWarning):
            out = frame.llm.complete("What is it?", files="report", model=f"{name}/echo")
        assert ([refused[held]], 0) == (out["completion_error"].tolist(), started.bill.requests)
        return
    out = frame.llm.complete("What is it?", files="report", model=f"{name}/echo")

    assert [f"What is it?\n{seen.get(held, told(DOCUMENT, 'application/pdf'))}"] == out["completion"].tolist()


@every_dialect
def test_conversations(name, serve, frame):
    """Each row's own turns and the prompt's are one conversation, and the same as one of templates, with its key."""
    started = serve(name)
    frame["talk"] = [TALK, json.dumps(TALK), None]
    templates = [*TALK, {"role": "user", "content": "And {{ city }}?"}]

    out = frame.llm.complete("And {{ city }}?", messages="talk", model=f"{name}/echo")
    again = frame[:2].llm.complete(templates, model=f"{name}/echo")

    assert ["And Oslo?", "And Lima?"] == out["completion"].tolist()[:2] == again["completion"].tolist()
    assert "Skipped: column 'talk' is missing" == out["completion_error"].iloc[2]
    assert 2 == started.bill.billed


@every_dialect
def test_conversations_alone(name, serve, frame):
    """No prompt is needed, and what is no conversation costs its row alone."""
    started = serve(name)
    asked = {"role": "user", "content": "Where is Oslo?"}
    frame["talk"] = [[asked], [TALK[0], asked], [{"role": "bot", "content": "?"}]]

    with pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete(messages="talk", model=f"{name}/echo")

    assert ["Where is Oslo?"] * 2 == out["completion"].tolist()[:2]
    why = "BadInput: message 1 has a role that is none of system, developer, user, assistant in column 'talk'"
    assert why == out["completion_error"].iloc[2]
    assert 2 == started.bill.requests


@every_that_sees
def test_conversations_that_show_something(name, serve):
    """Parts of a turn go out in their order."""
    serve(name)
    parts = [{"type": "text", "text": "See?"}, {"type": "image", "image": PNG}, {"type": "file", "file": DOCUMENT}]
    frame = pd.DataFrame({"talk": pd.Series([[{"role": "user", "content": parts}]], dtype=object)})

    out = frame.llm.complete(messages="talk", model=f"{name}/echo")

    assert ["See?", told(PNG, "image/png"), told(DOCUMENT, "application/pdf")] == out["completion"].iloc[0].splitlines()


@every_dialect
def test_few_shot(name, serve, frame):
    """Examples stand between the rules and the question, in every vendor's own roles."""
    serve(name)
    prompt = [
        {"role": "developer", "content": "Answer with a country."},
        {"role": "user", "content": "Rome"},
        {"role": "assistant", "content": "Italy"},
        {"role": "user", "content": "{{ city }}"},
    ]

    out = frame.llm.complete(prompt, system="Be brief.", model=f"{name}/echo")

    assert ["Oslo", "Lima", "Quito"] == out["completion"].tolist()


def test_anthropic_is_asked_by_the_user_and_for_an_answer(serve, frame):
    """A conversation that it would refuse is refused here: a row's own in its place, a template's before anything."""
    started = serve("anthropic")
    turns = [{"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Hi."}]
    frame["talk"] = [turns, turns[::-1], turns[1:]]

    with pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete(messages="talk", model="anthropic/echo")
    with pytest.raises(dfllm.OptionError, match="no conversation that ends with the assistant"):
        frame.llm.complete(turns[::-1], model="anthropic/echo")

    assert [
        "BadInput: Anthropic takes no conversation that the assistant begins",
        "BadInput: Anthropic takes no conversation that ends with the assistant",
    ] == out["completion_error"].tolist()[:2]
    assert ("Hi.", 1) == (out["completion"].iloc[2], started.bill.requests)


def test_bedrock_takes_turns_of_one_role_as_one(serve, frame):
    """Where they alternate in the end; the assistant begins no conversation."""
    started = serve("bedrock")
    asked, said = ({"role": role, "content": "Hi."} for role in ("user", "assistant"))
    frame["talk"] = [[asked, asked, said], [asked, said, said], [said]]

    with pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete("Where is {{ city }}?", messages="talk", model="bedrock/echo")

    assert ["Where is Oslo?", "Where is Lima?"] == out["completion"].tolist()[:2]
    why = "BadInput: Bedrock takes no conversation that the assistant begins"
    assert (why, 2) == (out["completion_error"].iloc[2], started.bill.requests)


def test_bedrock_takes_five_files_with_some_text(serve):
    """More, or a turn of files alone, would be refused there."""
    started = serve("bedrock")
    files = [{"type": "file", "file": b"%PDF-1.7 " + bytes([65 + number])} for number in range(6)]
    parts = [[*files[:5], {"type": "text", "text": "Sum up."}], [*files, {"type": "text", "text": "?"}], files[:1]]
    frame = pd.DataFrame({"talk": pd.Series([[{"role": "user", "content": one}] for one in parts], dtype=object)})

    with pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete(messages="talk", model="bedrock/echo")

    assert 6 == len(out["completion"].iloc[0].splitlines())
    assert [
        "TooLarge: 6 files, bedrock takes 5 a request",
        "BadInput: bedrock wants text in a turn that shows a file",
    ] == out["completion_error"].tolist()[1:]
    assert 1 == started.bill.requests


@every_that_sees
def test_large_images_do_not_look_like_long_prompts(name, serve):
    """A megabyte of an image is no megabyte of text, and fits a limit of tokens."""
    serve(name, limits=RateLimits(rpm=6_000, tpm=20_000))
    frame = pd.DataFrame({"photo": [PNG.ljust(1_000_000 + n, b"\0") for n in range(3)]})

    out = frame.llm.complete("What is it?", images="photo", model=f"{name}/small", max_tokens=100)

    assert 3 == out["completion"].notna().sum()


@every_dialect
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refusal", "Refused"),
        ("length", "Truncated"),
        ("think_out", "Truncated"),
        ("blank", "EmptyResponse"),
        ("fncall", "InvalidOutput"),
        ("credit400", "QuotaExhausted"),
        ("quota", "QuotaExhausted"),
        ("ctx", "ContextTooLong"),
        ("404", "ModelNotFound"),
        ("err200", "ServerError"),
    ],
)
def test_trouble(name, serve, frame, fault, kind):
    """The same trouble ends in the same word."""
    serve(name, faults=Faults(by_text={"Lima": fault}))

    with pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete("Where is {{ city }}?", model=f"{name}/small", limits=dfllm.Limits(concurrency=1))

    kind = OTHERWISE.get((name, kind), kind)
    assert [None, kind] == [None if pd.isna(error) else error.split(":")[0] for error in out["completion_error"][:2]]


@every_dialect
@pytest.mark.parametrize("fault", ["rate429", "500", "503", "529", "drop_before", "trunc_json", "html"])
def test_trouble_that_passes(name, serve, frame, fault):
    """It is waited for, and asked again."""
    serve(name, faults=Faults(by_text={"Lima": f"{fault}*1"}))

    out = frame.llm.complete("Where is {{ city }}?", model=f"{name}/small")

    assert 3 == out["completion"].notna().sum()


@every_dialect
def test_limits(name, serve, frame):
    """The vendor's own headers are read, where it has some, and nothing runs into the limit."""
    serve(name, limits=RateLimits(rpm=6000, tpm=10_000_000))

    out = frame.llm.complete("Where is {{ city }}?", model=f"{name}/small")

    assert 3 == out["completion"].notna().sum()


@every_dialect
def test_an_unknown_model_is_met_with_the_nearest(name, serve, frame):
    """The provider's list is read in its own shape."""
    serve(name)

    with pytest.raises(dfllm.ModelNotFound, match="/smal:" if name in UNLISTED else "Did you mean 'small'"):
        frame.llm.complete("Where is {{ city }}?", model=f"{name}/smal")


@every_dialect
def test_a_missing_key_names_its_variable(name, frame, monkeypatch):
    """Nothing is sent, and it is said what to set."""
    for _, names in PROVIDERS[name].places:
        monkeypatch.setenv(names[0], "some-place")

    with pytest.raises(dfllm.KeyMissing, match=PROVIDERS[name].key_names[0]):
        frame.llm.complete("Where is {{ city }}?", model=f"{name}/small")


@every_dialect
def test_a_wrong_key_stops_the_call(name, serve, monkeypatch, google, frame):
    """It travels in the vendor's own header, and a wrong one is told so."""
    started = serve(name)
    is_google = PROVIDERS[name].signs == "google"
    monkeypatch.setenv(PROVIDERS[name].key_names[0], google("sk-wrong") if is_google else "sk-wrong")

    with pytest.raises(dfllm.AuthFailed, match=PROVIDERS[name].key_names[0]):
        frame.llm.complete("Where is {{ city }}?", model=f"{name}/small")
    assert (2 if is_google else 1) == started.bill.requests  # a token may have run out


@every_dialect
def test_a_server_of_ones_own_may_speak_it(name, serve, frame):
    """`register_provider` takes every dialect, also where no key is wanted."""
    with Simulator() as started:
        base_url = started.base_url.removesuffix("/v1") + OWN.get(name, BELOW.get(name, ""))
        dfllm.register_provider("lab", base_url=base_url, dialect=PROVIDERS[name].dialect)

        out = frame.llm.complete("Where is {{ city }}?", model="lab/small")

    assert 3 == out["completion"].notna().sum()


def test_all_dialects_answer_side_by_side(serve, frame):
    """One call asks the same of every provider, several times, and all columns are alike."""
    names = every_dialect.args[1]
    started = [serve(name) for name in names]

    out = frame.llm.complete("Rate {{ city }}.", model=[f"{name}/small" for name in names], schema=SCHEMA, samples=2)

    assert 6 * len(names) == sum(one.bill.billed for one in started)  # some of them share a variable
    for name in names:
        prefix = f"completion_{name.replace('-', '_')}_small"
        assert 3 == out[f"{prefix}_error"].isna().sum()
        assert {2} == {len(cell) for cell in out[f"{prefix}_stars"]}


@every_dialect
def test_a_fallback_speaks_any_of_them(name, serve, frame, simulator):
    """What one provider refuses another answers, whoever they are."""
    started = serve(name)
    refusing = simulator(faults=Faults(by_text={"Lima": "refusal"}))

    out = frame.llm.complete("Where is {{ city }}?", model="simulator/small", fallback=f"{name}/small")

    assert 3 == out["completion_error"].isna().sum()
    assert (3, 1) == (refusing.bill.billed, started.bill.billed)


def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Tell the weather."""
    raise AssertionError("nothing is ever called")


def look_up(query: str) -> str:
    """Look something up."""
    raise AssertionError("nothing is ever called")


TOOLS = [weather, look_up]


def named(calls):
    """Return the tools that each row calls."""
    return [[call["name"] for call in json.loads(row)] if pd.notna(row) else None for row in calls]


@every_caller
@pytest.mark.parametrize(
    ("prompt", "choice", "calls"),
    [
        ("What is the weather in {{ city }}?", None, ["weather"]),
        ("What is the weather, the weather, and look_up {{ city }}?", "auto", ["weather", "weather", "look_up"]),
        ("Where is {{ city }}?", "look_up", ["look_up"]),
        ("Where is {{ city }}?", None, None),
        ("What is the weather in {{ city }}?", "none", None),
    ],
    ids=["one", "parallel", "named", "not called", "none"],
)
def test_tools(name, serve, frame, prompt, choice, calls):
    """The same calls in the same columns, whoever is asked; a second run reads them from the store."""
    started = serve(name)

    if (name, choice) == ("bedrock", "none"):  # which has no word for that
        with pytest.raises(dfllm.OptionError, match="takes no tool_choice='none'; leave tools= out"):
            frame.llm.complete(prompt, model=f"{name}/small", tools=TOOLS, tool_choice=choice)
        assert 0 == started.bill.requests
        return
    out, again = (frame.llm.complete(prompt, model=f"{name}/small", tools=TOOLS, tool_choice=choice) for _ in range(2))

    assert [calls] * 3 == named(out["completion_calls"])
    assert [calls is None] * 3 == out["completion"].notna().tolist()
    assert out["completion_error"].isna().all()
    pd.testing.assert_frame_equal(out, again)
    assert 3 == started.bill.billed


@every_caller
def test_a_tool_may_be_required(name, serve, frame):
    """Whichever it is; its arguments are an object."""
    serve(name)

    out = frame.llm.complete("Where is {{ city }}?", model=f"{name}/small", tools=TOOLS, tool_choice="required")

    calls = [json.loads(row) for row in out["completion_calls"]]
    assert {"weather", "look_up"} >= {call["name"] for (call,) in calls}
    assert all(isinstance(call["arguments"], dict) for (call,) in calls)


@every_caller
def test_text_may_stand_beside_a_call(name, serve, frame):
    """Each in its own column."""
    serve(name)

    out = frame.llm.complete("What is the weather in {{ city }}?", model=f"{name}/large", tools=TOOLS)

    assert [["weather"]] * 3 == named(out["completion_calls"])
    assert out["completion"].notna().all()


@every_caller
def test_tools_and_a_schema_go_together(name, serve, frame):
    """What is said fits it; where a tool is called nothing need be said."""
    serve(name)

    out = frame.llm.complete(
        "{% if city == 'Lima' %}What is the weather in{% else %}Rate{% endif %} {{ city }}.",
        model=f"{name}/small",
        tools=TOOLS,
        schema=SCHEMA,
    )

    assert [None, ["weather"], None] == named(out["completion_calls"])
    assert [True, False, True] == out["completion_stars"].notna().tolist()
    assert out["completion_error"].isna().all()


@pytest.mark.parametrize(
    ("name", "fault", "kind"),
    [
        (name, fault, kind)
        for name in every_caller.args[1]
        for fault, kind in (("badargs", "InvalidOutput"), ("length", "Truncated"))
        if (name, fault) != ("anthropic", "badargs")  # whose arguments are an object, which cannot be broken
    ],
)
def test_calls_in_trouble(name, serve, frame, fault, kind):
    """What is broken or cut is no call; it was paid for, and is not asked again."""
    started = serve(name, faults=Faults(by_text={"Lima": fault}))

    for _ in range(2):
        with pytest.warns(dfllm.RowsFailedWarning):
            out = frame.llm.complete("What is the weather in {{ city }}?", model=f"{name}/small", tools=TOOLS)

    assert [["weather"], None, ["weather"]] == named(out["completion_calls"])
    assert kind == out["completion_error"][1].split(":")[0]
    assert 3 == started.bill.billed


@every_caller
def test_a_limit_may_cut_a_call(name, serve, frame):
    """Half of one never looks whole."""
    serve(name)

    with pytest.warns(dfllm.RowsFailedWarning):
        out = frame.llm.complete("What is the weather in {{ city }}?", model=f"{name}/small", tools=TOOLS, max_tokens=5)

    assert [None] * 3 == named(out["completion_calls"])
    assert {"Truncated"} == {error.split(":")[0] for error in out["completion_error"]}


def test_a_seed_has_the_name_its_provider_gives_it(frame, monkeypatch):
    """The field is in the row, and in the key."""
    work = Work(frame, "Where is {{ city }}?", {"model": "mistral/small", "seed": 1}, sends=False)

    sent = DIALECTS["openai"].encoder(work.order.terms)((Message("user", "x"),))

    assert {"random_seed": 1} == {name: value for name, value in json.loads(sent).items() if "seed" in name}


def test_a_schema_is_asked_for_in_words_where_none_is_taken(frame, monkeypatch, simulator):
    """The same columns, and the schema is among the instructions instead."""
    started = simulator(key="sk-right")
    monkeypatch.setitem(PROVIDERS, "deepseek", replace(PROVIDERS["deepseek"], base_url=started.base_url))
    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-right")

    out = frame.llm.complete("Rate {{ city }}.", model="deepseek/small", schema=SCHEMA)

    assert 3 == out["completion_error"].isna().sum()
    assert ["Int64", "boolean"] == [str(out[f"completion_{field}"].dtype) for field in ("stars", "again")]
    assert set(out["completion_mood"]) <= {"good", "bad"}


def test_the_default_limit_is_in_the_key(frame):
    """An answer of 8192 tokens at most is the same question, whether the number was said or not."""
    said, unsaid, other = (
        keyer(Work(frame, "{{ city }}", {"model": "anthropic/small", **more}, sends=False).order.terms)(())
        for more in ({"max_tokens": 8192}, {}, {"max_tokens": 100})
    )

    assert said == unsaid != other


@every_dialect
def test_verbs(name, serve, frame):
    """Every form of answer that a verb asks for is taken by every wire: labels, lists, bounds, fields and pairs."""
    started = serve(name)
    llm, model = frame.llm, f"{name}/small"

    labels = [json.loads(one) for one in llm.classify("city", ["big", "old"], multi=True, model=model)["label"]]
    scores = llm.score("city", "Is it warm?", low=2, high=4, reason=True, model=model)
    fields = llm.extract("city", {"name": "its name", "people": (float, "in millions")}, model=model)
    winners = llm.judge("city", "{{ city }} by night", "Which is nicer?", model=model)["winner"]

    assert {"big", "old"} >= {label for found in labels for label in found}
    assert scores["score"].between(2, 4).all()
    assert ["Int64", "Float64"] == [str(scores["score"].dtype), str(fields["extracted_people"].dtype)]
    assert {"a", "b", "tie"} >= set(winners)
    assert 15 == started.bill.billed


@pytest.mark.parametrize(
    "provider", [one for one in PROVIDERS.values() if one.needs_key and one.dialect], ids=lambda one: one.name
)
def test_every_provider_that_wants_a_key_names_its_variable(provider, frame, monkeypatch):
    """And nothing is sent."""
    for name in (*(names[0] for _, names in provider.places), *(() if provider.base_url else provider.url_names)):
        monkeypatch.setenv(name, "https://elsewhere.example.com" if name in provider.url_names else "some-place")

    with pytest.raises(dfllm.KeyMissing, match=provider.key_names[0]):
        frame.llm.complete("Where is {{ city }}?", model=f"{provider.name}/small")


def test_a_service_tier_is_a_setting_and_in_no_key(serve, frame):
    """The same question at another tier is known, and who has no tiers is not asked."""
    started = serve("openai")

    with dfllm.options(service_tier="flex"):
        first = frame.llm.complete("Where is {{ city }}?", model="openai/small")
        with pytest.raises(dfllm.OptionError, match="service_tier='flex' does not fit mistral: it has none"):
            frame.llm.complete("Where is {{ city }}?", model="mistral/small")
    again = frame.llm.complete("Where is {{ city }}?", model="openai/small")

    assert first["completion"].tolist() == again["completion"].tolist()
    assert 3 == started.bill.billed


#: Where each dialect of embeddings has its provider, and where that is on the simulator, behind its root.
EMBEDDING = {
    "openai-embeddings": ("openai", "/v1"),
    "mistral-embeddings": ("mistral", None),
    "gemini-embeddings": ("gemini", ""),
    "cohere-embeddings": ("cohere", ""),
    "voyage-embeddings": ("voyage", None),
}
every_embedder = pytest.mark.parametrize("dialect", EMBEDDERS)


@pytest.fixture
def embed(monkeypatch, simulator):
    """Return a function that embeds a frame by a dialect's own provider, which is a simulator that wants its key."""

    def call(dialect: str, frame: pd.DataFrame, *, model: str = "embed-small", given=None, **options):
        name, below = EMBEDDING[dialect]
        started = given or simulator(key="sk-right")
        root = started.base_url.removesuffix("/v1")
        if below is None:  # no variable moves it
            moved = replace(PROVIDERS[name], base_url=f"{root}/{name}/v1")
            monkeypatch.setitem(PROVIDERS, name, moved)
        else:
            monkeypatch.setenv(PROVIDERS[name].url_names[0], root + below)
        monkeypatch.setenv(PROVIDERS[name].key_names[0], "sk-right")
        return started, frame.llm.embed("{{ city }}", model=f"{name}/{model}", **options)

    return call


@every_embedder
def test_embeddings(dialect, embed, frame):
    """One vector a row in every dialect, of the length that was asked for, and a second call asks nobody."""
    started, out = embed(dialect, frame, dimensions=8)
    _, again = embed(dialect, frame, given=started, dimensions=8)

    assert [(8,)] * 3 == [vector.shape for vector in out["embedding"]]
    assert all((one == other).all() for one, other in zip(out["embedding"], again["embedding"], strict=True))
    assert (3, 1) == (started.bill.billed, started.bill.requests)


@every_embedder
def test_embeddings_for_a_task(dialect, embed, frame):
    """Each task that a provider has a word for is told to it, and gives another vector."""
    tasks = EMBEDDERS[dialect].tasks
    started, plain = embed(dialect, frame)

    made = {task: embed(dialect, frame, given=started, task=task)[1]["embedding"][0].tobytes() for task in tasks}

    same = {task for task, vector in made.items() if vector == plain["embedding"][0].tobytes()}
    assert len(tasks) == len(set(made.values()))
    assert same == ({EMBEDDERS[dialect].task} - {None})


@every_embedder
def test_one_bad_text_fails_alone_in_every_dialect(dialect, embed, simulator):
    """Each vendor's refusal is known for what it is."""
    frame = pd.DataFrame({"city": [f"city {number}" for number in range(40)]})
    frame.loc[17, "city"] = "too long " * 4_000

    with pytest.warns(dfllm.RowsFailedWarning, match=" 1\\)"):
        started, out = embed(dialect, frame)

    assert [17] == [row for row, error in enumerate(out["embedding_error"]) if not pd.isna(error)]
    assert 39 == started.bill.billed


@every_embedder
@pytest.mark.parametrize("fault", ["rate429", "500", "503", "drop_before", "trunc_json", "html"])
def test_embeddings_outlast_trouble_that_passes(dialect, embed, frame, simulator, fault):
    """As completions do."""
    given = simulator(key="sk-right", faults=Faults(by_text={"Lima": f"{fault}*1"}))

    _, out = embed(dialect, frame, given=given)

    assert 3 == out["embedding"].notna().sum()


@every_embedder
def test_embeddings_of_an_unknown_model(dialect, embed, frame):
    """The provider's list is read in its own shape, where it has one."""
    with pytest.raises(dfllm.ModelNotFound):
        embed(dialect, frame, model="embed-smal")


@pytest.mark.parametrize("name", [one.name for one in PROVIDERS.values() if one.needs_key and one.embeds])
def test_embeddings_without_a_key_name_its_variable(name, frame, monkeypatch):
    """And nothing is sent."""
    if not PROVIDERS[name].base_url:
        monkeypatch.setenv(PROVIDERS[name].url_names[0], "https://elsewhere.example.com")

    with pytest.raises(dfllm.KeyMissing, match=PROVIDERS[name].key_names[0]):
        frame.llm.embed("{{ city }}", model=f"{name}/embed-small")
