"""One sound ComfyUI among a hundred strange ones under one runner: its jobs do not notice.

Rule: each strange server answers one of its routes with one entry of the table, and is otherwise
sound, so that jobs get as far as that route.
"""

from __future__ import annotations

from functools import partial

import anyio
import httpx
import msgspec
import pytest

from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Failed, Submitting, Succeeded
from everfold.streams.leases.backends import backend_entries
from everfold.streams.reading.reader import job_events
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.stack import PRODUCT_LEASES, Stack
from tests.support.trouble.strange_server import CASES, Report
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

HEALTHY_JOBS, SLEEP_S, JOBS = 2, 0.2, 15
LATE_S = 60.0
"""A job that sleeps for SLEEP_S has ended by then, on a busy machine too."""
ROUND_S, WITHIN_S = 8.0, 100.0
REACHED = {"GET /queue", "POST /prompt"}
"""Routes of which strange answers must have been met."""
BROKEN = ("job_run_broken", "backend_adapter_raised", "Traceback")


@pytest.mark.long
async def test_strange_answers_cost_no_job_of_a_sound_backend(
    stack: Stack, start_program: StartProgram
) -> None:
    assert len(CASES) > 100
    comfy = await stack.comfy()
    strange = start_program("-m", "tests.support.trouble.strange_server")
    url = (await strange.line("listening on", within_s=20)).split()[-1]
    names = [comfy.url, *(f"{url}/{number}" for number in range(len(CASES)))]
    runner = await stack.runner(backends=names, leases=PRODUCT_LEASES)
    jobs = list[str]()
    with anyio.fail_after(WITHIN_S):
        while not (await _have_run(stack, jobs, comfy.url) and await _asked(url) >= REACHED):
            # A round may go to the strange ones alone, while the sound one looks busy.
            jobs += [await stack.submit(SLEEP_S) for _ in range(JOBS)]
            with anyio.move_on_after(ROUND_S):
                await eventually(partial(_have_run, stack, jobs, comfy.url), WITHIN_S)
    runs = await comfy.executions()
    report = await _report(url)
    assert len(set(runs)) == len(runs) >= HEALTHY_JOBS
    assert set(report.posted.values()) <= {1}
    assert not set(report.posted) & set(runs)
    _check_runner(runner)
    for job_id in jobs:
        await _check_events(stack, job_id)
    whys = {entry.name: entry.why for entry in await backend_entries(stack.log)}
    mute = [name for name, case in zip(names[1:], CASES, strict=True) if case.route == "GET /queue"]
    assert all(whys[name] for name in mute if name in whys)


async def _report(url: str) -> Report:
    async with httpx.AsyncClient() as client:
        return msgspec.json.decode((await client.get(f"{url}/report")).content, type=Report)


async def _asked(url: str) -> set[str]:
    """Return the routes whose strange answers the runner has met."""
    return {CASES[number].route for number in (await _report(url)).asked}


async def _have_run(stack: Stack, jobs: list[str], url: str) -> bool:
    """Return whether enough jobs have succeeded there; none of them was late."""
    count = 0
    for job_id in jobs:
        records = await job_events(stack.log, job_id)
        sent_ms = [
            record.time_ms
            for record in records
            if isinstance(record.event, Submitting) and record.event.backend == url
        ]
        if sent_ms and isinstance(records[-1].event, Succeeded):
            assert records[-1].time_ms - sent_ms[-1] < LATE_S * 1000
            count += 1
    return count >= HEALTHY_JOBS


def _check_runner(runner: Program) -> None:
    assert runner.exit_code is None
    assert not [line for line in runner.error_lines if any(word in line for word in BROKEN)]


async def _check_events(stack: Stack, job_id: str) -> None:
    """No runner has died, so that no job is poisoned, and none was taken over."""
    for record in await job_events(stack.log, job_id):
        assert not isinstance(record.event, Unreadable)
        if isinstance(record.event, Failed):
            assert record.event.failure.code != "poisoned", await stack.event_text(job_id)
    assert "recovered" not in await stack.event_types(job_id)
