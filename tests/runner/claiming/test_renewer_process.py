"""What a runner tells the process that renews its leases: few writes, in the order of the calls."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from types import SimpleNamespace
from typing import cast

import pytest

from everfold.runner.renewal.messages import Beat, Forget, Hold, ToRenewer, line
from everfold.runner.renewal.renewer_process import RenewerProcess
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


class Pipe:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, text: bytes) -> None:
        self.written.append(text)

    def is_closing(self) -> bool:
        return self.is_closed


def made(pipe: Pipe) -> RenewerProcess:
    return RenewerProcess(cast("Process", SimpleNamespace(stdin=pipe, stdout=pipe)))


def hold(job_id: str) -> Hold:
    return Hold(job_id=job_id, epoch=1, dispatch="d", dispatch_id="1-0", head="h")


def lines(*messages: ToRenewer) -> bytes:
    return b"".join(map(line, messages))


async def test_what_is_told_in_one_turn_of_the_loop_is_one_write() -> None:
    pipe = Pipe()
    process = made(pipe)
    process.tell(hold("a"))
    process.tell(hold("b"))
    await asyncio.sleep(0)
    assert pipe.written == [lines(hold("a"), hold("b"))]
    process.tell(Beat(1))
    await asyncio.sleep(0)
    assert pipe.written[1:] == [lines(Beat(1))]


async def test_what_is_to_be_forgotten_goes_with_what_comes_next() -> None:
    pipe = Pipe()
    process = made(pipe)
    process.tell(Forget("a", 1))
    await asyncio.sleep(0)
    assert pipe.written == []
    process.tell(hold("a"))
    process.tell(Forget("b", 1))
    await asyncio.sleep(0)
    assert pipe.written == [lines(Forget("a", 1), hold("a"), Forget("b", 1))]


async def test_what_is_to_be_forgotten_waits_for_a_moment_only() -> None:
    pipe = Pipe()
    process = made(pipe)
    process.tell(Forget("a", 1))
    process.tell(Forget("b", 1))
    await eventually(lambda: pipe.written)
    assert pipe.written == [lines(Forget("a", 1), Forget("b", 1))]


async def test_a_process_that_has_ended_gets_nothing() -> None:
    pipe = Pipe()
    process = made(pipe)
    process.tell(hold("a"))
    pipe.is_closed = True
    await asyncio.sleep(0)
    assert pipe.written == []
