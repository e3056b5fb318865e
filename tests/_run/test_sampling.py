"""Sampling: the numbers of rows' samples, however the rows are cut into windows."""

from hypothesis import given
from hypothesis import strategies as st

from dfllm._run.sampling import Alike, Numbered, Varied

keys = st.lists(st.sampled_from([b"a", b"b", b"c", None]), max_size=30)


@given(keys, st.integers(1, 4), st.data())
def test_equal_rows_vary_however_windows_are_cut(keys, each, data):
    """The i-th of equal rows begins at i times its samples, also where a window is looked at twice."""
    sampling, found, start = Varied(each), [], 0
    while start < len(keys):
        stop = data.draw(st.integers(start + 1, len(keys)))
        for _ in range(data.draw(st.integers(1, 2))):
            firsts = list(sampling.firsts(start, keys[start:stop]))
        found += firsts
        start = stop

    assert [0 if key is None else each * keys[:row].count(key) for row, key in enumerate(keys)] == found
    assert [first + sample for first in found for sample in range(each)] == [
        sampling.number(place) for place in range(each * len(keys))
    ]


def test_equal_rows_share_where_they_are_alike():
    """Each row has samples 0 to n - 1."""
    sampling = Alike(3)

    assert [0, 0] == list(sampling.firsts(7, [b"a", b"b"]))
    assert [0, 1, 2, 0] == [sampling.number(place) for place in range(21, 25)]


def test_rows_may_be_samples_whose_numbers_are_known():
    """One place a row."""
    sampling = Numbered([4, 0, 7])

    assert ([0, 7], 7, 1) == (list(sampling.firsts(1, [b"a", None])), sampling.number(2), sampling.each)
