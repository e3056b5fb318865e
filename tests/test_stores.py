"""`dfllm.store`: what is removed, kept and carried over, and what is said where something does not fit."""

import os
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

import dfllm
from dfllm._run.runtime import runtime
from dfllm._run.settings import current
from dfllm._run.store import Entry
from dfllm._run.store import Store as Opened

CITIES = pd.DataFrame({"city": ["Oslo", "Lima", "Oslo", "Bonn"]})


def asked(frame=CITIES, prompt="Where is {{ city }}?", **options):
    """Ask the simulator, which runs in this process."""
    return frame.llm.complete(prompt, model="simulator/echo", **options)


def hits(needle):
    """Return the files beside the store, and the store, that hold a text; the simulator's own bill aside."""
    folder = Path(os.environ["DFLLM_STORE"]).parent
    return [file.name for file in sorted(folder.iterdir()) if needle.encode() in file.read_bytes()]


def entries():
    """Return how many answers are in the store."""
    return dfllm.store().stats().entries


def test_the_store_is_the_one_of_the_settings(tmp_path):
    """The path is that of the settings in force where `store` is called, and nothing is made."""
    with dfllm.options(store=tmp_path / "other.db"):
        other = dfllm.store()

    assert [Path(os.environ["DFLLM_STORE"]), tmp_path / "other.db"] == [dfllm.store().path, other.path]
    assert f"dfllm.Store({str(other.path)!r})" == repr(other)
    assert not other.path.exists()


@pytest.mark.parametrize(
    "look",
    [
        lambda store: store.stats(),
        lambda store: store.verify(),
        lambda store: store.prune(older_than="1d"),
        lambda store: store.purge(key="k1" + "0" * 40),
        lambda store: store.export("answers.parquet"),
    ],
    ids=["stats", "verify", "prune", "purge", "export"],
)
def test_no_store_is_made_by_looking(look, tmp_path, monkeypatch):
    """Where there is no store that is said, and there is none afterwards."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(dfllm.StoreError, match="There is no store at"):
        look(dfllm.store())

    assert [] == list(tmp_path.rglob("*.*"))


def test_what_is_there_is_counted_and_whole():
    """The facade shows what the store counts, and checks it."""
    asked()

    store = dfllm.store()

    assert (3, 3, True) == (store.stats().entries, store.verify().entries, store.verify().ok)


@pytest.mark.parametrize("age", [timedelta(days=3), 3 * 86400, "3d"])
def test_old_answers_are_pruned(age):
    """What is older than an age goes, however the age is said."""
    asked()
    opened = runtime().store(current())
    opened.save([Entry(b"o" * 20, b"{}", "openai", "gpt-mini", 1.0, 0.5, 1)], "run").result()

    assert (1, 3) == (dfllm.store().prune(older_than=age).answers, entries())


def test_a_models_answers_are_pruned():
    """Only what one model said goes, and is asked again when it is needed."""
    asked()
    CITIES.llm.complete("Where is {{ city }}?", model="simulator/small")

    removed = dfllm.store().prune(model="simulator/echo")

    assert (3, 3) == (removed.answers, entries())
    assert [True] == asked(details=True)["completion_source"].eq("live").unique().tolist()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "older_than=, model= or max_bytes="),
        ({"older_than": "soon"}, "older_than takes"),
        ({"max_bytes": -1}, "max_bytes takes a whole number"),
        ({"max_bytes": 1.5}, "max_bytes takes a whole number"),
        ({"max_bytes": True}, "max_bytes takes a whole number"),
    ],
)
def test_a_prune_that_does_not_fit_removes_nothing(given, said):
    """The message says what is to be said."""
    asked()

    with pytest.raises(dfllm.OptionError, match=said):
        dfllm.store().prune(**given)

    assert 3 == entries()


def test_a_frames_answers_are_purged():
    """The rows of a frame with details give the keys; no byte of their answers is left, and others' stay."""
    out = asked(details=True)
    before = hits("Where is Bonn?")

    removed = dfllm.store().purge(out[out["city"] == "Bonn"])

    assert [] != before
    assert (1, 2, []) == (removed.answers, entries(), hits("Where is Bonn?"))
    assert [] != hits("Where is Lima?")


def test_an_earlier_frame_gets_its_keys_for_nothing():
    """Without details, the same call with cache="only" gives the keys, as the error says."""
    out = asked()
    with pytest.raises(dfllm.OptionError, match=r"no column of keys.*details=True, cache='only'"):
        dfllm.store().purge(out)

    removed = dfllm.store().purge(asked(out[["city"]], details=True, cache="only"))

    assert (3, 0) == (removed.answers, entries())


def test_keys_of_the_users_own_are_no_keys():
    """Columns that end in _key and hold something else are passed over, missing cells too."""
    out = asked(details=True).assign(customer_key=["a", "b", "c", "d"])
    out.loc[0, "completion_key"] = None

    assert 3 == dfllm.store().purge(out).answers


