"""What the log keeps of an attempt: the exception, its traceback, the nodes that ran or did not."""

from __future__ import annotations

import pytest

from everfold.streams.events.event import Retried
from everfold.streams.reading.reader import job_events
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack, sleeper

pytestmark = pytest.mark.anyio


async def test_a_failure_keeps_exception_traceback_and_nodes_and_the_command_shows_them(
    stack: Stack, start_program: StartProgram
) -> None:
    await stack.runner(await stack.comfy())
    given = {"image": ["1", 0], "message": "boom", "seconds": 0.1}
    graph = {**sleeper(0.1), "2": {"class_type": "JTRaise", "inputs": given}}
    job = await stack.ended((await stack.log.submit(graph)).job_id)
    assert job.error is not None
    assert (job.error.exception_type, job.executed, job.cached) == ("RuntimeError", ("1",), ())
    assert job.error.traceback
    assert "fault_nodes.py" in job.error.traceback
    names = {"REDIS_URL": stack.redis_url, "EVERFOLD_NAMESPACE": stack.log.keys.namespace}
    shown = start_program("-m", "everfold", "jobs", "show", job.job_id, environ=names)
    await shown.line("fault_nodes.py", within_s=20)


async def test_a_success_keeps_which_nodes_were_executed_and_which_were_cached(
    stack: Stack,
) -> None:
    await stack.runner(await stack.comfy())
    graph = sleeper(0.2)
    first = await stack.until((await stack.log.submit(graph)).job_id, "succeeded")
    assert (first.executed, first.cached) == (("1", "2", "3"), ())
    again = await stack.until((await stack.log.submit(graph)).job_id, "succeeded")
    assert (again.executed, sorted(again.cached)) == ((), ["1", "2", "3"])


async def test_an_attempt_that_is_retried_keeps_them_too(stack: Stack) -> None:
    await stack.runner(await stack.comfy())
    graph = {**sleeper(0.1), "2": {"class_type": "JTOom", "inputs": {"image": ["1", 0]}}}
    job_id = (await stack.log.submit(graph)).job_id
    await stack.until_event(job_id, "retried")
    events = [record.event for record in await job_events(stack.log, job_id)]
    [retried] = [event for event in events if isinstance(event, Retried)]
    assert (retried.failure.executed, retried.failure.code) == (("1",), "out_of_memory")
