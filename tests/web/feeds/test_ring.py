"""A ring keeps what many readers read at their own pace, and waits for little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.web import event_stream
from everfold.web.counters import Counters
from everfold.web.event_stream import EventStream, Overdue, following
from everfold.web.feeds.ring import LEAST_TIDIED, Overtaken, Ring

pytestmark = pytest.mark.anyio


async def test_each_reader_gets_each_item_once_and_the_end() -> None:
    ring = Ring[int](8)
    readers = [asyncio.create_task(_all(ring)) for _ in range(3)]
    for number in range(20):
        await asyncio.sleep(0)
        ring.add(number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    ring.close()
    assert await asyncio.gather(*readers) == [list(range(20))] * 3


async def test_a_reader_that_is_too_slow_is_told_so() -> None:
    ring = Ring[int](4)
    for number in range(5):
        ring.add(number)
    with pytest.raises(Overtaken):
        await ring.after(0)
    assert await ring.after(1) == [1, 2, 3, 4]
    assert await ring.after(4) == [4]


async def test_those_who_have_gone_are_not_kept_by_a_ring_in_which_nothing_happens() -> None:
    ring = Ring[int](4)
    for _ in range(100 * LEAST_TIDIED):
        ring.until_more(0).cancel()
    assert len(ring._waiting) <= 2 * LEAST_TIDIED
    staying = [ring.until_more(0) for _ in range(10 * LEAST_TIDIED)]
    ring.add(1)
    assert all(one.done() for one in staying)


async def test_a_pause_is_told_as_one_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_S", 0.02)
    ring = Ring[int](4)
    items = following(ring, 0)
    assert await anext(items) == []
    assert await anext(items) == []
    ring.add(1)
    assert await anext(items) == [1]
    ring.add(2)
    ring.close()
    assert [one async for one in items] == [[2]]


async def test_what_takes_too_long_is_told_once_and_what_does_not_never() -> None:
    told: list[bool] = []
    overdue = Overdue(0.05, lambda: told.append(True))
    try:
        for _ in range(20):
            overdue.begin()
            await asyncio.sleep(0)
            overdue.end()
        assert told == []
        overdue.begin()
        async with asyncio.timeout(10):
            while not told:  # noqa: ASYNC110  # nobody would set an event
                await asyncio.sleep(0.01)
    finally:
        overdue.close()
    assert told == [True]


async def test_a_client_that_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "SEND_WITHIN_S", 0.05)
    ring, counters, sent = Ring[bytes](4), Counters(), list[object]()
    ring.add(b"data: 1\n\n")

    async def frames() -> AsyncGenerator[bytes, None]:
        async for items in following(ring, 0):
            yield b"".join(items)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)
        if message.get("body"):
            await asyncio.Event().wait()

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()
        return {}

    stream = EventStream(frames(), counters)
    async with asyncio.timeout(10):
        await stream({"type": "http", "method": "GET"}, receive, send)  # type: ignore[arg-type]
    # The body is not ended: what came is not taken for all.
    assert len(sent) == 2
    dropped = counters.registry.get_sample_value(
        "everfold_gateway_dropped_readers_total", {"kind": "sse"}
    )
    assert dropped == 1


async def _all(ring: Ring[int]) -> list[int]:
    found, place = list[int](), 0
    while items := await ring.after(place):
        found += items
        place += len(items)
    return found


async def test_items_are_handed_on_in_the_call_that_adds_them() -> None:
    ring, taken = Ring[int](4), list[int]()

    def take(item: int) -> bool:
        taken.append(item)
        return item < 3

    more, gone = ring.hand_on(take), ring.hand_on(take)
    ring.leave(gone)
    for number in range(5):
        ring.add(number)
        assert taken == list(range(min(number, 3) + 1))
    assert more.done()
    assert gone.done()


async def test_a_reader_that_fails_holds_up_no_other() -> None:
    ring, taken = Ring[int](4), list[int]()

    def fail(_: int) -> bool:
        raise RuntimeError

    def take(item: int) -> bool:
        taken.append(item)
        return True

    failing, sound = ring.hand_on(fail), ring.hand_on(take)
    ring.add(1)
    ring.add(2)
    assert (failing.done(), sound.done(), taken) == (True, False, [1, 2])
    ring.close()
    assert sound.done()
    assert ring.hand_on(take).done()


@given(st.lists(st.sampled_from(["add", "add", "add", "full", "free", "read"]), max_size=60))
async def test_what_is_not_taken_at_once_comes_later_and_all_of_it_in_order(
    steps: list[str],
) -> None:
    ring, seen, is_full = Ring[int](1000), list[int](), False

    def take(item: int) -> bool:
        if not is_full:
            seen.append(item)
        return not is_full

    async def read() -> None:
        async for items in following(ring, 0, take):
            seen.extend(items)
            await may_read.wait()

    may_read = asyncio.Event()
    may_read.set()
    reading = asyncio.create_task(read())
    for number, step in enumerate(steps):
        if step == "add":
            ring.add(number)
        elif step == "read":
            await asyncio.sleep(0)
        else:
            is_full = step == "full"
            (may_read.clear if is_full else may_read.set)()
    may_read.set()
    ring.close()
    await asyncio.wait_for(reading, 10)
    assert seen == [number for number, step in enumerate(steps) if step == "add"]
