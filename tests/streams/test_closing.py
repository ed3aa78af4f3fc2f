"""A call in a thread is over when its caller goes on, however that is cancelled."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import anyio
import pytest

from everfold.streams.closing import in_thread

pytestmark = pytest.mark.anyio

LONG_S = 0.1


class Call:
    """A call that takes LONG_S, and says when it began and that it has ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun, self.is_over, self._error = threading.Event(), False, error

    def __call__(self) -> str:
        self.begun.set()
        time.sleep(LONG_S)
        self.is_over = True
        if self._error is not None:
            raise self._error
        return "done"

    async def until_begun(self) -> None:
        while not self.begun.is_set():  # noqa: ASYNC110 - it is set by a thread
            await anyio.sleep(0.001)


async def test_a_call_gives_its_result_and_its_error() -> None:
    assert await in_thread(Call()) == "done"
    with pytest.raises(ValueError, match="no"):
        await in_thread(Call(ValueError("no")))


@pytest.mark.parametrize("error", [None, ValueError("no")], ids=["result", "error"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_task_that_is_cancelled_ends_after_its_call(
    times: int, error: Exception | None
) -> None:
    call = Call(error)
    task = asyncio.create_task(in_thread(call))
    await call.until_begun()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.is_over


async def test_a_scope_that_is_cancelled_ends_after_its_call() -> None:
    call, went_on = Call(), False
    async with anyio.create_task_group() as tasks:

        async def use() -> None:
            nonlocal went_on
            await in_thread(call)
            went_on = True

        tasks.start_soon(use)
        await call.until_begun()
        tasks.cancel_scope.cancel()
    assert call.is_over
    assert not went_on


async def test_a_call_that_cleans_up_is_made_in_a_scope_that_is_cancelled() -> None:
    call = Call()
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep_forever()
        finally:
            await in_thread(call)
    assert call.is_over


@pytest.mark.parametrize("in_call", [True, False], ids=["in the call", "before it"])
def test_the_end_of_the_loop_waits_for_a_call_and_for_its_clean_up(in_call: bool) -> None:
    call, clean_up = Call(), Call()
    order = list[tuple[bool, bool]]()

    async def use() -> None:
        try:
            await (in_thread(call) if in_call else anyio.sleep_forever())
        finally:
            await in_thread(_noting(order, call, clean_up))

    async def main() -> None:
        task = asyncio.create_task(use())
        await (call.until_begun() if in_call else asyncio.sleep(0.01))
        assert not task.done()

    asyncio.run(main())
    assert clean_up.is_over
    assert order == [(in_call, False)]


def _noting(order: list[tuple[bool, bool]], call: Call, clean_up: Call) -> Callable[[], str]:
    """Return the clean-up; it notes first which of the two are over."""

    def clean() -> str:
        order.append((call.is_over, clean_up.is_over))
        return clean_up()

    return clean


FORKS = """
import asyncio, os, signal, sys
from everfold.streams.closing import in_thread

async def calls():
    await asyncio.gather(*(in_thread(abs, -number) for number in range(8)))

asyncio.run(calls())
if (child := os.fork()) == 0:
    signal.alarm(20)
    asyncio.run(in_thread(abs, -1))
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_has_threads_of_its_own() -> None:
    assert subprocess.run([sys.executable, "-c", FORKS], check=False, timeout=60).returncode == 0
