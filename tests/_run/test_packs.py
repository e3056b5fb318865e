"""Packs: texts in and texts out, whatever becomes of the requests they travel in.

The provider is a function that answers as the test needs it; over real sockets tests/test_embed.py does the same.
"""

import asyncio
import json
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import virtual

from dfllm._core.types import Failure, Message, Terms
from dfllm._core.vectors import Vector, unpacked
from dfllm._run.asks import Ask
from dfllm._run.gate import Gate
from dfllm._run.http import Answer
from dfllm._run.pace import Pace
from dfllm._run.packs import Packs
from dfllm._wire.embeddings import dialect_of, packing_of
from dfllm._wire.providers import Embeds

TERMS = Terms("p", "openai-embeddings", "m")
EMBEDS = Embeds("openai-embeddings")
DIALECT = dialect_of(EMBEDS)
ENCODE = DIALECT.encoder(TERMS)
REFUSED = {"error": {"message": "no", "type": "invalid_request_error"}}


def key_of(text):
    """Return a text's key."""
    return text.encode().ljust(20, b"\0")[:20]


def asks(texts):
    """Return the texts' questions."""
    made = [(Message("user", text),) for text in texts]
    return [Ask(key_of(text), ENCODE(said), said) for text, said in zip(texts, made, strict=True)]


def number_of(text):
    """Return what the provider's vector for a text holds."""
    return float(len(text)), float(sum(text.encode()))


class Provider:
    """Answers with two numbers for each text, or as it is told.

    Args:
        refuses: from a request's texts to whether it is refused.
        changes: from the body of a good answer to what is sent.
    """

    def __init__(self, refuses=lambda texts: False, changes=lambda body: body):
        self.refuses = refuses
        self.changes = changes
        self.asked = []

    async def __call__(self, content):
        """Answer one request."""
        texts = json.loads(content)["input"]
        self.asked.append(texts)
        await asyncio.sleep(1.0)
        if self.refuses(texts):
            return Answer(400, {}, json.dumps(REFUSED).encode())
        data = [{"index": index, "embedding": number_of(text)} for index, text in enumerate(texts)]
        tokens = sum(len(text) for text in texts)
        body = {"data": data, "model": "m", "usage": {"prompt_tokens": tokens}}
        return Answer(200, {}, json.dumps(self.changes(body)).encode())


class Bench:
    """Packs with everything around them in sight."""

    def __init__(self, post, *, texts=8, size=10_000, **options):
        self.landed, self.missed, self.reserved = [], [], []
        pace = Pace(asyncio.get_running_loop().time)
        packing = packing_of(EMBEDS, TERMS)._replace(texts=texts, size=size)
        self.packs = Packs(
            packing=packing,
            post=post,
            read=DIALECT.read,
            save=self._save,
            tell=lambda group, error: None,
            missed=self.missed.append,
            pace=pace,
            seat=pace.join(concurrency=options.pop("concurrency", 4)),
            gate=Gate(),
            resend_ambiguous=1,
            patience=100.0,
            max_tokens=0,
            uniform=lambda: 0.0,
            **options,
        )

    def _save(self, group):
        self.landed.extend(group)
        return asyncio.get_running_loop().create_future() if group is None else _done()

    @property
    def kinds(self):
        """Return how texts ended, by their key."""
        assert len({one.key for one in self.landed}) == len(self.landed), "a text landed twice"
        return {
            one.key.rstrip(b"\0").decode(): one.outcome.type if isinstance(one.outcome, Failure) else "vector"
            for one in self.landed
        }


def _done():
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def run(texts, provider, **options):
    """Send texts to a provider, in virtual time; return the bench."""

    async def main():
        bench = Bench(provider, **options)
        bench.packs.add(asks(texts))
        await bench.packs.finish()
        return bench

    return virtual.run(main())


def names(count):
    """Return different texts."""
    return [f"text {number}" for number in range(count)]


@given(st.integers(1, 60), st.integers(1, 9), st.sets(st.integers(0, 59)), st.booleans())
@settings(max_examples=60)
def test_every_text_lands_once_and_in_its_place(count, most, bad, turned):
    """Whatever is refused, and in whatever order the vectors come; the shares come to what was counted."""
    texts = names(count)
    refused = {texts[number] for number in bad if number < count}
    change = (lambda body: {**body, "data": body["data"][::-1]}) if turned else (lambda body: body)
    provider = Provider(lambda asked: bool(refused & set(asked)), change)

    async def main():
        bench = Bench(provider, texts=most)
        bench.packs.proven = True
        bench.packs.add(asks(texts))
        await bench.packs.finish()
        return bench

    bench = virtual.run(main())

    assert {text: "BadRequest" if text in refused else "vector" for text in texts} == bench.kinds
    for one in bench.landed:
        if isinstance(one.outcome, Vector):
            text = one.key.rstrip(b"\0").decode()
            assert struct.pack("<2f", *number_of(text)) == one.outcome.vector
            assert one.outcome == unpacked(one.body)
    taken = [one.outcome.tokens_in for one in bench.landed if isinstance(one.outcome, Vector)]
    assert sum(len(text) for text in texts if text not in refused) == sum(taken)


def test_packs_are_full():
    """As many texts as fit, and the last has the rest."""
    provider = Provider()
    run(names(20), provider)

    assert [4, 8, 8] == sorted(map(len, provider.asked))


