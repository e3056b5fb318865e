"""What a process has one of: sockets, open stores, and a gate and a pace for each provider, model and key."""

from __future__ import annotations

import atexit
import json
import os
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dfllm._core.errors import OptionError, StoreError, StoreWarning, near
from dfllm._core.tempo import Tempo
from dfllm._core.types import Failure, Outcome, Response
from dfllm._core.warned import warn
from dfllm._run import log, loop
from dfllm._run.bounds import most_of
from dfllm._run.desk import Order, Sink
from dfllm._run.engine import Engine
from dfllm._run.gate import Gate
from dfllm._run.lease import Shared
from dfllm._run.live import Live
from dfllm._run.observe import Observer
from dfllm._run.pace import Pace
from dfllm._run.packs import Packs
from dfllm._run.prices import Price, pricer, surcharge_of
from dfllm._run.secret import echoes
from dfllm._run.settings import Endpoint, Settings
from dfllm._run.signing import Signer, signing
from dfllm._run.store import Store
from dfllm._run.store_files import identity_of
from dfllm._run.store_off import NOWHERE, Off
from dfllm._run.tally import Tally
from dfllm._wire.providers import model_names
from dfllm._wire.tools import has_tools

if TYPE_CHECKING:
    from dfllm._run.http import Answer, Http, Route

# The sockets' libraries take longer to import than all of ours; only those who send something wait for them.
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "dfllm"}
#: Below this no process is short of file descriptors; and what a rate may come to keep in flight.
_MANY = 500
_MOST = 4_000
#: A server of one's own has thousands of texts before it with so many packs; more would only wait there.
_PACKS = 8
#: A request for a better answer has the answer and what is wrong with it behind the rest.
_MENDING_TURNS = 2
#: Providers explain tools to the model in words that no request shows, some hundreds of tokens.
_TOOLS_TURNS = 64


class Lane(NamedTuple):
    """What all runs to one provider, model and key share."""

    gate: Gate
    pace: Pace


def _sharing(endpoint: Endpoint, provider: str, model: str) -> Callable[[Tempo], Shared | None]:
    """Return what keeps a tempo together with the host's other processes; alone where there is no place for it."""

    def share(tempo: Tempo) -> Shared | None:
        from dfllm._run.pace_file import folder, pace_file

        place = folder()
        if place is None:
            return None
        return pace_file(place, (provider, endpoint.base_url, model), endpoint.secret, tempo)

    return share


class Opened(NamedTuple):
    """A store in use, and the file it found when it was opened."""

    store: Store
    file: tuple[int, int] | None


class Runtime:
    """The things of this process; a forked child has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stores: dict[tuple[Path, str], Opened] = {}
        self._http: Http | None = None
        self._lanes: dict[tuple[Endpoint, str, str], Lane] = {}

    def store(self, settings: Settings) -> Store:
        """Return the open store of these settings.

        Raises:
            StoreError: it cannot be opened.
        """
        place = (settings.store_path.absolute(), settings.durability)
        with self._lock:
            found = self._stores.get(place)
            # Another file at its place is what `dfllm store repair`, run elsewhere, leaves behind.
            ended: frozenset[str] = frozenset()
            if found is not None and (found.store.failed is not None or found.file != identity_of(place[0])):
                ended = found.store.ended
                found.store.close()
                found = None
            if found is None:
                store = Store(place[0], durability=settings.durability)
                for run in ended:
                    store.end(run)
                found = self._stores[place] = Opened(store, identity_of(place[0]))
            return found.store

    def off(self, settings: Settings) -> Off:
        """Return the store of a call that keeps nothing; without a budget it does without a ledger where need be.

        Raises:
            StoreError: the store cannot be opened, and a budget could not be kept without it.
        """
        try:
            return Off(self.store(settings))
        except StoreError as error:
            if settings.budget is not None:
                raise
            warn(f"What this call costs is noted nowhere. {error}", StoreWarning)
            return Off(None)

    def http(self) -> Http:
        """Return the sockets of the private loop; to be called there."""
        if self._http is None:
            from dfllm._run.http import Http

            self._http = Http()
        return self._http

    def lane(self, endpoint: Endpoint, provider: str, model: str) -> Lane:
        """Return the gate and pace of one provider, model and key; to be called on the private loop."""
        what = endpoint, provider, model
        if what not in self._lanes:
            share = _sharing(endpoint, provider, model)
            pace = Pace(rule=endpoint.charges, requests_per=endpoint.requests_per, share=share)
            self._lanes[what] = Lane(Gate(), pace)
        return self._lanes[what]

    def close(self) -> None:
        """Close the sockets; commit and close the stores."""
        if self._http is not None:
            with suppress(Exception):  # at exit the loop may be gone already
                loop.submit(self._http.close()).result(timeout=1.0)
            self._http = None
        with self._lock:
            for opened in self._stores.values():
                opened.store.close()
            self._stores.clear()


_lock = threading.Lock()
_runtime: Runtime | None = None


def runtime() -> Runtime:
    """Return this process's Runtime."""
    global _runtime  # the one thing a process has one of
    with _lock:
        if _runtime is None:
            _runtime = Runtime()
            atexit.register(_runtime.close)
        return _runtime


