"""Every dialect from a frame to its columns: the simulator behind each provider's own variables."""

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

every_dialect = pytest.mark.parametrize("name", DIALECTS)


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


def test_all_dialects_answer_side_by_side(serve, frame):
    """One call asks the same of every provider, several times, and all columns are alike."""
    started = [serve(name) for name in DIALECTS]

    out = frame.llm.complete("Rate {{ city }}.", model=[f"{name}/small" for name in DIALECTS], schema=SCHEMA, samples=2)

    assert 6 * len(DIALECTS) == sum(one.bill.billed for one in started)  # two of them share a variable
    for name in DIALECTS:
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
