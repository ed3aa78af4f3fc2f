"""What was acknowledged is remembered for as long as its server is away."""

from __future__ import annotations

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.memory import memory as memory_module
from everfold.streams.appending.memory import watching
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.connections.steady_clock import steady_s
from tests.support.trouble.fault_proxy import FaultProxy
from tests.support.trouble.rewinds import put, taken
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
KEPT_S = 1.0


@pytest.fixture(autouse=True)
def short_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "KEPT_S", KEPT_S)
    monkeypatch.setattr(watching, "ASK_EVERY_S", 0.05)
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.1)


async def test_what_an_outage_of_any_length_has_lost_comes_back(
    server_url: str, namespace: str
) -> None:
    async with (
        FaultProxy(server_url) as proxy,
        Log.open(server_url, namespace=namespace, partitions=2) as direct,
        Log.open(proxy.url, namespace=namespace) as log,
    ):
        before = await taken(direct)
        job_id = (await log.submit(GRAPH)).job_id
        proxy.answer_errors("LOADING Redis is loading the dataset in memory")
        await put(direct, before)
        began_s = steady_s()
        await eventually(lambda: steady_s() - began_s > 3 * KEPT_S)
        assert len(log.memory) == 1
        proxy.lift()

        async def is_named() -> bool:
            return [one.job_id for one in await lost_writes(direct)] == [job_id]

        await eventually(is_named, 10)
        # In a minute without an outage it is forgotten, and nothing more is looked for.
        await eventually(lambda: len(log.memory) == 0, 10)


async def test_what_a_full_memory_drops_in_an_outage_is_told(
    server_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(memory_module, "WRITES_LIMIT", 5)
    async with (
        FaultProxy(server_url) as proxy,
        Log.open(proxy.url, namespace=namespace, partitions=2) as log,
    ):
        jobs = [(await log.submit(GRAPH)).job_id]  # the server has the script from now on
        # What the looks ask fails, as it does where one server of several is away.
        proxy.answer_errors("LOADING Redis is loading", containing=b"INFO")
        jobs += [(await log.submit(GRAPH)).job_id for _ in range(7)]
        await eventually(lambda: all(job_id in caplog.text for job_id in jobs[:3]), 10)
        assert not any(job_id in caplog.text for job_id in jobs[3:])
        assert log.memory.dropped == 3