def _forget() -> None:
    global _lock, _runtime  # sockets and threads of the parent are not the child's, nor is a lock's owner
    if _runtime is not None:
        atexit.unregister(_runtime.close)
    _runtime = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def engine_for(
    order: Order,
    endpoint: Endpoint,
    settings: Settings,
    *,
    sink: Sink,
    tally: Tally,
    changed: Callable[[], None],
    price_as: str | None,
    store: Store | Off | None = None,
    shared: str | None = None,
) -> Engine:
    """Return the engine that runs this order.

    Args:
        order: what is asked.
        endpoint: where the provider is.
        settings: how answers are got.
        sink: where outcomes go.
        tally: what is counted.
        changed: called when the tally has changed.
        price_as: the provider's name in the price data; None where there is no price.
        store: where answers are and go; None is the store of the settings.
        shared: the id of the run that it shares with other engines, whose record is kept elsewhere; None where it has
            one of its own.

    Raises:
        OptionError: the base URL may not be used, or a budget could not be kept. Nothing was sent.
        StoreError: the store cannot be opened. Nothing was sent.
    """
    from dfllm._run.http import allow_descriptors

    limits = settings.limits
    many = limits.concurrency or (_MANY if endpoint.charges == "none" else _MOST)
    if many > _MANY:
        allow_descriptors(many + _MANY)
    target = _route(order, endpoint, order.dialect.path_for(order.terms))
    process = runtime()
    run = shared or run_id()
    place = NOWHERE if isinstance(store, Off) else settings.store_path
    observer = Observer(run, order.terms, base_url=endpoint.base_url, store=place, secret=endpoint.secret)

    def live(**doors: object) -> Live:
        signer = endpoint.signer
        clean = echoes(endpoint.secret) if signer is None else signer.clean
        post = _poster(process.http(), target, settings.timeout, clean, signer)
        lane = process.lane(endpoint, order.terms.provider, order.terms.model)
        kind = Live if order.packing is None else partial(Packs, packing=order.packing)
        return kind(
            post=post,
            read=_reader(order),
            pace=lane.pace,
            gate=lane.gate,
            seat=lane.pace.join(
                concurrency=limits.concurrency or most_packs(order, endpoint),
                rpm=limits.rpm,
                tpm=limits.tpm,
                share=limits.share,
            ),
            resend_ambiguous=settings.resend_ambiguous,
            patience=settings.patience,
            max_tokens=most_out(order),
            seen=observer.attempt,
            **doors,  # type: ignore[arg-type]  # the engine's own two, named as Live names them
        )

    price, most = charges_of(order, settings, price_as)
    if settings.budget is not None and order.cache != "only" and most(1) is None:
        raise _no_bound(order, price)
    if settings.budget is not None:
        _check_extra(order)
    return Engine(
        order,
        store=process.store(settings) if store is None else store,
        sink=sink,
        tally=tally,
        changed=changed,
        live=live,
        price=price,
        most=most,
        budget=settings.budget,
        repair_attempts=settings.repair_attempts,
        run=run,
        observer=observer,
        alone=shared is None,
    )


def run_id() -> str:
    """Return an id for a run."""
    return f"r_{uuid.uuid4().hex[:12]}"


def _route(order: Order, endpoint: Endpoint, path: str) -> Route:
    from dfllm._run.http import route

    return route(endpoint.base_url + path, {**_HEADERS, **order.dialect.headers(order.terms)}, endpoint.secret)


