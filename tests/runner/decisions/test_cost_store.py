"""Costs are kept in one small hash, whatever is sent and whatever stands there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from everfold.runner.costs import cost_store
from everfold.runner.costs.cost_store import KEPT_S, SLOTS, CostStore
from everfold.runner.costs.node_cost import NodeCost
from everfold.streams.appending.log import Log
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.redis.redis_errors import command
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

SEEN = NodeCost(before_s=0.25, step_s=0.5, steps=20, after_s=0.125)


def graph(seed: int = 1, width: int = 1000, class_type: str = "KSampler") -> bytes:
    latent = {"class_type": "EmptyLatentImage", "inputs": {"width": width, "height": 1000}}
    inputs = {"latent_image": ["1", 0], "seed": seed, "steps": 20}
    return json.dumps({"1": latent, "2": {"class_type": class_type, "inputs": inputs}}).encode()


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield log


@asynccontextmanager
async def running(log: Log) -> AsyncIterator[CostStore]:
    store = CostStore(log)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.run)
        yield store
        tasks.cancel_scope.cancel()


async def known(log: Log, workflow: bytes) -> dict[str, NodeCost]:
    """Return what a runner that has just begun reads."""
    return await CostStore(log).expected(workflow)


async def test_another_runner_knows_what_one_has_learned(log: Log) -> None:
    assert await known(log, graph()) == {}
    async with running(log) as store:
        store.learn(graph(seed=1), {"2": SEEN, "no such node": SEEN})
        await eventually(lambda: known(log, graph(seed=2)))
    assert await known(log, graph(seed=2)) == {"2": SEEN}
    ttl_s = await command(log.redis, "TTL", log.keys.node_costs())
    assert isinstance(ttl_s, int)
    assert 0 < ttl_s <= KEPT_S


async def test_other_work_of_a_class_is_expected_by_its_size(log: Log) -> None:
    async with running(log) as store:
        store.learn(graph(width=1000), {"2": SEEN})
        await eventually(lambda: known(log, graph(width=2000)))
    [cost] = (await known(log, graph(width=2000))).values()
    assert (cost.step_s, cost.steps, cost.is_same_work) == (1.0, 20, False)


async def test_jobs_of_a_kind_that_nobody_knows_ask_once_and_not_each_for_its_work(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def counted(redis: LedgerRedis, *words: Argument) -> object:
        asked.append(len(words) - 2)
        return await command(redis, *words)

    store = CostStore(log)
    monkeypatch.setattr(cost_store, "command", counted)
    for width in (1000, 2000, 3000):
        assert await store.expected(graph(width=width)) == {}
    assert asked == [4]
    async with running(log) as other:
        other.learn(graph(width=2000), {"2": SEEN})
        await eventually(lambda: known(log, graph(width=2000)))
    monkeypatch.setattr(cost_store, "FRESH_S", 0.0)
    assert await store.expected(graph(width=2000)) == {"2": SEEN}


async def test_what_is_learned_is_an_average_and_read_anew_by_a_runner_that_runs(log: Log) -> None:
    async with running(log) as store:
        store.learn(graph(), {"2": SEEN})
        await eventually(lambda: known(log, graph()))
        store.learn(graph(), {"2": NodeCost(before_s=0.25, step_s=1.5, steps=20, after_s=0.125)})

        async def moved() -> bool:
            return (await known(log, graph()))["2"].count == 2

        await eventually(moved)
        assert (await store.expected(graph()))["2"].step_s == pytest.approx(0.8)


async def test_many_classes_take_no_more_than_the_slots(log: Log) -> None:
    async with running(log) as store:
        for turn in range(25):
            nodes = {
                str(n): {"class_type": f"\x00\ud800{turn} {n}", "inputs": {}} for n in range(400)
            }
            store.learn(json.dumps(nodes).encode(), dict.fromkeys(nodes, SEEN))
        store.learn(graph(), {"2": SEEN})
        await eventually(lambda: known(log, graph()))
    size = await command(log.redis, "HLEN", log.keys.node_costs())
    used = await command(log.redis, "MEMORY", "USAGE", log.keys.node_costs(), "SAMPLES", "0")
    assert isinstance(size, int)
    assert isinstance(used, int)
    assert 4_000 < size <= SLOTS
    assert used < 2**20


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'["%s",NaN,0,0,0,1]',
        b'["%s",-1,0,0,0,1]',
        b'["%s",1e99,0,0,0,1]',
        b'["%s",1,1,1,1,0]',
        b'["0000000000000000",1,1,1,1,1]',
    ],
)
async def test_a_field_that_makes_no_sense_is_none(log: Log, text: bytes) -> None:
    async with running(log) as store:
        store.learn(graph(), {"2": SEEN})
        await eventually(lambda: known(log, graph()))
        key = log.keys.node_costs()
        fields = await command(log.redis, "HGETALL", key)
        assert isinstance(fields, list)
        for field, value in zip(fields[::2], fields[1::2], strict=True):
            digest = json.loads(value)[0].encode()
            await command(log.redis, "HSET", key, field, text.replace(b"%s", digest))
        assert await known(log, graph()) == {}
        store.learn(graph(), {"2": SEEN})
        await eventually(lambda: known(log, graph()))


async def test_a_key_of_another_type_and_a_server_that_is_away_cost_nothing_but_the_knowledge(
    own_server: StartServer,
) -> None:
    server = own_server()
    async with Log.open(server.url, namespace="costs") as log, running(log) as store:
        await command(log.redis, "SET", log.keys.node_costs(), "text")
        store.learn(graph(), {"2": SEEN})
        assert await store.expected(graph()) == {}
        await command(log.redis, "DEL", log.keys.node_costs())
        store.learn(graph(), {"2": SEEN})
        await eventually(lambda: known(log, graph()))
        server.kill()
        with anyio.fail_after(20):
            assert await CostStore(log).expected(graph()) == {}


@pytest.mark.parametrize("workflow", [b"", b"{}", b"[1]", b"\xff", b'{"1": 7, "2": []}'])
async def test_what_is_no_graph_costs_nothing(log: Log, workflow: bytes) -> None:
    store = CostStore(log)
    store.learn(workflow, {"1": SEEN})
    assert await store.expected(workflow) == {}