def test_packs_are_bounded_by_bytes():
    """And a text that is larger than a pack goes alone."""
    provider = Provider()
    run(["a" * 40, "b" * 40, "c" * 500, "d" * 40, "e" * 40, "f" * 40], provider, size=100)

    assert [["a", "b"], ["c"], ["d", "e"], ["f"]] == sorted([text[0] for text in asked] for asked in provider.asked)


def test_the_last_pack_does_not_wait_for_ever():
    """Where nobody says that there are no more texts, they go after a moment."""

    async def main():
        provider = Provider()
        bench = Bench(provider)
        bench.packs.add(asks(names(3)))
        started = asyncio.get_running_loop().time()
        while len(bench.landed) < 3:
            await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - started

    assert virtual.run(main()) < 1.5


def test_a_run_learns_that_packs_are_too_large():
    """Where both halves of a refused pack are taken, it was their number; all that follow have no more than that."""
    provider = Provider(lambda texts: len(texts) > 3)

    async def main():
        bench = Bench(provider, texts=12, concurrency=1)
        for start in range(0, 240, 24):
            bench.packs.add(asks(names(240)[start : start + 24]))
            while bench.packs._open:
                await asyncio.sleep(0.1)
        await bench.packs.finish()
        return bench

    bench = virtual.run(main())

    assert {"vector"} == set(bench.kinds.values())
    assert 240 == len(bench.landed)
    assert [3] * 20 == [len(texts) for texts in provider.asked[-20:]]


def test_two_texts_refused_alone_end_the_run():
    """Nothing was ever taken, so it is not the texts; the rest is not sent."""
    provider = Provider(lambda texts: True)
    bench = run(names(80), provider, concurrency=1)

    assert "BadRequest" == bench.packs.stopped.type
    assert {"BadRequest", "NotSent"} == set(bench.kinds.values())
    assert (80, True) == (len(bench.landed), len(provider.asked) <= 6)


def test_one_text_refused_alone_ends_nothing():
    """Though it is the first of all."""
    provider = Provider(lambda texts: "text 0" in texts)
    bench = run(names(80), provider, concurrency=1)

    assert bench.packs.stopped is None
    assert ["text 0"] == [text for text, kind in bench.kinds.items() if kind == "BadRequest"]


def test_a_stop_leaves_no_text_behind():
    """Not even those that waited for a pack to fill."""

    async def main():
        bench = Bench(Provider())
        bench.packs.add(asks(names(3)))
        bench.packs.stop(Failure("Cancelled", "x"))
        bench.packs.add(asks(["late"]))
        await bench.packs.finish()
        return bench

    bench = virtual.run(main())

    assert {"NotSent"} == set(bench.kinds.values())
    assert 4 == len(bench.landed)


def test_what_is_dropped_in_flight_may_have_been_billed():
    """Each text says so, and is noted; what came back for several is noted for none of them."""

    async def main():
        bench = Bench(Provider())
        bench.packs.add(asks(names(8)))
        await asyncio.sleep(0.5)
        bench.packs.stop(Failure("Cancelled", "x"))
        bench.packs.abandon()
        await bench.packs.finish()
        return bench

    bench = virtual.run(main())

    assert {"Cancelled"} == set(bench.kinds.values())
    assert [("maybe", None)] * 8 == [(one.failure.billing, one.body) for one in bench.missed]
    assert 1 == bench.packs.unsure


@pytest.mark.parametrize(("count", "kept"), [(2, False), (1, True)])
def test_a_bad_answer_is_noted_for_one_text_alone(count, kept):
    """It may quote its texts, and whoever takes one of them out of the store finds it under its own key only."""
    provider = Provider(changes=lambda body: {**body, "data": body["data"] * 2})
    bench = run(names(count), provider)

    assert [kept] * count == [one.body is not None for one in bench.missed]


def test_one_odd_vector_costs_its_text_alone():
    """It was paid for, is noted as such and not kept; its share is nobody else's."""

    def spoil(body):
        body["data"][1]["embedding"] = [math.inf, 0.0]
        return body

    bench = run(names(4), Provider(changes=spoil))

    assert ["vector", "BadResponse", "vector", "vector"] == [bench.kinds[text] for text in names(4)]
    assert [(key_of("text 1"), "paid")] == [(one.key, one.failure.billing) for one in bench.missed]
    assert [6, None, 6, 6] == [getattr(one.outcome, "tokens_in", None) for one in bench.landed]


def test_each_further_attempt_is_reserved_for_each_text():
    """After one that may have been billed; a refusal costs nothing, so its halves need no more."""
    reserved, lost = [], [True]

    async def afford(ask):
        reserved.append(ask.key)
        return True

    class Flaky(Provider):
        async def __call__(self, content):
            answer = await super().__call__(content)
            if lost and len(self.asked) == 1:
                lost.pop()
                return Failure("ConnectionLost", "x", "maybe")
            return answer

    provider = Flaky(lambda texts: "text 3" in texts)

    async def main():
        bench = Bench(provider, afford=afford)
        bench.packs.proven = True
        bench.packs.add(asks(names(8)))
        await bench.packs.finish()
        return bench

    bench = virtual.run(main())

    assert [key_of(text) for text in names(8)] == reserved
    assert 7 == list(bench.kinds.values()).count("vector")


def test_what_cannot_be_afforded_again_ends_as_it_was():
    """The attempt that may have been billed is all there is to say."""

    async def afford(ask):
        return False

    class Lost(Provider):
        async def __call__(self, content):
            await super().__call__(content)
            return Failure("ConnectionLost", "x", "maybe")

    bench = run(names(3), Lost(), afford=afford)

    assert {"ConnectionLost"} == set(bench.kinds.values())
