"""Chance without dice: numbers drawn from a hash, so that the same question has the same luck every time."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def number(*parts: object) -> int:
    """Return 64 bits that depend on every part and on nothing else."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def below(sides: int, *parts: object) -> int:
    """Return a number from 0 up to, but not including, ``sides``."""
    return number(*parts) % sides


def share(*parts: object) -> float:
    """Return a number from 0 up to, but not including, 1."""
    return (number(*parts) >> 11) / 2**53  # 53 bits: more would round up to 1.0


def pick(options: Sequence[T], *parts: object) -> T:
    """Return one of the options, each as likely as the others."""
    return options[below(len(options), *parts)]