#: What `extra` may set under a budget: fields that change what is said, and not what it costs.
_PRICELESS = frozenset(
    {
        *("frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "top_k", "min_p", "top_a"),
        *("user", "metadata", "store", "safety_identifier", "verbosity", "logprobs", "top_logprobs", "safetySettings"),
        *("chat_template_kwargs", "guided_json", "guided_regex", "guided_choice", "truncation", "include"),
        "structured_outputs",
    }
)


def _check_extra(order: Order) -> None:
    """Refuse what may change the price, since a budget is kept by the price we know."""
    extra = json.loads(order.terms.extra) if order.terms.extra else {}
    if odd := sorted(set(extra) - _PRICELESS):
        raise OptionError(
            f"There is a budget, and extra sets {odd[0]!r}, which may change what a request costs, so it could not be "
            f"kept. Nothing was sent. Leave that or the budget out."
        )


def charges_of(
    order: Order, settings: Settings, price_as: str | None, *, batch: bool = False
) -> tuple[Price, Callable[[int], int | None]]:
    """Return what a response costs, and the most that a request of so many bytes can, live or by batch.

    Args:
        order: what is asked.
        settings: how answers are got.
        price_as: the provider's name in the price data; None where there is no price.
        batch: whether it is the batch price.
    """
    model = order.terms.model
    given = settings.prices.get(f"{order.terms.provider.partition(' ')[0]}/{model}")
    price = pricer(price_as, model, given, batch=batch, tier=order.terms.service_tier)
    # Turns that a row brings have, as JSON, more bytes about them than their tokens are.
    turns = order.prompt.turns + (_MENDING_TURNS if order.packing is None else 0)
    turns += _TOOLS_TURNS if has_tools(order.terms) else 0
    surcharge = surcharge_of(price_as, model, given)
    tokens_out, bounded = most_out(order), order.bounded
    return price, most_of(price, messages=turns, tokens_out=tokens_out, surcharge=surcharge, bounded=bounded)


def most_out(order: Order) -> int | None:
    """Return the most output tokens an answer may have; None where nobody knows. Vectors have none."""
    return order.terms.max_tokens if order.packing is None else 0


def most_packs(order: Order, endpoint: Endpoint) -> int | None:
    """Return how many packs may be in flight where the user names no number; None where the limits say it."""
    return _PACKS if order.packing is not None and endpoint.charges == "none" else None


def _no_bound(order: Order, price: Callable[[Response], int | None]) -> OptionError:
    model = f"{order.terms.provider.partition(' ')[0]}/{order.terms.model}"
    if price(Response("", tokens_in=1, tokens_out=1)) is None:
        return OptionError(
            f"There is a budget, and the price of {model} is unknown, so it could not be kept. Nothing was sent. "
            f"Tell the price with dfllm.configure(prices=...), or go without a budget."
        )
    return OptionError(
        f"There is a budget, and nothing bounds the output of {model}, so it could not be kept. Nothing was sent. "
        f"Say max_tokens=."
    )


def _poster(
    http: Http, target: Route, timeout: float, clean: Callable[[bytes], bytes], signer: Signer | None = None
) -> Callable[[bytes], Awaitable[Answer | Failure]]:
    import httpx

    from dfllm._run.http_errors import failure_of

    async def send(target: Route, body: bytes) -> Answer | Failure:
        try:
            answer = await http.post(target, body, timeout)
        except httpx.HTTPError as error:
            return failure_of(error)
        # Before anyone keeps it, or reads an error's text in it.
        return answer if (found := clean(answer.body)) is answer.body else answer._replace(body=found)

    return partial(send, target) if signer is None else signing(signer, target, send)


def _reader(order: Order) -> Callable[[int, Mapping[str, str], bytes], Outcome]:
    """Return the dialect's reading of an answer, whose failures quote no key."""

    def read(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
        outcome = order.dialect.read(status, headers, body)
        return log.without_secrets(outcome) if isinstance(outcome, Failure) else outcome

    return read


def near_model(endpoint: Endpoint, order: Order) -> str:
    """Return a hint that names the nearest model the provider lists, or nothing; never raises."""
    import httpx

    if not order.dialect.models_path:
        return ""

    async def listed() -> list[str]:
        target = _route(order, endpoint, order.dialect.models_path)
        async with runtime().http().client(target, timeout_seconds=5.0) as client:
            answer = await client.get(str(target.url))
        return model_names(answer.json())

    try:
        names = loop.submit(listed()).result(timeout=6.0)
    except (httpx.HTTPError, ValueError, LookupError, TypeError, TimeoutError):
        return ""
    if order.terms.model in names:
        return " The provider lists it, so this key may not be allowed to use it."
    return near(order.terms.model, names)
