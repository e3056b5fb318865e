"""Planning: a call's rows counted, its questions measured and priced. Nothing is sent and nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from dfllm._core.estimate import NO_TOKENS, Estimate, Range, Tariff, guessed, schema_tokens
from dfllm._core.plan import Plan
from dfllm._core.prefix import Shared
from dfllm._core.schema import Schema
from dfllm._core.types import Failure, Key, Messages, Response
from dfllm._run.desk import Desk, Order, Window
from dfllm._run.prices import source_of
from dfllm._run.runtime import charges_of
from dfllm._run.settings import Settings
from dfllm._run.store_stats import pending_of

_PREVIEWS = 3
#: So many known answers tell enough of what the others will take.
_LEARN = 50
#: And they are looked for in so many windows, each rendered once more for it.
_LOOKS = 3
#: What is said of an answer that is to be mended.
_MENDING_BYTES = 1_000


def plan_of(
    desk: Desk,
    order: Order,
    settings: Settings,
    *,
    model: str,
    schema: Schema | None,
    shared: Shared,
    price_as: str | None,
) -> Plan:
    """Return what a run would do.

    Args:
        desk: renders and looks up.
        order: what is asked.
        settings: how answers are got.
        model: provider and model, as the user writes it.
        schema: what answers must hold; None for text.
        shared: what all prompts share.
        price_as: the provider's name in the price data; None where there is no price.
    """
    estimate = _estimate(order, schema)
    known: set[Key] = set()
    missing: set[Key] = set()
    skipped = failed = 0
    looks = _LOOKS
    previews: list[Messages] = []
    problems: list[tuple[int, str]] = []
    each = order.each
    for start, stop in desk.windows():
        asked = desk.rendered(start, stop)[1] if not start or len(previews) < _PREVIEWS else []
        unlike = (one for one in asked[::each] if not isinstance(one, Failure))
        previews += islice(unlike, _PREVIEWS - len(previews))
        window = desk.prepare(start, stop)
        if looks and not estimate.learnt and any(one is not None and one.source == "store" for one in window.settled):
            looks -= 1
            _learn(estimate, asked or desk.rendered(start, stop)[1], window)
        for question in window.missing:
            if question.key not in missing:
                missing.add(question.key)
                estimate.ask(question.messages, desk.bound(question.messages))
        for place, one in enumerate(window.settled):
            if one is None:
                continue
            if one.key is not None:
                known.add(one.key)
            elif place % each:
                continue  # a row that cannot be sent is one row, however many samples it would have
            elif isinstance(one.outcome, Failure) and one.outcome.type == "Skipped":
                skipped += 1
            else:
                failed += 1
                problems += [((start + place) // each, str(one.outcome))] if len(problems) < _PREVIEWS else []
    name = order.terms.provider.partition(" ")[0]
    return Plan(
        model,
        rows=order.rows // each,
        distinct=len(known) + len(missing),
        known=len(known),
        missing=len(missing),
        skipped=skipped,
        failed=failed,
        previews=tuple(previews),
        problems=tuple(problems),
        pending=pending_of(settings.store_path.absolute(), sorted(missing)) if missing and order.cache != "off" else 0,
        shared=shared,
        tokens_in=estimate.tokens_in(),
        tokens_out=estimate.tokens_out(),
        cost=_cost(estimate, order, settings, price_as) if missing else NO_TOKENS,
        batch_cost=_cost(estimate, order, settings, price_as, batch=True) if missing else None,
        price=source_of(price_as, order.terms.model, settings.prices.get(f"{name}/{order.terms.model}"))
        if missing
        else "",
        learnt=estimate.learnt,
    )


def _estimate(order: Order, schema: Schema | None) -> Estimate:
    tools = guessed(order.terms.tools or "")
    if schema is None:
        return Estimate(fixed=tools, max_tokens=order.terms.max_tokens)
    out = schema_tokens(schema.labels, len(schema.fields))
    return Estimate(fixed=guessed(schema.sent) + tools, schema_out=out, max_tokens=order.terms.max_tokens)


def _learn(estimate: Estimate, asked: Sequence[Messages | Failure], window: Window) -> None:
    """Learn from the known answers of a window whose prompts are at hand."""
    pairs = (
        (messages, one.outcome.response if isinstance(one.outcome, Failure) else one.outcome)
        for messages, one in zip(asked, window.settled, strict=False)
        if one is not None and one.source == "store" and not isinstance(messages, Failure)
    )
    for messages, response in islice(pairs, _LEARN):
        if response is not None:
            estimate.learn(messages, response)


def _cost(
    estimate: Estimate, order: Order, settings: Settings, price_as: str | None, *, batch: bool = False
) -> Range | None:
    """Return what the questions cost; None where the price is unknown."""
    price, most = charges_of(order, settings, price_as, batch=batch)
    if price(Response("", tokens_in=1, tokens_out=1)) is None:
        return None
    # Live, an answer that is lost is asked for once more, and one that does not fit its schema is mended once: nobody
    # pays more often for a row. A request for a better answer has the first one in it, and a word on what is wrong.
    lost = 0 if batch else settings.resend_ambiguous
    mended = 0 if batch or order.schema is None else settings.repair_attempts
    longer = (order.terms.max_tokens or 0) + _MENDING_BYTES

    def priced(tokens_in: int, tokens_out: int) -> int:
        return price(Response("", tokens_in=tokens_in, tokens_out=tokens_out)) or 0

    def most_of_row(size: int) -> int:
        again = mended * (most(size + longer) or 0) if mended else 0
        return (1 + lost) * ((most(size) or 0) + again)

    return estimate.cost(Tariff(priced, most_of_row if most(1) is not None else None))
