"""Refreshes: one that was broken off goes on, one that is whole is forgotten, and calls do not mix theirs up."""

import pytest

from dfllm._run.store import Store
from dfllm._run.store_refresh import RESUMED_SECONDS, Refresh, Refreshed

ID, OTHER = b"i" * 20, b"o" * 20


@pytest.fixture
def store(tmp_path):
    """Return an open store."""
    store = Store(tmp_path / "store.db", wait_seconds=5)
    yield store
    store.close()


def begun(store, at, which=ID):
    """Begin a refresh, or go on with one; return since when answers count."""
    return store.refresh(Refresh(which, at)).result()


def test_a_refresh_that_was_broken_off_goes_on(store):
    """However long ago it was: what was answered since its beginning counts. Others are others."""
    assert [10.0, 10.0, 1e9] == [begun(store, 10.0), begun(store, 1e9), begun(store, 1e9, OTHER)]


def test_a_refresh_outlives_its_process(store, tmp_path):
    """Its beginning is on disk before anything is sent."""
    begun(store, 10.0)
    store.close()
    again = Store(tmp_path / "store.db")

    assert 10.0 == begun(again, 20.0)
    again.close()


def test_a_refresh_that_is_whole_is_forgotten(store):
    """The next one begins anew."""
    begun(store, 10.0)

    store.conclude(Refreshed(ID, 11.0, whole=True)).result()

    assert 20.0 == begun(store, 20.0)


@pytest.mark.parametrize(
    ("later", "since"), [(RESUMED_SECONDS, 10.0), (RESUMED_SECONDS + 1, 20.0 + RESUMED_SECONDS + 1)]
)
def test_a_refresh_with_failed_rows_goes_on_for_a_while(store, later, since):
    """Run again at once it asks what failed; days later a refresh is a refresh of everything."""
    begun(store, 10.0)
    store.conclude(Refreshed(ID, 20.0, whole=False)).result()

    assert since == begun(store, 20.0 + later)


def test_looking_begins_nothing(store):
    """A plan says since when answers would count, and leaves no trace."""
    before = store.refreshing(Refresh(ID, 10.0))
    begun(store, 20.0)

    assert (None, 20.0) == (before, store.refreshing(Refresh(ID, 30.0)))


def test_a_refresh_that_goes_on_is_broken_off_until_it_ends(store):
    """Going on after failed rows, it is as new: killed then, it goes on whenever it is run again."""
    begun(store, 10.0)
    store.conclude(Refreshed(ID, 20.0, whole=False)).result()
    begun(store, 21.0)

    assert 10.0 == begun(store, 1e9)
