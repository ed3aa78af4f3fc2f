"""The call that is to come: at the earliest time, in both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from everfold.web.farm.wake_up import WakeUp

uvloop = pytest.importorskip("uvloop")

LONG_S, SHORT_S, NOW_S = 60.0, 0.01, 0.0001


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("asked", [(NOW_S, LONG_S), (LONG_S, NOW_S), (LONG_S, SHORT_S, LONG_S)])
def test_the_earliest_time_counts(
    loop: Callable[[], asyncio.AbstractEventLoop], asked: tuple[float, ...]
) -> None:
    async def is_called() -> None:
        called = asyncio.Event()
        wake_up = WakeUp(called.set)
        for seconds in asked:
            wake_up.within(seconds)
        async with asyncio.timeout(5):
            await called.wait()
        called.clear()
        wake_up.within(NOW_S)
        async with asyncio.timeout(5):
            await called.wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(is_called())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_was_cancelled_is_not_called(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def told() -> list[str]:
        calls = list[str]()
        ended = asyncio.Event()
        wake_up = WakeUp(lambda: calls.append("called"))
        wake_up.within(NOW_S)
        wake_up.cancel()
        WakeUp(ended.set).within(SHORT_S)
        async with asyncio.timeout(5):
            await ended.wait()
        return calls

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(told()) == []
