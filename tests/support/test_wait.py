from __future__ import annotations

import anyio
import pytest

from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_returns_the_first_true_answer() -> None:
    answers = iter([0, "", "here", "later"])

    assert await eventually(lambda: next(answers)) == "here"


async def test_awaits_conditions_that_are_coroutines() -> None:
    event = anyio.Event()

    async def is_set() -> bool:
        event.set()
        await anyio.lowlevel.checkpoint()
        return event.is_set()

    assert await eventually(is_set) is True


async def test_says_what_the_last_answer_was_when_the_time_is_over() -> None:
    with pytest.raises(AssertionError, match=r"was still \[\] after 0.01 s"):
        await eventually(list, within_s=0.01)


async def test_asks_at_least_once_even_without_any_time() -> None:
    assert await eventually(lambda: 7, within_s=0) == 7


async def test_an_exception_of_the_condition_ends_the_wait() -> None:
    with pytest.raises(ZeroDivisionError):
        await eventually(lambda: 1 / 0)
