"""What the log says of a run's progress is the share of its time that has passed."""

from __future__ import annotations

import pytest

from everfold.streams.events.event import Progressed
from everfold.streams.reading.reader import job_events
from everfold.streams.redis.redis_errors import command
from tests.support.programs.stack import Stack
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


def unlike(color: int) -> dict[str, object]:
    """Two samplers, of which one takes ten times as long per step, and a tail that says nothing."""
    image = {"width": 16, "height": 16, "batch_size": 1, "color": color}
    fast = {"image": ["1", 0], "seconds": 0.4, "steps": 8, "preview": False, "seed": color}
    slow = {"image": ["2", 0], "seconds": 3.0, "steps": 6, "preview": False, "seed": color}
    deaf = {"image": ["3", 0], "seconds": 3.0, "seed": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "JTSleepProgress", "inputs": fast},
        "3": {"class_type": "JTSleepProgress", "inputs": slow},
        "4": {"class_type": "JTSleepDeaf", "inputs": deaf},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "p"}},
    }


async def told(stack: Stack, color: int) -> tuple[float, list[Progressed]]:
    """Run the graph; return the mean error of the progress in its log, and that progress."""
    job_id = (await stack.log.submit(unlike(color))).job_id
    job = await stack.until(job_id, "succeeded")
    records = [r for r in await job_events(stack.log, job_id) if isinstance(r.event, Progressed)]
    took_ms = job.ended_at_ms - job.started_at_ms
    passed = [(record.time_ms - job.started_at_ms) / took_ms for record in records]
    events = [record.event for record in records if isinstance(record.event, Progressed)]
    off = [abs(e.value - share) for e, share in zip(events, passed, strict=True)]
    return sum(off) / len(off), events


async def test_the_second_run_of_a_kind_is_measured_by_the_first_one(stack: Stack) -> None:
    await stack.runner(await stack.comfy())
    first, _ = await told(stack, 1)

    async def is_written() -> bool:
        size = await command(stack.log.redis, "HLEN", stack.log.keys.node_costs())
        return isinstance(size, int) and size >= 8

    await eventually(is_written)
    second, events = await told(stack, 2)
    assert first > 0.15
    assert second <= 0.08
    values = [event.value for event in events]
    assert values == sorted(values)
    assert values[-1] <= 0.99
    assert len(events) <= 2 * 6.4 + 4
    in_tail = [event for event in events if event.node == "4"]
    assert len(in_tail) >= 4
    left = [event.left_s for event in in_tail if isinstance(event.left_s, int)]
    assert left[0] in (3, 4)
    assert min(left) >= 1
