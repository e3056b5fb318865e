"""The plan of a run: what is known, what is missing, what will be sent. Counted before anything is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dfllm._core.controls import visible
from dfllm._core.prefix import LEAST_TOKENS, NOTHING, Shared
from dfllm._core.types import Messages


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A run that has not happened yet.

    Attributes:
        model: provider and model.
        rows: rows of the frame.
        distinct: different questions among them.
        known: questions whose answers are in the store.
        missing: questions that would be sent, once each.
        skipped: rows with a missing value, which are not sent.
        failed: rows that cannot be sent, such as those the template fails on.
        previews: the first rendered conversations.
        problems: the first rows that cannot be sent, by position, with their error text.
        shared: what all prompts begin with and what else they share, in tokens as they are guessed.
        run: carries the plan out and returns the frame, as the call itself would.
    """

    model: str
    rows: int
    distinct: int
    known: int
    missing: int
    skipped: int
    failed: int
    previews: Sequence[Messages] = ()
    problems: Sequence[tuple[int, str]] = ()
    shared: Shared = NOTHING
    run: Callable[[], Any] = field(default=lambda: None, compare=False)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [
            f"Plan for {self.model}: {self.rows:,} rows, {self.distinct:,} distinct questions",
            f"  known    {self.known:,}  answered from the store, free",
            f"  missing  {self.missing:,}  to be sent, once each",
        ]
        if self.skipped:
            lines.append(f"  skipped  {self.skipped:,}  rows with a missing value")
        if self.failed:
            lines.append(f"  failed   {self.failed:,}  rows that cannot be sent")
        lines += [f"    row {position}: {error}" for position, error in self.problems]
        if self.shared.fixed_tokens > LEAST_TOKENS:
            lines.append(f"  prefix   about {self.shared.prefix_tokens:,} tokens that every prompt begins with")
            if behind := self.shared.fixed_tokens - self.shared.prefix_tokens:
                lines.append(
                    f"           about {behind:,} more of them stand behind a value of the row, so none is cached"
                )
        for number, messages in enumerate(self.previews, 1):
            lines.append(f"  prompt {number}:")
            lines += [f"    [{message.role}] {_cut(message.content)}" for message in messages]
        return visible("\n".join(lines))


def _cut(text: str, most: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
