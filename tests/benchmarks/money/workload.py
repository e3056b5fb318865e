"""The workload: which rows are asked, what goes wrong for whom, and what a client should have paid for all of it.

Imports nothing of any client, since it runs in each one's own environment.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

DISTINCT = 400
ROWS = 600
IN_FLIGHT = 16
KILLED_AT = 200  # distinct prompts seen by the server
TIMEOUT_SECONDS = 3
LATE_SECONDS = 8

#: By the simulator's rule four bytes are a token and a message is four more: 46 tokens, and 54 for the question. The
#: model gives the question back, which is an answer of 50 tokens.
SYSTEM = "Repeat what the customer says, word by word, and nothing else.".ljust(168, ".")
_QUESTION_BYTES = 200

#: Fault to its share of the prompts, as the simulator names it; the first attempt alone where a star says so.
SHARES: Mapping[str, float] = {
    "rate429*1": 0.06,
    "500*1": 0.03,
    "html*1": 0.01,
    "drop_before*1": 0.01,
    "drop_before_billed*1": 0.02,
    "stall*1": 0.02,
    "trunc_json*1": 0.01,
    "length": 0.02,
    "filter": 0.01,
    "ctx": 0.01,
}
#: Paid for, and no fault of the client's that nothing came of it: it has to ask again.
LOST = ("drop_before_billed*1", "stall*1", "trunc_json*1")
#: Refused each time, so nobody can pay for it.
REFUSED = "ctx"


def questions() -> list[str]:
    """Return the distinct questions."""
    words = "it works well and looks good, though the box was open. " * 4
    return [f"Customer {number:04d} says: {words}"[: _QUESTION_BYTES - 1] + "." for number in range(DISTINCT)]


def rows() -> list[str]:
    """Return the question of each row, repeated ones shuffled in."""
    chance = random.Random(1)
    distinct = questions()
    asked = distinct + chance.sample(distinct, ROWS - DISTINCT)
    chance.shuffle(asked)
    return asked


def faults() -> dict[str, str]:
    """Return question to fault: in the order of their hashes, each fault has its share of them."""
    waiting = iter(sorted(questions(), key=lambda question: hashlib.sha256(question.encode()).digest()))
    return {next(waiting): fault for fault, share in SHARES.items() for _ in range(round(share * DISTINCT))}


def necessary() -> int:
    """Return the calls that have to be paid: one for each question that can be answered at all."""
    return DISTINCT - Counter(faults().values())[REFUSED]


def lost() -> int:
    """Return the answers that the server loses, which have to be paid again."""
    counts = Counter(faults().values())
    return sum(counts[fault] for fault in LOST)


def checked(answers: Sequence[Any]) -> dict[str, int]:
    """Return how many rows have an answer, and how many of those have another row's; cut text is an answer, too."""
    pairs = list(zip(rows(), answers, strict=True))
    answered = [(question, text) for question, text in pairs if isinstance(text, str) and text.strip()]
    return {"answered": len(answered), "wrong": sum(not question.startswith(text) for question, text in answered)}
