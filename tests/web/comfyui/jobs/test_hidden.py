"""What a user hides of the history: bounded, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.projector.job.job import Job
from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_time_ms
from everfold.web.comfyui.jobs import hidden
from everfold.web.comfyui.jobs.hidden import hidden_of, hide, hide_all, is_hidden

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield log


async def test_what_one_user_hides_is_hidden_from_that_user(log: Log) -> None:
    now_ms = await server_time_ms(log.redis)
    old, new = Job(job_id="old", ended_at_ms=now_ms - 5), Job(job_id="new", ended_at_ms=now_ms * 2)
    await hide_all(log, "ann")
    await hide(log, "bob", ["new"])

    found = [(await hidden_of(log, user)) for user in ("ann", "bob", "eve")]
    assert [(old in one, new in one) for one in found] == [
        (True, False), (False, True), (False, False)
    ]  # fmt: skip
    for user, one in zip(("ann", "bob", "eve"), found, strict=True):
        for job in (old, new):
            assert await is_hidden(log, user, job) == (job in one)


async def test_only_the_newest_ids_are_remembered(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden, "HIDDEN_LIMIT", 3)
    await hide_all(log, "ann")
    before_ms = (await hidden_of(log, "ann")).before_ms
    for number in range(20):
        await hide(log, "ann", [f"job-{number}"])
        # The next one is hidden later, by the clock of the server.
        key, member = log.keys.hidden("ann"), f"job-{number}"
        await command(log.redis, "ZADD", key, before_ms + 1 + number, member)

    found = await hidden_of(log, "ann")
    assert found.before_ms == before_ms
    assert "job-19" in found.job_ids
    assert len(found.job_ids) <= 4
