"""Vectors in a frame: from the bytes that were received to one numpy array a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa


def vectors_of(column: pa.ChunkedArray) -> pd.Series[Any]:
    """Return a column of 1-d float32 arrays, None where a row has none.

    Args:
        column: large binaries of 32-bit floats, the low byte first. Rows of one chunk share one piece of memory, of
            which each has its own part: one may be changed without another.
    """
    made = np.empty(len(column), dtype=object)
    row = 0
    for chunk in column.chunks:
        numbers = _numbers(chunk)
        places = np.frombuffer(chunk.buffers()[1], "<i8")[chunk.offset : chunk.offset + len(chunk) + 1] // 4
        bounds, there = places.tolist(), chunk.is_valid().to_pylist()
        for place, is_there in enumerate(there):
            if is_there:
                made[row + place] = numbers[bounds[place] : bounds[place + 1]]
        row += len(chunk)
    return pd.Series(made, dtype=object)


def _numbers(chunk: pa.Array) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return all the numbers of a chunk, to keep and to write to."""
    buffer = chunk.buffers()[2]
    if buffer is None:
        return np.empty(0, np.float32)
    return np.frombuffer(buffer, "<f4").astype(np.float32)
