"""The readers of the stream: their lag, the jobs that they hold, and what to do with those."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from starlette.responses import Response

from everfold.projector.subscribing import admin
from everfold.projector.subscribing.status import (
    HeldJob,
    SubscriptionStatus,
    SubscriptionSummary,
    description_of,
    held_jobs,
    subscription_status,
    subscription_summary,
    subscriptions,
)
from everfold.projector.subscribing.subscription import Description
from everfold.streams.leases.acts import note_act
from everfold.web.bodies import json_answer, read_json
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, acting, check_sees_all, name_of, read_optional
from everfold.web.query import Query

PARKED = Parameter(name="parked", kind=bool, told="Only jobs that wait for an operator.")
HELD_LIMIT = Parameter(name="limit", kind=int, least=1, most=1_000, told="The most jobs: 100.")


class Subscriptions(Struct, frozen=True):
    """The subscriptions, by name."""

    subscriptions: Sequence[SubscriptionSummary]


class SubscriptionDetail(Struct, frozen=True):
    """A subscription by partition."""

    subscription: str
    about: Description
    partitions: Sequence[SubscriptionStatus]


class HeldJobs(Struct, frozen=True):
    """Jobs that a subscription holds, the oldest event first."""

    jobs: Sequence[HeldJob]
    held: int
    """How many there are."""


class RetryHeld(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The held job whose event is delivered again; without one, all parked jobs."""

    job_id: str | None = None


class SkipHeld(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The held job whose event is not delivered."""

    job_id: str


class ChangedHeld(Struct, frozen=True, kw_only=True):
    """What goes on as soon as a consumer runs."""

    subscription: str
    jobs: int
    """How many jobs were changed."""


async def list_subscriptions(call: Call) -> Response:
    """List the subscriptions."""
    check_sees_all(call.caller)
    Query(call.request, ())
    log = call.gateway.everfold.log
    found = [await subscription_summary(log, name) for name in await subscriptions(log)]
    return json_answer(Subscriptions(found))


async def get_subscription(call: Call) -> Response:
    """Show a subscription by partition."""
    check_sees_all(call.caller)
    Query(call.request, ())
    log, name = call.gateway.everfold.log, name_of(call, "subscription")
    about = await description_of(log, name)
    return json_answer(SubscriptionDetail(name, about, await subscription_status(log, name)))


async def list_held(call: Call) -> Response:
    """List the jobs that a subscription holds."""
    check_sees_all(call.caller)
    query = Query(call.request, (PARKED, HELD_LIMIT))
    log, name = call.gateway.everfold.log, name_of(call, "subscription")
    await description_of(log, name)
    found = await held_jobs(log, name, only_parked=query.flag("parked"))
    return json_answer(HeldJobs(found[: query.number("limit", 100)], len(found)))


async def retry(call: Call) -> Response:
    """Deliver the event of a held job again now, or those of all parked jobs."""
    Query(call.request, ())
    log, name = acting(call).log, name_of(call, "subscription")
    given = await read_optional(call, RetryHeld)
    await description_of(log, name)
    await note_act(log, "retry_held", name, given.job_id or "all parked jobs")
    if given.job_id is None:
        return json_answer(ChangedHeld(subscription=name, jobs=await admin.retry_all(log, name)))
    await admin.retry(log, name, given.job_id)
    return json_answer(ChangedHeld(subscription=name, jobs=1))


async def skip(call: Call) -> Response:
    """Do not deliver the event that a job is held at."""
    Query(call.request, ())
    log, name = acting(call).log, name_of(call, "subscription")
    given = await read_json(call, SkipHeld)
    await description_of(log, name)
    await note_act(log, "skip_held", name, given.job_id)
    await admin.skip(log, name, given.job_id)
    return json_answer(ChangedHeld(subscription=name, jobs=1))


SUBSCRIPTIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/subscriptions", answer=list_subscriptions,
        name="list_subscriptions", role="reader", answers={200: Subscriptions},
        summary="List who reads the stream, with lag and held jobs.",
    ),
    Operation(
        method="GET", path=f"{UNDER}/subscriptions/{{subscription}}", answer=get_subscription,
        name="get_subscription", role="reader", answers={200: SubscriptionDetail},
        summary="Show a subscription by partition.",
    ),
    Operation(
        method="GET", path=f"{UNDER}/subscriptions/{{subscription}}/held", answer=list_held,
        name="list_held_jobs", role="reader", answers={200: HeldJobs},
        summary="List the jobs that a subscription holds, the oldest event first.",
        parameters=(PARKED, HELD_LIMIT),
    ),
    Operation(
        method="POST", path=f"{UNDER}/subscriptions/{{subscription}}/retry", answer=retry,
        name="retry_held_jobs", role="operator", body=RetryHeld, is_body_optional=True,
        answers={200: ChangedHeld},
        summary="Deliver the event of a held job again now, or those of all parked jobs.",
    ),
    Operation(
        method="POST", path=f"{UNDER}/subscriptions/{{subscription}}/skip", answer=skip,
        name="skip_held_job", role="operator", body=SkipHeld, answers={200: ChangedHeld},
        summary="Do not deliver the event that a job is held at; go on with the one after it.",
    ),
)  # fmt: skip
