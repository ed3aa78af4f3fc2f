"""An export goes from one server into a cluster and back: the same events, and open jobs run."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from everfold.projector.reading.verify import verify
from everfold.streams.appending.log import Log
from everfold.streams.events.record import Recorded
from everfold.streams.retention.history import all_history
from tests.everfold.running import ended
from tests.projector.jobs import assert_projected, make_jobs, projecting, work
from tests.support.groups.cluster import Cluster
from tests.support.programs.programs import StartProgram
from tests.support.servers import StartServer

pytestmark = [pytest.mark.anyio, pytest.mark.long]


def by_job(records: list[Recorded]) -> dict[str, list[tuple[int, bytes]]]:
    """Return what must be the same: each job's events in order, as bytes."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    for one in records:
        found.setdefault(one.job_id, []).append((one.seq, one.payload))
    return found


async def test_a_namespace_goes_from_one_server_into_a_cluster_and_back(
    own_server: StartServer,
    redis_cluster: Cluster,
    start_program: StartProgram,
    tmp_path: Path,
) -> None:
    server = own_server()
    places = [("first", server.url), ("second", redis_cluster.url), ("third", server.url)]

    async def run(at: str, *arguments: str) -> str:
        environ = {"REDIS_URL": dict(places)[at], "EVERFOLD_NAMESPACE": at}
        program = start_program("-m", "everfold", "archive", *arguments, environ=environ)
        return (await ended(program))[-1]

    async with Log.open(server.url, namespace="first") as log:
        jobs = await make_jobs(log, 30)
        await work(log)
        waiting = await make_jobs(log, 3)
        whole = by_job([record async for record in all_history(log)])
    for (source, _), (into, url) in pairwise(places):
        file = str(tmp_path / f"{source}.jsonl.gz")
        await run(source, "export", file)
        assert "3 jobs for a runner" in await run(into, "import", file, "--namespace", into)
        async with Log.open(url, namespace=into) as log:
            assert log.keys.partitions == 24
            assert by_job([record async for record in all_history(log)]) == whole
            async with projecting(log):
                await assert_projected(log, [*jobs, *waiting])
            assert [str(found) for found in (await verify(log)).differences] == []
    async with Log.open(redis_cluster.url, namespace="second") as log:
        assert {lease.job_id for lease in await work(log)} == set(waiting)
