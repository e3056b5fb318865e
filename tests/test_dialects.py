"""Every dialect from a frame to its columns: the simulator behind each provider's own variables."""

import base64
import hashlib
import json

import pandas as pd
import pytest

import dfllm
from dfllm._core.keys import keyer
from dfllm._core.types import Message
from dfllm._run.settings import PROVIDERS
from dfllm._wire.dialects import DIALECTS
from dfllm._work import Work
from dfllm.simulator import Faults, RateLimits, Simulator

SCHEMA = {"mood": ["good", "bad"], "stars": int, "topic": str, "again": bool}
#: Where each dialect's provider is on the simulator, behind its root.
BELOW = {"openai": "/v1", "anthropic": "", "gemini": "", "openai-responses": "/v1"}
#: Ends that a wire does not know, and what stands for them there.
OTHERWISE = {("gemini", "Refused"): "ContentFiltered"}

PNG = b"\x89PNG\r\n\x1a\npixels"
DOCUMENT = b"%PDF-1.7 pages"
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where is Rome?"},
    {"role": "assistant", "content": "In Italy."},
]

every_dialect = pytest.mark.parametrize("name", DIALECTS)
every_that_sees = pytest.mark.parametrize("name", [name for name, dialect in DIALECTS.items() if dialect.images])


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
def serve(monkeypatch, simulator):
    """Return a function that starts a simulator in place of a dialect's provider, and wants its key."""

    def start(name: str, **options) -> Simulator:
        provider = PROVIDERS[name]
        started = simulator(key="sk-right", **options)
        monkeypatch.setenv(provider.url_names[0], started.base_url.removesuffix("/v1") + BELOW[name])
        monkeypatch.setenv(provider.key_names[0], "sk-right")
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
    """However an image is held, the provider sees the same; a URL is passed on."""
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

    if name == "openai" and held in seen:
        with pytest.warns(dfllm.RowsFailedWarning):
            out = frame.llm.complete("What is it?", files="report", model=f"{name}/echo")
        why = {
            "URL": "BadInput: openai fetches no files; dfllm.configure(fetch_files=True) does it here",
            "text": "BadInput: text file, openai takes PDF",
        }
        assert ([why[held]], 0) == (out["completion_error"].tolist(), started.bill.requests)
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

    with pytest.raises(dfllm.ModelNotFound, match="Did you mean 'small'"):
        frame.llm.complete("Where is {{ city }}?", model=f"{name}/smal")


@every_dialect
def test_a_missing_key_names_its_variable(name, frame):
    """Nothing is sent, and it is said what to set."""
    with pytest.raises(dfllm.KeyMissing, match=PROVIDERS[name].key_names[0]):
        frame.llm.complete("Where is {{ city }}?", model=f"{name}/small")


@every_dialect
def test_a_wrong_key_stops_the_call(name, serve, monkeypatch, frame):
    """It travels in the vendor's own header, and a wrong one is told so."""
    started = serve(name)
    monkeypatch.setenv(PROVIDERS[name].key_names[0], "sk-wrong")

    with pytest.raises(dfllm.AuthFailed, match=PROVIDERS[name].key_names[0]):
        frame.llm.complete("Where is {{ city }}?", model=f"{name}/small")
    assert 1 == started.bill.requests


@every_dialect
def test_a_server_of_ones_own_may_speak_it(name, serve, frame):
    """`register_provider` takes every dialect, also where no key is wanted."""
    with Simulator() as started:
        dfllm.register_provider("lab", base_url=started.base_url.removesuffix("/v1") + BELOW[name], dialect=name)

        out = frame.llm.complete("Where is {{ city }}?", model="lab/small")

    assert 3 == out["completion"].notna().sum()


def test_a_seed_has_the_name_its_provider_gives_it(frame, monkeypatch):
    """The field is in the row, and in the key."""
    work = Work(frame, "Where is {{ city }}?", {"model": "mistral/small", "seed": 1}, sends=False)

    sent = DIALECTS["openai"].encoder(work.order.terms)((Message("user", "x"),))

    assert {"random_seed": 1} == {name: value for name, value in json.loads(sent).items() if "seed" in name}


def test_a_schema_is_refused_where_none_is_taken(frame):
    """Before anything is sent."""
    with pytest.raises(dfllm.OptionError, match="deepseek takes no JSON schema"):
        frame.llm.complete("Where is {{ city }}?", model="deepseek/small", schema=["good", "bad"])


def test_the_default_limit_is_in_the_key(frame):
    """An answer of 8192 tokens at most is the same question, whether the number was said or not."""
    said, unsaid, other = (
        keyer(Work(frame, "{{ city }}", {"model": "anthropic/small", **more}, sends=False).order.terms)(())
        for more in ({"max_tokens": 8192}, {}, {"max_tokens": 100})
    )

    assert said == unsaid != other
