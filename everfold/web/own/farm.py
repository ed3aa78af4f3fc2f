"""The farm: its servers and runners, taking them out of service, and what operators did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from starlette.responses import Response

from everfold.operations import BackendStatus, RunnerStatus
from everfold.streams.leases.acts import Act
from everfold.web.bodies import json_answer, read_json
from everfold.web.operation import Call, Operation, Parameter
from everfold.web.own.answers import UNDER, acting, check_sees_all, name_of
from everfold.web.own.selecting import A_TIME, moment_ms
from everfold.web.query import Query

SINCE = Parameter(name="since", told=f"Only acts from then on: {A_TIME}.")
ACTS_AT_ONCE = Parameter(
    name="limit", kind=int, least=1, most=1_000, told="The most acts, the newest: 50."
)


class Backends(Struct, frozen=True):
    """The ComfyUI servers that a runner has seen in the last 7 days, by name."""

    backends: Sequence[BackendStatus]


class BackendName(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend: its address, what people call it, or the identity of its server."""

    backend: str


class BackendService(Struct, frozen=True, kw_only=True):
    """Whether a backend takes new jobs."""

    backend: str
    is_retired: bool = False
    is_drained: bool = False
    was_out_of_service: bool | None = None
    """Of one that was returned: whether it had been retired or drained."""


class Runners(Struct, frozen=True):
    """The registered runners, by name."""

    runners: Sequence[RunnerStatus]


class DrainedRunner(Struct, frozen=True, kw_only=True):
    """A runner that was asked to drain."""

    runner: str
    is_asked: bool = True


class Acts(Struct, frozen=True):
    """What operators did, the oldest act first."""

    acts: Sequence[Act]


async def list_backends(call: Call) -> Response:
    """List the backends."""
    check_sees_all(call.caller)
    Query(call.request, ())
    return json_answer(Backends(await call.gateway.everfold.backends()))


async def retire(call: Call) -> Response:
    """Take a backend out of service."""
    Query(call.request, ())
    name = (await read_json(call, BackendName)).backend
    await acting(call).retire_backend(name)
    return json_answer(BackendService(backend=name, is_retired=True))


async def drain(call: Call) -> Response:
    """Let a backend take no new jobs."""
    Query(call.request, ())
    name = (await read_json(call, BackendName)).backend
    await acting(call).drain_backend(name)
    return json_answer(BackendService(backend=name, is_drained=True))


async def return_(call: Call) -> Response:
    """Put a backend into service again."""
    Query(call.request, ())
    name = (await read_json(call, BackendName)).backend
    was_out = await acting(call).return_backend(name)
    return json_answer(BackendService(backend=name, was_out_of_service=was_out))


async def list_runners(call: Call) -> Response:
    """List the runners."""
    check_sees_all(call.caller)
    Query(call.request, ())
    return json_answer(Runners(await call.gateway.everfold.runners()))


async def drain_runner(call: Call) -> Response:
    """Ask a runner to drain."""
    Query(call.request, ())
    name = name_of(call, "runner")
    await acting(call).drain_runner(name)
    return json_answer(DrainedRunner(runner=name), 202)


async def list_acts(call: Call) -> Response:
    """List what operators did."""
    check_sees_all(call.caller)
    query = Query(call.request, (SINCE, ACTS_AT_ONCE))
    since_ms = moment_ms("since", query.text("since"))
    since = None if since_ms is None else _EPOCH + timedelta(milliseconds=since_ms)
    found = await call.gateway.everfold.acts(since)
    return json_answer(Acts(found[-query.number("limit", 50) :]))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FARM: tuple[Operation, ...] = (
    Operation(
        method="GET", path=f"{UNDER}/backends", answer=list_backends, name="list_backends",
        role="reader", summary="List the ComfyUI servers as the runners see them.",
        answers={200: Backends},
    ),
    Operation(
        method="POST", path=f"{UNDER}/backends/retire", answer=retire, name="retire_backend",
        role="operator", body=BackendName, answers={200: BackendService},
        summary="Take a backend out of service; jobs that wait there are taken back.",
    ),
    Operation(
        method="POST", path=f"{UNDER}/backends/drain", answer=drain, name="drain_backend",
        role="operator", body=BackendName, answers={200: BackendService},
        summary="Let a backend take no new jobs; what runs or waits there goes on.",
    ),
    Operation(
        method="POST", path=f"{UNDER}/backends/return", answer=return_, name="return_backend",
        role="operator", body=BackendName, answers={200: BackendService},
        summary="Put a retired or drained backend into service again.",
    ),
    Operation(
        method="GET", path=f"{UNDER}/runners", answer=list_runners, name="list_runners",
        role="reader", summary="List the registered runners.", answers={200: Runners},
    ),
    Operation(
        method="POST", path=f"{UNDER}/runners/{{runner}}/drain", answer=drain_runner,
        name="drain_runner", role="operator", answers={202: DrainedRunner},
        summary="Ask a runner to drain, as SIGTERM does.",
    ),
    Operation(
        method="GET", path=f"{UNDER}/acts", answer=list_acts, name="list_acts", role="reader",
        parameters=(SINCE, ACTS_AT_ONCE), answers={200: Acts},
        summary="List what operators did, and who, the oldest act first.",
    ),
)  # fmt: skip
