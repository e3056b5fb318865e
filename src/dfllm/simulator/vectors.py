"""Vectors out of thin air: the same text, the same vector of length 1, and nothing in it of what the text means."""

import base64
import hashlib
import math
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from .asks import Ask, tokens_of

#: The models, and how many numbers their vectors have; fewer may be asked for.
MODELS: Mapping[str, int] = {"embed-small": 256, "embed-large": 1_536}
#: A text may have so many tokens, and a request so many texts and tokens, as OpenAI's.
MOST_TOKENS, MOST_TEXTS, MOST_IN_ALL = 8_192, 2_048, 300_000


@dataclass(frozen=True, slots=True)
class Texts:
    """What was asked: texts, and how their vectors are wanted.

    Attributes:
        model: who is asked.
        texts: each is to have its vector.
        dimensions: how many numbers a vector has.
        base64: whether vectors go out in base64.
        task: what the vectors are for; they depend on it.
    """

    model: str
    texts: tuple[str, ...]
    dimensions: int
    base64: bool = False
    task: str = ""

    def hashes(self) -> list[str]:
        """Return for each text the hash under which it is billed, in whatever request it comes."""
        head = f"{self.model}\n{self.dimensions}\n{self.task}\n"
        return [hashlib.sha256((head + text).encode("utf-8", "surrogatepass")).hexdigest() for text in self.texts]

    def ask(self) -> Ask:
        """Return the request as one question, as far as faults and limits look at it."""
        whole = hashlib.sha256("\n".join(self.hashes()).encode()).hexdigest()
        return Ask(whole, self.model, "\n".join(self.texts), sum(map(tokens_of, self.texts)))


def vector_of(asked: Texts, text: str, seed: int = 0) -> "array[float]":
    """Return the vector of a text; another seed, model, number of dimensions or task is another vector."""
    head = f"{seed}\n{asked.model}\n{asked.dimensions}\n{asked.task}\n"
    drawn = hashlib.shake_256((head + text).encode("utf-8", "surrogatepass")).digest(4 * asked.dimensions)
    numbers = array("i", drawn)
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return array("f", [number / length for number in numbers])


def written(vector: "array[float]", *, in_base64: bool) -> str | list[float]:
    """Return a vector as it goes out: in base64 the low byte comes first."""
    if not in_base64:
        return vector.tolist()
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
