"""One read for all who ask at once, and never an old answer."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from everfold.runner.comfyui.http import SharedRead

pytestmark = pytest.mark.anyio


class SlowReads:
    """Reads that end when the test says so, each answering its own number."""

    def __init__(self) -> None:
        self.begun = 0
        self.gates: list[anyio.Event] = []

    async def read(self) -> int:
        self.begun += 1
        number, gate = self.begun, anyio.Event()
        self.gates.append(gate)
        await gate.wait()
        return number

    async def until_begun(self, count: int) -> None:
        with anyio.fail_after(5):
            while self.begun < count:
                await anyio.lowlevel.checkpoint()


async def test_callers_during_a_read_share_the_next_one() -> None:
    reads, answers = SlowReads(), list[tuple[str, int]]()
    shared = SharedRead(reads.read)

    async def ask(name: str) -> None:
        answers.append((name, await shared.fresh()))

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "first")
        await reads.until_begun(1)
        for name in ("second", "third"):
            group.start_soon(ask, name)
        await anyio.wait_all_tasks_blocked()
        reads.gates[0].set()
        await reads.until_begun(2)
        reads.gates[1].set()
    assert sorted(answers) == [("first", 1), ("second", 2), ("third", 2)]
    assert reads.begun == 2


async def test_a_later_caller_gets_a_new_read() -> None:
    reads = SlowReads()
    shared = SharedRead(reads.read)
    for number in (1, 2):
        async with anyio.create_task_group() as group:
            answers: list[int] = []

            async def ask(answers: list[int] = answers) -> None:
                answers.append(await shared.fresh())

            group.start_soon(ask)
            await reads.until_begun(number)
            reads.gates[-1].set()
        assert answers == [number]


async def test_when_the_reading_caller_is_cancelled_another_reads() -> None:
    reads, answers = SlowReads(), list[int]()
    shared = SharedRead(reads.read)
    leader = anyio.CancelScope()

    async def lead() -> None:
        with leader:
            await shared.fresh()

    async def follow() -> None:
        answers.append(await shared.fresh())

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await reads.until_begun(1)
        group.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await reads.until_begun(2)
        reads.gates[1].set()
    assert answers == [2]
