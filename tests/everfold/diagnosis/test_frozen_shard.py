"""One shard of a cluster hangs: batches, short ids and the proof name what is missing, in time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from everfold import Everfold
from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.errors import PartitionsUnavailable
from everfold.streams.redis.redis_errors import command
from tests.projector.jobs import GRAPH, assert_projected, projecting
from tests.support.groups.cluster import Cluster, StartCluster
from tests.support.groups.server_group import Node
from tests.support.programs.programs import Program, StartProgram

pytestmark = [pytest.mark.anyio, pytest.mark.long]

WITHIN_S = 14.0
"""Two calls of which each leaves a silent node after some seconds, on a busy machine."""


async def told(start: StartProgram, cluster: Cluster, *words: str, code: int) -> Program:
    """Run a command on the namespace to its end, which is to have this code."""
    names = {"REDIS_URL": cluster.url, "EVERFOLD_NAMESPACE": "shard"}
    program = start("-m", "everfold", *words, environ=names)
    assert await program.end(within_s=60) == code, program
    return program


async def missing(call: Callable[[], Awaitable[object]]) -> PartitionsUnavailable:
    began_s = time.monotonic()
    with pytest.raises(PartitionsUnavailable) as raised:
        await call()
    assert time.monotonic() - began_s < WITHIN_S
    return raised.value


def shard_without_home(cluster: Cluster, log: Log) -> tuple[Node, tuple[int, ...]]:
    """Return a master that does not have the keys of the namespace, and its partitions."""
    every = range(log.keys.partitions)
    home = cluster.primary_of(log.keys.meta())
    at = {p: cluster.primary_of(log.keys.log(p)) for p in every}
    chosen = next(node for node in at.values() if node is not home)
    return chosen, tuple(p for p in every if at[p] is chosen)


async def test_what_is_missing_is_named_in_time(own_cluster: StartCluster) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")
    async with Everfold.connect(cluster.url, namespace="shard", config=os.devnull) as everfold:
        log = everfold.log
        await log.make()
        jobs = [(await log.submit(GRAPH, batch="b")).job_id for _ in range(30)]
        async with projecting(log):
            await assert_projected(log, jobs)
        frozen, away = shard_without_home(cluster, log)
        here = next(job for job in jobs if log.keys.partition_of(job) not in away)
        there = next(job for job in jobs if log.keys.partition_of(job) in away)
        frozen.freeze()
        for call in (
            everfold.batch("b").progress,
            everfold.batches,
            lambda: everfold.find(there[-10:]),
            lambda: verify(log),
        ):
            assert (await missing(call)).partitions == away
        # One that is known is not taken for the only one.
        found = await missing(lambda: everfold.find(here[-10:]))
        assert found.partitions == away
        assert here in str(found)
        assert await everfold.find(here) == here
        frozen.thaw()


async def test_the_proof_tells_of_the_partitions_that_answer(
    own_cluster: StartCluster, start_program: StartProgram
) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")

    audited = partial(told, start_program, cluster, "audit", "verify")
    async with Log.open(cluster.url, namespace="shard") as log:
        await log.make()
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(40)]
        frozen, away = shard_without_home(cluster, log)
        here = [job for job in jobs if log.keys.partition_of(job) not in away]
        await audited(code=0)
        frozen.freeze()
        report = await verify(log, partial=True)
        assert (report.missing, report.jobs, report.differences) == (away, len(here), [])
        assert not report.is_sound
        proof = await audited(code=4)
        counted = f"{len(here)} events of {len(here)} jobs, {len(here)} of them open"
        assert f"{counted}: all as it must be" in proof.lines, proof
        named = ", ".join(map(str, away))
        assert f"partitions {named} do not answer" in proof.error_lines[-1]
        # What is wrong where it could look counts for more than what it could not look at.
        await command(log.redis, "DEL", log.keys.waiting(log.keys.partition_of(here[0]), "default"))
        found = json.loads((await audited("--json", code=1)).lines[0])
        assert (found["sound"], found["missing"]) == (False, list(away))
        assert here[0] in [difference["job_id"] for difference in found["differences"]]
        frozen.thaw()
        await audited(code=1)


async def test_a_node_that_refuses_the_password_is_named_and_the_others_are_told_of(
    own_cluster: StartCluster, start_program: StartProgram
) -> None:
    cluster = own_cluster(3, 0, cluster_require_full_coverage="no")

    async with Log.open(cluster.url, namespace="shard") as log:
        await log.make()
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(40)]
        async with projecting(log):
            await assert_projected(log, jobs)
        refusing, away = shard_without_home(cluster, log)
    here = [job for job in jobs if log.keys.partition_of(job) not in away]
    refusing.ask("CONFIG", "SET", "requirepass", "another")
    named = ", ".join(map(str, away))
    proof = await told(start_program, cluster, "audit", "verify", code=4)
    assert f"{len(here)} events of {len(here)} jobs" in proof.lines[0]
    assert f"partitions {named} do not answer" in proof.error_lines[-1]
    listed = await told(start_program, cluster, "jobs", "ls", "--json", code=0)
    assert {json.loads(line)["job_id"] for line in listed.lines} == set(here)
    assert f"partitions {named} do not answer" in listed.error_lines[-1]
    findings = [
        json.loads(line)
        for line in (await told(start_program, cluster, "doctor", "--json", code=1)).lines
    ]
    found = {finding["what"]: finding["found"] for finding in findings}
    assert "the server wants a password" in found[f"server {refusing}"]
    assert found["log"] == f"{len(here)} events, no archive; no answer from {len(away)} partitions"
    assert f"no answer from partitions {named}: the server wants a password" in found["queues"]
