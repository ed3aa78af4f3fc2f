"""What the farm's view reads of jobs."""

from __future__ import annotations

import pytest

from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.web.farm import reading
from tests.projector.jobs import GRAPH, assert_projected, projecting

pytestmark = pytest.mark.anyio


async def test_what_the_projection_has_is_folded_from_no_log(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        jobs = [(await log.submit(GRAPH)).job_id for _ in range(5)]
        async with projecting(log):
            await assert_projected(log, jobs)

        async def not_asked(_log: Log, job_id: str, _seq: int) -> Job:
            raise AssertionError(f"{job_id} is folded")

        monkeypatch.setattr(reading, "get", not_asked)
        found = await reading.jobs_at_least(log, dict.fromkeys(jobs, 1))
        assert {job.job_id for job in found} == set(jobs)
