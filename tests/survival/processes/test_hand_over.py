"""A job whose runner does not reach its backend goes to the runner that does, and to no other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.events.event import Claimed, Released
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.reading.reader import job_events
from tests.support.programs.stack import Stack

pytestmark = pytest.mark.anyio

NORMAL = ("default", "normal")


async def test_a_released_job_waits_for_the_runner_that_it_was_released_to(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        await log.submit({"1": {"class_type": "A", "inputs": {}}})
        own, other = Dispatch(log, "r1"), Dispatch(log, "r2")
        (lease,) = await own.claim(0, ["default"], 1)
        await own.release(lease, Released(reason="cannot_reach"), to="r2")
        for dispatch in (own, Dispatch(log, "r3")):
            assert (await dispatch.take_over(0, NORMAL, idle_limit_s=0.0))[1] == []
        (taken,) = (await other.take_over(0, NORMAL, idle_limit_s=0.0))[1]
        await other.release(taken, Released(reason="drain"))
        # The next release is for anybody again.
        (again,) = (await own.take_over(0, NORMAL, idle_limit_s=0.0))[1]
        assert again.epoch == 3


class Relay:
    """Another address of a ComfyUI server, which can be closed."""

    def __init__(self, url: str) -> None:
        self._to = int(url.rpartition(":")[2])
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._link, "127.0.0.1")
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Break every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            other_reader, other = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers |= {writer, other}
            await asyncio.gather(_pump(reader, other), _pump(other_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while received := await reader.read(65536):
            writer.write(received)
            await writer.drain()
    writer.close()


async def test_a_runner_does_not_take_its_own_hand_over_back(stack: Stack) -> None:
    comfy = await stack.comfy()
    async with Relay(comfy.url) as relay:
        first = await stack.runner(comfy, backends=(relay.url,))
        job_id = await stack.submit(14.0)
        await stack.until(job_id, "running")
        await stack.runner(comfy)
        relay.close()
        job = await stack.until(job_id, "succeeded")
        records = await job_events(stack.log, job_id)
        owners = [record.event.owner for record in records if isinstance(record.event, Claimed)]
        assert first.exit_code is None
        assert len(owners) == 2, await stack.event_text(job_id)
        assert (job.released, job.recovered, job.attempt) == (1, 0, 1)
        assert await comfy.executions() == [job.prompt_id]
