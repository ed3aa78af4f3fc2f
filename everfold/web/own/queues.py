"""Queues: what waits and runs in each, pausing one, limits, and what an autoscaler asks."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from starlette.responses import Response

from everfold.queue_operations import QueueStatus
from everfold.streams.errors import QueueUnknown
from everfold.streams.queues.limits import EVERY, SCOPES, Limit
from everfold.web.bodies import json_answer, read_json
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, Reason, acting, name_of, read_optional
from everfold.web.query import Query

WHAT = Parameter(name="what", is_required=True, choices=tuple(SCOPES), told="What is limited.")
SCOPE = Parameter(
    name="scope",
    is_required=True,
    choices=("queue", "user", "kind"),
    told="For what: queue, user or kind.",
)
NAME = Parameter(
    name="name", is_required=True, told="Its name, or * for each without a limit of its own."
)
LIMIT_OF = (WHAT, SCOPE, NAME)


class Queues(Struct, frozen=True):
    """Every queue that ever held a job, or that a runner serves, by name."""

    queues: Sequence[QueueStatus]


class QueuePause(Struct, frozen=True, kw_only=True):
    """Whether a queue is paused now, and whether it was before."""

    queue: str
    is_paused: bool
    was_paused: bool


class Limits(Struct, frozen=True):
    """The limits of the namespace, in order."""

    limits: Sequence[Limit]


class RemovedLimit(Struct, frozen=True, kw_only=True):
    """A limit that there is no more."""

    what: str
    scope: str
    name: str
    was_there: bool


class Scale(Struct, frozen=True, kw_only=True):
    """How much work a queue has: what an autoscaler decides by."""

    queue: str
    waiting: int
    """Jobs that any runner could take now."""
    running: int
    """Jobs that runners hold."""
    jobs: int
    """Both together."""
    oldest_s: float
    """How long ago the oldest of the jobs that stand first was submitted, 0 without any."""
    backlog_seconds: float | None = None
    """Seconds until what waits has begun: what such jobs took before, over the servers of now, or
    over one where there is none. 0 where nothing waits, None while nobody knows."""
    servers: int
    """ComfyUI servers that take its jobs now."""
    runners: int
    """Runners that serve it and do not drain."""
    is_paused: bool


async def list_queues(call: Call) -> Response:
    """List the queues."""
    Query(call.request, ())
    return json_answer(Queues(await call.gateway.everfold.queues()))


async def pause(call: Call) -> Response:
    """Let no runner take jobs of a queue."""
    Query(call.request, ())
    name, given = name_of(call, "queue"), await read_optional(call, Reason)
    was_running = await acting(call).pause_queue(name, given.reason)
    return json_answer(QueuePause(queue=name, is_paused=True, was_paused=not was_running))


async def resume(call: Call) -> Response:
    """Let runners take jobs of a queue again."""
    Query(call.request, ())
    name = name_of(call, "queue")
    was_paused = await acting(call).resume_queue(name)
    return json_answer(QueuePause(queue=name, is_paused=False, was_paused=was_paused))


async def list_limits(call: Call) -> Response:
    """List the limits; those of other users only to a caller that sees all."""
    Query(call.request, ())
    shown = [
        one
        for one in await call.gateway.everfold.limits()
        if one.scope != "user" or one.name == EVERY or call.caller.sees(one.name)
    ]
    return json_answer(Limits(shown))


async def set_limit(call: Call) -> Response:
    """Set a limit."""
    Query(call.request, ())
    given = await read_json(call, Limit)
    await acting(call).set_limit(given.what, given.scope, given.name, given.number)
    return json_answer(given)


async def remove_limit(call: Call) -> Response:
    """Remove a limit."""
    query = Query(call.request, LIMIT_OF)
    what, scope, name = (query.text(one.name) or "" for one in LIMIT_OF)
    was_there = await acting(call).remove_limit(what, scope, name)  # type: ignore[arg-type]
    return json_answer(RemovedLimit(what=what, scope=scope, name=name, was_there=was_there))


async def scale(call: Call) -> Response:
    """Say how much work a queue has."""
    Query(call.request, ())
    name = name_of(call, "queue")
    found = await call.gateway.sampled.queue(name)
    if found is None:
        raise QueueUnknown(name, tuple((await call.gateway.sampled.queues()).by_name))
    waiting, running = sum(found.waiting), sum(found.leased)
    told = Scale(
        queue=name,
        waiting=waiting,
        running=running,
        jobs=waiting + running,
        oldest_s=found.oldest_s,
        backlog_seconds=found.backlog_s,
        servers=found.servers,
        runners=len(found.runners),
        is_paused=found.is_paused,
    )
    return json_answer(told)


QUEUES: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/queues", answer=list_queues, name="list_queues",
        role="reader", summary="List the queues with what waits and runs.", answers={200: Queues},
    ),
    Operation(
        method="POST", path=f"{UNDER}/queues/{{queue}}/pause", answer=pause, name="pause_queue",
        role="operator", body=Reason, is_body_optional=True, answers={200: QueuePause},
        summary="Let no runner take jobs of a queue; what runs goes on.",
    ),
    Operation(
        method="POST", path=f"{UNDER}/queues/{{queue}}/resume", answer=resume,
        name="resume_queue", role="operator", answers={200: QueuePause},
        summary="Let runners take jobs of a queue again.",
    ),
    Operation(
        method="GET", path=f"{UNDER}/limits", answer=list_limits, name="list_limits",
        role="reader", summary="List the limits of the namespace.", answers={200: Limits},
    ),
    Operation(
        method="PUT", path=f"{UNDER}/limits", answer=set_limit, name="set_limit",
        role="operator", body=Limit, answers={200: Limit},
        summary="Set a limit, which counts from the next claim or submit on.",
    ),
    Operation(
        method="DELETE", path=f"{UNDER}/limits", answer=remove_limit, name="remove_limit",
        role="operator", parameters=LIMIT_OF, answers={200: RemovedLimit},
        summary="Remove a limit.",
    ),
    Operation(
        method="GET", path="/scale/{queue}", answer=scale, name="scale", role="reader",
        summary="Say how much work a queue has, for an autoscaler such as KEDA.",
        answers={200: Scale},
    ),
)  # fmt: skip
