"""Vectors in a frame: one array a row, whatever the chunks."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfllm._vectors import vectors_of

cells = st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=4)


def column(chunks):
    """Return chunks of cells as they come out of a run."""
    raw = [[None if cell is None else np.array(cell, "<f4").tobytes() for cell in chunk] for chunk in chunks]
    return pa.chunked_array([pa.array(chunk, pa.large_binary()) for chunk in raw], pa.large_binary())


@given(st.lists(st.lists(cells, max_size=5), max_size=4))
def test_each_cell_is_its_vector(chunks):
    """Bit by bit, missing ones as None, in order."""
    found = vectors_of(column(chunks)).tolist()

    wanted = [cell for chunk in chunks for cell in chunk]
    assert [cell is None for cell in wanted] == [one is None for one in found]
    assert all(np.array_equal(np.array(cell, "f4"), one) for cell, one in zip(wanted, found, strict=True) if cell)
    assert {("float32", 1)} >= {(str(one.dtype), one.ndim) for one in found if one is not None}


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_slice_of_a_chunk_is_read_from_where_it_begins(start):
    """Arrow gives slices of what it has."""
    cells = [[1.0], None, [2.0, 3.0], [4.0]]

    found = vectors_of(column([cells]).slice(start, 2)).tolist()

    assert cells[start : start + 2] == [one if one is None else one.tolist() for one in found]


def test_they_may_be_written_to():
    """One without another."""
    first, second = vectors_of(column([[[1.0], [1.0]]]))

    first[:] = 0.0

    assert [1.0] == second.tolist()
