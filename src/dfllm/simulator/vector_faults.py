"""Vectors gone wrong: what each fault does to an answer that is otherwise good. All are billed."""

import math
from array import array
from collections.abc import Mapping

#: Index and vector, in the order they are sent.
Said = list[tuple[int, "array[float]"]]

VECTOR_FAULTS: Mapping[str, str] = {
    "vec_few": "one vector is left out",
    "vec_twice": "two vectors have the same index",
    "vec_short": "one vector has a number less",
    "vec_nan": "one vector has a NaN in it",
    "vec_mixed": "the vectors come in another order, each with its index",
}


def gone_wrong(name: str, said: Said, place: int) -> Said:
    """Return what is sent in place of good vectors.

    Args:
        name: the fault.
        said: the good vectors, in the order of the texts.
        place: of the text that suffers.
    """
    index, vector = said[place]
    before, after = said[:place], said[place + 1 :]
    if name == "vec_few":
        return before + after
    if name == "vec_twice":
        return [*before, ((index + 1) % max(2, len(said)), vector), *after]
    if name == "vec_short":
        return [*before, (index, vector[:-1]), *after]
    if name == "vec_nan":
        return [*before, (index, array("f", [math.nan, *vector[1:]])), *after]
    return said[::-1]
