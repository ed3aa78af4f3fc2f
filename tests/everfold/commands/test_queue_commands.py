"""`everfold queues`, `limits` and `jobs priority` as people meet them, and who is noted."""

from __future__ import annotations

import pytest

from everfold.client import Everfold as Client
from everfold.commands.session import operator_name
from everfold.simulator import simulate
from everfold.streams.appending.log import Log
from everfold.streams.errors import QueueUnknown
from everfold.streams.leases.acts import acts
from tests.everfold.running import Everfold, ended, objects
from tests.support.programs.stack import sleeper
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

WIDTH = 80


async def noted(log: Log) -> list[tuple[str, str, str, str]]:
    return [(act.actor, act.verb, act.subject, act.detail) for act in await acts(log)]


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(
    everfold: Everfold, log: Log
) -> None:
    async with simulate() as comfy:
        runner = everfold("runner", "--name", "r", COMFYUI_URL=comfy.url)
        await runner.line("serves default", within_s=20)
        lines = await ended(everfold("queues", "pause", "default", "--reason", "new models"))
        assert lines == ["default is paused; `everfold queues resume default` undoes that"]
        job_id = await log.submit(sleeper(0.1), user="ada")
        [row] = await objects(everfold("queues", "ls", "--json"))
        assert (row["name"], row["waiting"], row["running"]) == ("default", 1, 0)
        assert (row["paused_by"], row["pause_reason"]) == (operator_name(), "new models")
        head, line = await ended(everfold("queues", "ls"))
        assert head.split() == ["queue", "waiting", "running", "runners", "oldest", "service"]
        assert f"paused by {operator_name()} (new models)" in line
        assert len(line) <= WIDTH
        assert await ended(everfold("queues", "resume", "default")) == ["default goes on"]
        assert await ended(everfold("jobs", "wait", job_id.job_id, "--timeout", "20"))
        assert await ended(everfold("queues", "resume", "default")) == ["default was not paused"]
    me = operator_name()
    assert await noted(log) == [
        (me, "pause_queue", "default", "new models"),
        (me, "resume_queue", "default", ""),
        (me, "resume_queue", "default", ""),
    ]


async def test_a_queue_that_nobody_named_is_refused_with_the_nearest_name(
    everfold: Everfold, log: Log
) -> None:
    await log.submit(sleeper(1), queue="video")
    for verb in ("pause", "resume"):
        wrong = everfold("queues", verb, "vidoe")
        await ended(wrong, 3)
        assert "there is no queue 'vidoe'; did you mean video?" in "".join(wrong.error_lines)
    assert await noted(log) == []


async def test_limits_are_set_listed_and_removed(everfold: Everfold, log: Log) -> None:
    assert await ended(everfold("limits", "ls")) == ["there are no limits"]
    lines = await ended(everfold("limits", "set", "running", "user", "*", "2"))
    assert lines == ["running jobs of each user: 2"]
    await ended(everfold("limits", "set", "share", "user", "ada", "0.5"))
    rows = [line.split() for line in await ended(everfold("limits", "ls"))]
    assert rows[1:] == [["running", "user", "*", "2"], ["share", "user", "ada", "0.5"]]
    lines = await ended(everfold("limits", "rm", "running", "user", "*"))
    assert lines == ["running jobs of each user: no limit any more"]
    lines = await ended(everfold("limits", "rm", "running", "user", "*"))
    assert lines == ["running jobs of each user: there was no limit"]
    for wrong in (("running", "user", "*", "-1"), ("waiting", "user", "*", "5"),
                  ("share", "user", "*", "5"), ("running", "usr", "*", "5")):  # fmt: skip
        await ended(everfold("limits", "set", *wrong), 2)
    verbs = [(verb, subject, detail) for _, verb, subject, detail in await noted(log)]
    assert verbs == [
        ("set_limit", "running user *", "2"),
        ("set_limit", "share user ada", "0.5"),
        ("remove_limit", "running user *", ""),
        ("remove_limit", "running user *", ""),
    ]


async def test_a_job_of_another_priority_stands_elsewhere(everfold: Everfold, log: Log) -> None:
    ids = [(await log.submit(sleeper(1))).job_id for _ in range(3)]
    [told] = await objects(everfold("jobs", "priority", ids[2], "high", "--json"))
    assert told == {"job_id": ids[2], "priority": "high", "before": "normal", "position": 0}
    lines = await ended(everfold("jobs", "priority", ids[2], "low"))
    assert lines == [f"{ids[2]} has priority low now, before high; 2 jobs before it"]
    await ended(everfold("jobs", "priority", ids[0], "urgent"), 2)
    await ended(everfold("jobs", "priority", "0" * 32, "high"), 3)
    assert (operator_name(), "set_priority", ids[2], "high") in await noted(log)


async def test_the_same_in_python(server: OwnServer) -> None:
    async with Client.connect(server.url, actor="ada") as client:
        first = await client.submit(sleeper(1), user="bob")
        second = await client.submit(sleeper(1), user="bob")
        assert await client.position(first.job_id) == 0
        assert await client.position(second.job_id) == 1
        assert await client.change_priority(second.job_id, "high") == "normal"
        assert await client.position(second.job_id) == 0
        assert await client.pause_queue("default", "tea")
        assert not await client.pause_queue("default", "lunch")
        [queue] = await client.queues()
        assert (queue.waiting, queue.paused_by, queue.pause_reason) == (2, "ada", "lunch")
        assert queue.oldest_s < 60
        assert await client.resume_queue("default")
        with pytest.raises(QueueUnknown):
            await client.pause_queue("nowhere")
        await client.set_limit("running", "queue", "default", 0)
        assert [limit.number for limit in await client.limits()] == [0]
        assert await client.remove_limit("running", "queue", "default")
        assert not await client.remove_limit("running", "queue", "default")
        await client.cancel(first.job_id)
        assert await client.position(first.job_id) is None


async def test_the_oldest_job_is_the_one_that_waits_for_longest(server: OwnServer) -> None:
    async with Client.connect(server.url) as client:
        await client.submit(sleeper(1))

        async def is_older() -> bool:
            [queue] = await client.queues()
            return queue.oldest_s > 0.3

        await eventually(is_older)
        await client.submit(sleeper(1))
        [queue] = await client.queues()
        assert queue.oldest_s > 0.3
