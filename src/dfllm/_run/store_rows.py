"""What the store keeps, as values, and the checksum that tells a kept answer from a damaged one."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from operator import index
from typing import NamedTuple, TypeAlias
from zlib import crc32

import msgspec

#: The statements that cut a run of keys into keys know this number too.
KEY_BYTES = 20


class Entry(NamedTuple):
    """One paid answer.

    Attributes:
        key: 20 bytes.
        body: what the provider said, byte for byte.
        provider: the provider's identity.
        model: the model asked.
        created: when it came, in unix seconds.
        seconds: how long the provider took.
        cost: in 1e-9 USD; None where it is unknown.
    """

    key: bytes
    body: bytes
    provider: str
    model: str
    created: float
    seconds: float
    cost: int | None


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A paid answer as it is read back; see `Entry`. A struct, since there are as many as rows (see `types`)."""

    body: bytes
    seconds: float
    created: float
    cost: int | None


class Attempt(NamedTuple):
    """An attempt that gave no answer but was or may have been billed.

    Attributes:
        key: 20 bytes.
        run: the run that made it.
        at: when, in unix seconds.
        billing: free, paid or maybe.
        error: the type of failure and its reason.
        status: the HTTP status, where there was one.
        body: what came back, where anything did.
    """

    key: bytes
    run: str
    at: float
    billing: str
    error: str
    status: int | None
    body: bytes | None


class Claimed(NamedTuple):
    """What a run may send, each list in the order the keys were given.

    Attributes:
        mine: nobody else asks these until they are saved or released.
        answered: the answer is in the store.
        held: another live run is asking.
        dear: what these could cost does not fit under the cap now.
        left: what the cap leaves, in 1e-9 USD; 0 where there is none.
        reserved: what is reserved under the cap and not settled, here or elsewhere.
    """

    mine: list[bytes]
    answered: list[bytes]
    held: list[bytes]
    dear: Sequence[bytes] = ()
    left: int = 0
    reserved: int = 0


class Spend(NamedTuple):
    """What one attempt cost, in the order it is written.

    Attributes:
        run: the run that made it.
        key: 20 bytes; None where nobody is to know what was asked.
        at: when it ended, in unix seconds.
        billing: ``paid``; ``estimated`` where the provider did not say what it used, and ``maybe`` where nobody knows
            whether it was billed: then the cost is the most it can be.
        tokens_in: input tokens; None where unknown.
        tokens_out: output tokens; None where unknown.
        tokens_cached: input tokens read from the provider's cache; None where unknown.
        cost: in 1e-9 USD; None where the price is unknown.
    """

    run: str
    key: bytes | None
    at: float
    billing: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    cost: int | None


#: An entry as it is written: key, provider, model, created, seconds, cost, checksum, body.
Row: TypeAlias = tuple[bytes, str, str, float, float, int | None, int, bytes]
#: An attempt as it is written.
Note: TypeAlias = tuple[bytes, str, float, str, str, int | None, bytes | None]

pack = struct.Struct("<20sddq").pack


def checksum(key: bytes, created: float, seconds: float, cost: int | None, body: bytes) -> int:
    """Return the CRC-32 over what an answer is: its key, its body, and the numbers a row may show.

    Provider and model are left out. They only say where it came from, the key stands for both, and reading two texts
    more for each row would be a tenth of a re-run.

    Raises:
        TypeError: a field has a type that no entry has, as after damage.
        struct.error: likewise, or a number is out of range.
    """
    fixed = pack(key, created, seconds, -1 if cost is None else cost)
    return crc32(body, crc32(fixed))


def row_of(entry: Entry) -> Row:
    """Return the row to write; raises ValueError or TypeError where the entry could not be read back as it is."""
    key, body, provider, model, created, seconds, cost = entry
    if len(key) != KEY_BYTES:
        raise ValueError(f"A key has {KEY_BYTES} bytes, this one {len(key)}.")
    (provider + model).encode()  # a lone surrogate is a ValueError here, and would be the whole batch's later
    # SQLite keeps neither the sign of a zero nor a NaN.
    created, seconds = float(created) + 0.0, float(seconds) + 0.0
    if not (math.isfinite(created) and math.isfinite(seconds)):
        raise ValueError(f"Times are finite numbers; found {created} and {seconds}.")
    cost = None if cost is None else index(cost)
    if cost is not None and not 0 <= cost < 1 << 63:
        raise ValueError(f"A cost is between 0 and 2**63 - 1; found {cost}.")
    total = checksum(key, created, seconds, cost, body)
    return key, provider, model, created, seconds, cost, total, body


def note_of(attempt: Attempt) -> Note:
    """Return the row to write; text that is not Unicode is escaped."""
    key, run, at, billing, error, status, body = attempt
    return key, run, float(at), billing, _unicode(error), None if status is None else index(status), body


def spend_of(spend: Spend) -> Spend:
    """Return the spend as it was, looked at; raises TypeError or ValueError where it is none."""
    _, key, at, _, *counts = spend
    if (key is not None and len(key) != KEY_BYTES) or not math.isfinite(at):
        raise ValueError("no spend has such a key or time")
    for count in counts:
        if count is not None and index(count) < 0:
            raise ValueError(f"Amounts are 0 or more; found {count}.")
    return spend


def _unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