def test_keys_are_purged_by_name():
    """One key or several, as the column has them."""
    keys = asked(details=True)["completion_key"].drop_duplicates().tolist()

    one = dfllm.store().purge(key=keys[0])
    more = dfllm.store().purge(key=keys)

    assert (1, 2, 0) == (one.answers, more.answers, entries())


def test_a_tags_answers_are_purged():
    """What a tagged run paid for goes, and its amounts stay in the ledger."""
    asked(tag="ada")
    asked(prompt="What is {{ city }}?")
    spent = dfllm.runs()["tokens_in"].sum()

    removed = dfllm.store().purge(tag="ada")

    assert (3, 3, []) == (removed.answers, entries(), hits("Where is"))
    assert spent == dfllm.runs()["tokens_in"].sum() > 0


def test_all_can_be_purged():
    """An age of nothing is everything."""
    asked()

    removed = dfllm.store().purge(older_than=0)

    assert (3, 0, []) == (removed.answers, entries(), hits("Where is"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "one of a frame, key=, tag= and older_than=; found none"),
        ({"tag": "a", "older_than": 0}, "found tag and older_than"),
        ({"key": "Oslo"}, "key='Oslo' is no key.*details=True"),
        ({"key": ["k1" + "0" * 40, 7]}, "key=7 is no key"),
        ({"frame": ["k1" + "0" * 40]}, "takes a frame; found list. For keys say key="),
        ({"frame": pd.DataFrame({"a_key": ["x"]})}, "no column of keys"),
    ],
)
def test_a_purge_that_does_not_fit_removes_nothing(given, said):
    """The message says what was found and what to do."""
    asked()

    with pytest.raises(dfllm.OptionError, match=said):
        dfllm.store().purge(**given)

    assert 3 == entries()


def test_answers_travel(tmp_path):
    """An export loaded elsewhere gives the same frame, and nothing is sent."""
    out = asked()
    file = tmp_path / "answers.parquet"

    exported = dfllm.store().export(file)
    with dfllm.options(store=tmp_path / "elsewhere.db"):
        loaded = dfllm.store().load(file)
        again = asked(cache="only")
        twice = dfllm.store().load(str(file))

    assert ((3, 0), (3, 3, 0, 0), (3, 0, 3, 0)) == (exported, loaded, twice)
    pd.testing.assert_frame_equal(out, again)


def test_many_answers_travel_in_windows(tmp_path):
    """More answers than a window holds all arrive, whatever was removed between them."""
    opened = Opened(tmp_path / "many.db")
    made = [Entry(number.to_bytes(20, "big"), b"%d" % number, "a", "b", 1.0, 0.5, None) for number in range(2_500)]
    opened.save(made, "run").result()
    opened.close()
    with dfllm.options(store=tmp_path / "many.db"):
        dfllm.store().purge(key=["k1" + (7).to_bytes(20, "big").hex()])
        exported = dfllm.store().export(tmp_path / "many.parquet")

    loaded = dfllm.store().load(tmp_path / "many.parquet")

    assert (2_499, (2_499, 2_499, 0, 0)) == (exported.answers, loaded)
    assert (2_499, True) == (entries(), dfllm.store().verify().ok)


def test_the_newer_answer_stands(tmp_path):
    """Of two answers to one question the one that came later is kept, whichever way it came."""
    old, new = (Entry(b"k" * 20, body, "openai", "gpt", at, 0.5, 1) for body, at in ((b"old", 1.0), (b"new", 2.0)))
    for name, entry in (("old", old), ("new", new)):
        opened = Opened(tmp_path / f"{name}.db")
        opened.save([entry], "run").result()
        opened.close()
        with dfllm.options(store=tmp_path / f"{name}.db"):
            dfllm.store().export(tmp_path / f"{name}.parquet")

    store = dfllm.store()
    counts = [store.load(tmp_path / f"{name}.parquet")[1:] for name in ("old", "new", "old")]

    assert [(1, 0, 0), (1, 0, 0), (0, 1, 0)] == counts
    assert [b"new"] == [found.body for found in runtime().store(current()).known([b"k" * 20])]


def test_what_is_no_export_makes_no_store(tmp_path):
    """A file of another kind is refused before anything is made."""
    (tmp_path / "a.parquet").write_bytes(b"a diary")

    with pytest.raises(dfllm.StoreError, match=r"a\.parquet cannot be loaded"):
        dfllm.store().load(tmp_path / "a.parquet")

    assert not dfllm.store().path.exists()


@pytest.mark.parametrize("name", ["answers.db", "answers.db-wal", "answers.db.parquet"])
def test_an_export_does_not_write_over_the_store(name):
    """Names of the store's own files are refused."""
    asked()
    store = dfllm.store()

    with pytest.raises(dfllm.StoreError, match="choose another for the export"):
        store.export(store.path.with_name(name))

    assert store.verify().ok


def test_an_export_that_cannot_be_written_says_so(tmp_path):
    """The message is the disk's, and what was there is as it was."""
    asked()

    with pytest.raises(dfllm.StoreError, match=r"nowhere/a\.parquet cannot be written: No such file"):
        dfllm.store().export(tmp_path / "nowhere" / "a.parquet")
