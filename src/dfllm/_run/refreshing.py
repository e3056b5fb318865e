"""`cache="refresh"`: from when on answers count for a call, and whether it has come to its end."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dfllm._core.keys import keyer
from dfllm._core.retry import PASSING
from dfllm._core.types import Message, Recipe
from dfllm._run.desk import Order
from dfllm._run.store import Store
from dfllm._run.store_off import Off
from dfllm._run.store_refresh import Refresh, Refreshed


def refresh_of(order: Order, recipe: Recipe, attached: Mapping[str, Sequence[object]]) -> Refresh:
    """Return what a call is known by as a refresh: the key that its templates would have as a question.

    Args:
        order: what is asked.
        recipe: the templates.
        attached: the columns that rows bring something in, by option.
    """
    columns = [
        Message(option, json.dumps([str(label) for label in labels]))
        for option, labels in attached.items()
        if labels or option == "images"
    ]
    return Refresh(keyer(order.terms)((*recipe.messages, *columns)), time.time())


def resumed(order: Order, refresh: Refresh, store: Store | Off, *, sends: bool) -> Order:
    """Return the order with the time from which answers count; where it sends, that is on disk before."""
    if order.cache != "refresh" or isinstance(store, Off):
        return order
    began = store.refresh(refresh).result() if sends else store.refreshing(refresh)
    return replace(order, since=math.inf if began is None else began)


def concluded(order: Order, refresh: Refresh, store: Store | Off, errors: Counter[str]) -> None:
    """Note that a call came to its own end, and with which errors."""
    if order.cache == "refresh" and isinstance(store, Store):
        store.conclude(Refreshed(*refresh, whole=PASSING.isdisjoint(errors)))
