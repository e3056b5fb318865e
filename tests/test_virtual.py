"""Virtual time passes when nothing else is to be done, stands still for threads, and ends what would hang."""

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests import virtual

from dfllm._run.store import Store


def now():
    """Return virtual seconds since the start."""
    return asyncio.get_running_loop().time() - virtual.START_SECONDS


async def sleeper(seconds, times, name, heard):
    """Sleep again and again, and say when."""
    for _ in range(times):
        await asyncio.sleep(seconds)
        heard.append((round(now(), 6), name))


def test_an_hour_takes_no_time():
    """Ten sleepers of a second sleep for an hour, all of it on the loop's clock."""
    began = time.monotonic()

    async def main():
        async with asyncio.TaskGroup() as group:
            for name in range(10):
                group.create_task(sleeper(1.0, 3600, name, []))
        return now()

    assert 3600 == pytest.approx(virtual.run(main()))
    assert time.monotonic() - began < 10  # about half a second where nobody else is at work


def test_timers_come_in_their_order():
    """Whoever is due first comes first, and the trace is the same each time."""

    async def main():
        heard = []
        await asyncio.gather(*(sleeper(seconds, 4, seconds, heard) for seconds in (0.3, 0.2, 0.7, 0.1)))
        return heard

    first = virtual.run(main())

    assert sorted(time for time, _ in first) == [time for time, _ in first]
    assert first == virtual.run(main())


def test_timeouts_are_virtual():
    """A timeout of an hour is over at once, at its time."""

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 3600)
        return now()

    assert 3600 == pytest.approx(virtual.run(main()))


@pytest.mark.parametrize("start", [1.0, 1e9, 1e15])
def test_tiny_sleeps_end_on_a_large_clock(start, monkeypatch):
    """Where a float's step is longer than the sleep, it ends all the same, and longer ones take their time."""
    monkeypatch.setattr(virtual, "START_SECONDS", start)

    async def main():
        for _ in range(100):
            await asyncio.sleep(1e-8)
        await asyncio.sleep(10)
        return now()

    assert 10 == pytest.approx(virtual.run(main()), abs=1e-3)


def work(seconds, value):
    """Take some real time."""
    time.sleep(seconds)
    return value


@pytest.mark.parametrize("how", ["to_thread", "run_in_executor", "wrap_future"])
def test_time_stands_still_for_threads(how):
    """A thread's work takes no virtual time, however long a timer would have had."""

    async def main():
        heard = []
        timer = asyncio.create_task(sleeper(0.001, 1, "timer", heard))
        with ThreadPoolExecutor(1) as pool:
            match how:
                case "to_thread":
                    heard.append((now(), await asyncio.to_thread(work, 0.05, "thread")))
                case "run_in_executor":
                    heard.append((now(), await asyncio.get_running_loop().run_in_executor(pool, work, 0.05, "thread")))
                case _:
                    heard.append((now(), await asyncio.wrap_future(pool.submit(work, 0.05, "thread"))))
        await timer
        return heard

    assert [(0, "thread"), (0.001, "timer")] == virtual.run(main())


def test_a_stores_writer_is_waited_for(tmp_path):
    """What is given to the store is on disk, and has been heard of, before the clock moves."""

    async def main():
        store = Store(tmp_path / "answers.db")
        loop, heard = asyncio.get_running_loop(), []

        def told(future):
            loop.call_soon_threadsafe(heard.append, (now_of(loop), "saved", future.exception()))

        for turn in range(50):
            store.save([], f"run {turn}").add_done_callback(told)
            await asyncio.sleep(0.001)
            assert turn + 1 == len(heard)
        await loop.run_in_executor(None, store.close)
        return [when for when, _, error in heard if error is None]

    heard = virtual.run(main())

    assert [pytest.approx(0.001 * turn) for turn in range(50)] == heard


def now_of(loop):
    """Return virtual seconds since the start, from any thread."""
    return loop.time() - virtual.START_SECONDS


def test_threads_are_heard_in_the_order_they_were_asked():
    """However fast each is: news wait until nothing else is ready and every debt is paid."""

    async def main():
        heard = []

        async def ask(name, seconds):
            heard.append(await asyncio.to_thread(work, seconds, name))

        async def busy():
            for _ in range(200):
                await asyncio.sleep(0)
            heard.append("busy")

        await asyncio.gather(ask("slow", 0.06), ask("middling", 0.03), ask("quick", 0.0), busy())
        return heard

    assert ["busy", "slow", "middling", "quick"] == virtual.run(main())


def test_callbacks_added_late_are_heard_in_time():
    """A debt is paid when everybody has been told, those too who asked after it was made."""

    async def main():
        loop, heard = asyncio.get_running_loop(), []
        for _ in range(200):
            future = loop.owe(Future())
            threading.Thread(target=future.set_result, args=(None,)).start()
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(heard.append, now_of(loop)))
            before = now()
            await asyncio.sleep(1.0)
            assert before == heard.pop()

    virtual.run(main())


def test_errors_of_threads_arrive():
    """A thread that fails pays its debt with that."""

    async def main():
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        await asyncio.sleep(1)
        return now()

    assert 1 == virtual.run(main())


def test_a_cancelled_debt_is_none():
    """Whoever gives up waiting for a queued piece of work does not stop the clock."""

    async def main():
        future = Future()
        waiting = asyncio.ensure_future(asyncio.wrap_future(future))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(5)
        return future.cancelled(), now()

    assert (True, 5) == virtual.run(main())


def test_threads_may_wait_for_the_loop(monkeypatch):
    """A thread that needs the loop's answer before it can end gets it, after a moment."""
    monkeypatch.setattr(virtual, "GRACE_SECONDS", 0.02)

    async def answer():
        await asyncio.sleep(0)
        return 42

    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(answer(), loop).result(10))

    assert 42 == virtual.run(main())


def test_nothing_to_wait_for_is_an_error():
    """A loop that would hang says so, and who waits."""

    async def wait_for_ever():
        await asyncio.Event().wait()

    with pytest.raises(virtual.Stuck, match="wait_for_ever"):
        virtual.run(wait_for_ever())


def test_debts_that_are_not_paid_are_an_error(monkeypatch):
    """A thread that never ends is not waited for for ever."""
    monkeypatch.setattr(virtual, "PATIENCE_SECONDS", 0.05)

    async def wait_for_nobody():
        await asyncio.wrap_future(Future())

    with pytest.raises(virtual.Overdue, match="wait_for_nobody"):
        virtual.run(wait_for_nobody())


def test_nothing_stays_behind():
    """After a run, asyncio and the store are as they were."""
    from dfllm._run.store_writer import Writer

    before = (asyncio.wrap_future, asyncio.futures.wrap_future, Writer.submit)

    virtual.run(asyncio.sleep(1))

    assert before == (asyncio.wrap_future, asyncio.futures.wrap_future, Writer.submit)
