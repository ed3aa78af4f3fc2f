"""A server comes back without its newest writes, at every point of an attempt that goes on."""

from __future__ import annotations

import json

import anyio
import pytest

from everfold.client import Everfold
from everfold.projector.job.fold import fold
from everfold.projector.job.job import Job
from everfold.projector.reading.verify import verify
from everfold.projector.reading.watching import Watcher
from everfold.runner.backend import Accepted
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig
from everfold.runner.decisions.attempts import attempt_of, forgotten
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import lost_writes
from everfold.streams.appending.memory.remembered import Remembered
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.event import Event, Policy, Rewound, Submitting
from everfold.streams.events.record import NO_ENTRY, Recorded
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.support.programs.stack import Stack, sleeper

pytestmark = pytest.mark.anyio


async def take_back(log: Log, job_id: str, seq: int) -> None:
    """Make the server forget a job's events after `seq`, in one step, as if it had lost them."""
    events = await job_events(log, job_id)
    last = next((record.entry_id for record in events if record.seq == seq), NO_ENTRY)
    keys = (
        log.keys.log(log.keys.partition_of(job_id)),
        log.keys.head(job_id),
        log.keys.job(job_id),
    )
    script = """
        for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[2], '+')) do
          if entry[2][2] == ARGV[3] then redis.call('XDEL', KEYS[1], entry[1]) end
        end
        redis.call('HSET', KEYS[2], 'seq', ARGV[1], 'last', ARGV[2])
        redis.call('DEL', KEYS[3])
    """
    assert await command(log.redis, "HEXISTS", keys[1], "last")
    await command(log.redis, "EVAL", script, 3, *keys, seq, last, job_id)


@pytest.mark.parametrize("kept", ["claimed", "submitting", "queued", "started", "progressed"])
async def test_a_living_attempt_is_told_again_before_anything_else(stack: Stack, kept: str) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=2.5)
    await stack.until_progress(job_id, 0.2)
    before = await stack.job(job_id)
    await take_back(stack.log, job_id, (await stack.event_types(job_id)).index(kept) + 1)
    job = await stack.until(job_id, "succeeded")
    told = (await stack.event_types(job_id))[2:]
    assert (job.attempt, job.prompt_id, job.backend) == (1, before.prompt_id, comfy.url)
    assert job.rewound == 1
    assert job.outputs
    assert await comfy.executions() == [before.prompt_id]
    after = told[told.index("rewound") + 1 :]
    again = {"claimed": ["submitting", "queued"], "submitting": ["queued"]}.get(kept, [])
    assert after[: len(again)] == again, told
    assert job_id in [found.job_id for found in await lost_writes(stack.log)]
    assert (await verify(stack.log)).differences == []


async def test_a_cancel_after_the_loss_stops_the_attempt_that_the_log_forgot(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit_deaf(seconds=3, policy=Policy())
    await stack.until(job_id, "running")
    await take_back(stack.log, job_id, 2)
    await Everfold(stack.log, Watcher(stack.log)).cancel(job_id, "enough")
    job = await stack.until(job_id, "canceled")
    assert (job.attempt, job.reason) == (1, "enough")
    assert "submitting" in (await stack.event_types(job_id))[2:]
    assert await comfy.running() == []


def _next(job: Job, number: int, event: Event) -> Recorded:
    return Recorded(
        entry_id=f"{9_000_000_000_000 + number}-0",
        job_id=job.job_id,
        seq=job.seq + number,
        epoch=job.epoch,
        previous="",
        event=event,
        payload=b"",
    )


def states(records: list[Recorded]) -> list[Job]:
    return [fold(records[:count]) for count in range(1, len(records) + 1)]


async def test_every_prefix_of_a_history_is_told_up_to_what_was_seen(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = await stack.submit(seconds=1.0)
    await stack.until(job_id, "succeeded")
    records = (await job_events(stack.log, job_id))[:-1]
    for seen in states(records):
        for found in states(records[: seen.seq]):
            told = found
            for number, event in enumerate(
                (Rewound(seen_seq=1, found_seq=1), *forgotten(seen, found)), 1
            ):
                told = fold(
                    [
                        Recorded(
                            entry_id=f"{9_000_000_000_000 + number}-0",
                            job_id=job_id,
                            seq=found.seq + number,
                            epoch=found.epoch,
                            previous="",
                            event=event,
                            payload=b"",
                        )
                    ],
                    told,
                )
            assert told.may_be_alive == seen.may_be_alive
            if seen.may_be_alive:
                names = ("attempt", "attempt_state", "backend", "boot", "server", "prompt_id")
                assert [getattr(told, name) for name in names] == [
                    getattr(seen, name) for name in names
                ]
                assert (told.client_id, told.number) == (seen.client_id, seen.number)
                assert told.outputs == seen.outputs
                assert bool(told.started_at_ms) == bool(seen.started_at_ms)


async def test_what_a_runner_remembers_beyond_the_log_is_asked_for_before_a_prompt_is_sent(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    job_id = await stack.submit(seconds=0.5)
    backend, name = ComfyBackend(comfy.url), "r1"
    async with (
        Log.open(stack.redis_url, namespace=stack.log.keys.namespace, actor=name) as log,
        anyio.create_task_group() as tasks,
    ):
        sent = attempt_of(job_id, 1, log.generation)
        workflow = json.dumps(sleeper(0.5)).encode()
        assert isinstance(await backend.submit(sent, workflow, lambda: True), Accepted)
        intent = Submitting(
            id="intent", actor=name, attempt=1, backend=comfy.url, boot="b", server="s",
            prompt_id=sent.prompt_id, client_id=sent.client_id,
        )  # fmt: skip
        log.memory.note(Remembered(job_id, "intent", 3, "1-1", log.encoded(intent), steady_s()))
        tasks.start_soon(Runner(log, [backend], RunnerConfig(name=name)).run)
        await stack.until(job_id, "succeeded")
        tasks.cancel_scope.cancel()
    assert await comfy.executions() == [sent.prompt_id]
