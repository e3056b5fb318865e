"""The plan of a run: what is known, what is missing, what will be sent. Counted before anything is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dfllm._core.budget import dollars
from dfllm._core.controls import visible
from dfllm._core.estimate import NO_TOKENS, Range
from dfllm._core.parts import media_in
from dfllm._core.plan_page import page
from dfllm._core.prefix import LEAST_TOKENS, NOTHING, Shared
from dfllm._core.types import Message, Messages


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A run that has not happened yet.

    Attributes:
        model: provider and model.
        rows: rows of the frame.
        distinct: different questions among them.
        known: questions whose answers are in the store.
        missing: questions that would be sent, once each.
        pending: those of them that another run or process is asking now; a run would wait for their answers.
        skipped: rows with a missing value, which are not sent.
        failed: rows that cannot be sent, such as those the template fails on.
        previews: the first rendered conversations.
        problems: the first rows that cannot be sent, by position, with their error text.
        shared: what all prompts begin with and what else they share, in tokens as they are guessed.
        tokens_in: input tokens of what would be sent, as low, likely and high.
        tokens_out: output tokens likewise; high is None where nothing bounds them.
        cost: what that costs live, in 1e-9 USD; None where the price is unknown.
        batch_cost: what it would cost at the provider's batch price; None where that is unknown.
        price: where the price is from and of when, or that it is unknown and what to do.
        learnt: how many known answers the estimate was put right by; 0 is a guess.
        models: the plans of each of several models; the numbers of this one are their sums.
        fallback: models that would be asked for rows that fail; what they would cost is not in the estimate.
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
    pending: int = 0
    shared: Shared = NOTHING
    tokens_in: Range = NO_TOKENS
    tokens_out: Range = NO_TOKENS
    cost: Range | None = None
    batch_cost: Range | None = None
    price: str = ""
    learnt: int = 0
    models: Sequence[Plan] = ()
    fallback: Sequence[str] = ()
    run: Callable[[], Any] = field(default=lambda: None, compare=False)

    def __repr__(self) -> str:
        return str(self)

    def _money(self) -> list[tuple[str, str, str, str]]:
        """Return tokens and cost, each as a name, low, likely and high; nothing where nothing is to be paid."""
        if not self.price:
            return []
        unbounded = "" if self.tokens_in.high is not None else "nobody says what an image or a file is counted at most"
        rows = [
            _ranged("input", self.tokens_in, lambda count: f"{count:,} tokens", unbounded),
            _ranged("output", self.tokens_out, lambda count: f"{count:,} tokens"),
        ]
        rows += (
            [_ranged("cost", self.cost, dollars, unbounded)] if self.cost is not None else [("cost", "", "unknown", "")]
        )
        if self.batch_cost is not None:
            rows.append(_ranged("batch", self.batch_cost, dollars, unbounded))
        elif self.cost is not None:
            rows.append(("batch", "", "unknown", ""))  # silence would read as "the same"
        return rows

    def _notes(self) -> list[str]:
        notes = []
        if self.price and self.learnt:
            notes.append(f"tokens estimated from {self.learnt:,} known answers")
        elif self.price:
            notes.append("tokens guessed from the text; known answers would make it better")
        if self.fallback:
            notes.append(f"rows that fail would go to {', then '.join(self.fallback)}, which the estimate leaves out")
        return notes

    def _by_model(self) -> list[tuple[str, str, str, str]]:
        """Return each model with what is known, what is missing and what that costs."""
        rows = [("model", "known", "to send", "cost")] if self.models else []
        for one in self.models:
            cost = f"about {dollars(one.cost.likely)}" if one.cost is not None else "unknown"
            rows.append((one.model, f"{one.known:,}", f"{one.missing:,}", cost if one.price else "$0.00"))
        return rows

    def _repr_html_(self) -> str:
        green, blue, grey, red = "#43a047", "#1e88e5", "#8a8a8a", "#e53935"
        counts = [
            ("rows", self.rows, "inherit"),
            ("distinct", self.distinct, "inherit"),
            ("known", self.known, blue),
            ("to send", self.missing, green),
            ("pending", self.pending, grey),
            ("skipped", self.skipped, grey),
            ("cannot be sent", self.failed, red if self.failed else grey),
        ]
        cut = [[Message(message.role, _preview(message)) for message in messages] for messages in self.previews]
        return page(
            {
                "model": self.model,
                "counts": [(name, f"{count:,}", colour) for name, count, colour in counts],
                "money": self._money(),
                "price": self.price,
                "notes": self._notes(),
                "problems": self.problems,
                "failed": f"{self.failed:,}",
                "previews": cut,
                "models": self._by_model(),
            }
        )

    def __str__(self) -> str:
        lines = [
            f"Plan for {self.model}: {self.rows:,} rows, {self.distinct:,} distinct questions",
            f"  known    {self.known:,}  answered from the store, free",
            f"  missing  {self.missing:,}  to be sent, once each",
        ]
        if self.pending:
            lines.append(f"  pending  {self.pending:,}  of those are being asked by another run now")
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
        lines += [
            f"  {name:<8} {likely}  {', '.join(filter(None, (low, high)))}".rstrip()
            for name, low, likely, high in self._money()
        ]
        lines += [f"           {self.price}"] if self.price else []
        lines += [f"           {note}" for note in self._notes()]
        width = max((len(model) for model, *_ in self._by_model()), default=0)
        lines += [
            f"    {name:<{width}} {known:>10} {missing:>10}  {cost}" for name, known, missing, cost in self._by_model()
        ]
        for number, messages in enumerate(self.previews, 1):
            lines.append(f"  prompt {number}:")
            lines += [f"    [{message.role}] {_preview(message)}" for message in messages]
        return visible("\n".join(lines))


def _ranged(name: str, found: Range, written: Callable[[int], str], why: str = "") -> tuple[str, str, str, str]:
    low, likely, high = found
    return (
        name,
        f"at least {written(low)}",
        f"about {written(likely)}",
        f"at most {written(high)}" if high is not None else f"no upper bound: {why or 'say max_tokens='}",
    )


def _preview(message: Message) -> str:
    """Return what a turn says, and how much it shows."""
    shown = Counter(part.kind for part in media_in((message,)))
    seen = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in shown.items())
    return " ".join(filter(None, [seen and f"({seen})", _cut(message.content)]))


def _cut(text: str, most: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
