"""Looks at all of a namespace, and says of each thing what was found and what to change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from everfold.diagnosis.asset_check import asset_findings
from everfold.diagnosis.finding import Finding
from everfold.diagnosis.held_jobs import keeping_backends
from everfold.diagnosis.log_check import log_check
from everfold.diagnosis.queue_check import queue_findings
from everfold.diagnosis.server_changes import lost_findings
from everfold.diagnosis.server_check import server_check
from everfold.durations import span_text as span
from everfold.erasing.key_check import check_keys
from everfold.projector.folding.parking import blocked_jobs
from everfold.projector.reading.lag import lag
from everfold.projector.subscribing.status import subscription_status, subscriptions
from everfold.streams.appending.log import Log
from everfold.streams.border.addresses import masked_address
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import (
    OUTAGES,
    CorruptLog,
    EverfoldError,
    Refused,
    ServerError,
    Unknown,
)
from everfold.streams.leases.registry import RunnerEntry, connected, registered_runners, silence_s
from everfold.streams.redis.keys import connection_name
from everfold.streams.redis.namespace import read_importing
from everfold.streams.redis.server import server_time_ms

Look = Callable[[Log], AsyncIterator[Finding]]

PROJECTION_LAG_LIMIT_S = 5.0
SUBSCRIPTION_LAG_LIMIT_S = 60.0

SILENT_LIMIT_S = 10.0
"""A runner writes its heartbeat every 2 s."""

RESTORE = "another program wrote there: restore it, or delete what is named"

AWAY = "bring back what does not answer, then look again"

WRONG_DATA = (CorruptLog, Unknown, Refused, ServerError, ValueError, ArithmeticError, LookupError)
"""What reading a key raises that another program has written."""


async def examine(
    log: Log, before: Mapping[str, Look], after: Mapping[str, Look]
) -> AsyncIterator[Finding]:
    """Yield what is found of the namespace; `before` comes before what is said of the backends,
    and `after` at the end. What cannot be read is a finding, and so is what needs a node of a
    cluster that is away or lets nobody in. Raises one of OUTAGES where no server answers."""
    looks: dict[str, Look] = {
        "server": server_check,
        "import": _import,
        "projection": _projection,
        "unreadable jobs": _blocked,
        "log": log_check,
        "subscriptions": _subscriptions,
        "runners": _runners,
        "queues": queue_findings,
        **before,
        "kept backends": _kept_backends,
        "assets": asset_findings,
        "sealing": _sealing,
        "lost writes": lost_findings,
        **after,
    }
    for what, look in looks.items():
        try:
            async for finding in look(log):
                yield finding
        except WRONG_DATA as error:
            # Whoever looks for what is wrong must not fall over it.
            yield Finding(what, f"cannot be read: {error}", RESTORE)
        except OUTAGES as error:
            if len(log.redis.primaries()) < 2:
                raise
            yield Finding(what, f"cannot be looked at: {error}", AWAY)


async def _import(log: Log) -> AsyncIterator[Finding]:
    if await read_importing(log.redis, log.keys):
        advice = "repeat `everfold archive import FILE` with the same file: it continues"
        yield Finding("import", "an import is not finished", advice)


async def _blocked(log: Log) -> AsyncIterator[Finding]:
    if blocked := await blocked_jobs(log):
        found = (
            f"{quantity(len(blocked), 'job')} that no runner here can read, such as {blocked[0]}"
        )
        advice = "upgrade the runners, or see `everfold projector parked ls`"
        yield Finding("unreadable jobs", found, advice)


async def _subscriptions(log: Log) -> AsyncIterator[Finding]:
    for name in await subscriptions(log):
        yield await _subscription(log, name)


async def _runners(log: Log) -> AsyncIterator[Finding]:
    entries, names = await registered_runners(log), await _connections(log)
    now_ms = await server_time_ms(log.redis)
    for entry in entries.values():
        yield _runner(entry, names, now_ms)


async def _kept_backends(log: Log) -> AsyncIterator[Finding]:
    for backend in await keeping_backends(log):
        name = backend.entry.title or masked_address(backend.entry.name)
        advice = f"mend it; or `everfold backends retire {name}` gives its jobs to others"
        if backend.why.startswith("retired"):
            advice = "`everfold jobs give-up JOB` frees one" if backend.job_ids else ""
        yield Finding(f"backend {name}", backend.found, advice)


async def _sealing(log: Log) -> AsyncIterator[Finding]:
    found = await check_keys(log)
    if found.unfinished:
        what = f"{quantity(found.unfinished, 'interrupted erasure')} of users"
        yield Finding("erasing", what, "`everfold audit acts` names them: repeat `everfold erase`")
    if found.users:
        cannot = f", {found.locked:,} of which cannot be opened here" if found.locked else ""
        advice = "set EVERFOLD_SEAL_KEY, with older keys behind the newest" if found.locked else ""
        yield Finding("sealing", f"{quantity(found.users, 'user')} with a key{cannot}", advice)


async def _projection(log: Log) -> AsyncIterator[Finding]:
    missing = set[int]()
    lags = await lag(log, missing=missing)
    lag_s, events = max(row.lag_s for row in lags), sum(row.lag_events for row in lags)
    parked, owners = sum(row.parked for row in lags), {row.owner for row in lags} - {""}
    found = (
        f"{quantity(events, 'event')} behind, {span(lag_s)}; {quantity(len(owners), 'projector')}"
    )
    advice = ""
    if missing:
        found += f"; no answer from {quantity(len(missing), 'partition')}"
    if not all(row.owner for row in lags):
        advice = "start `everfold projector` (or `everfold up`)"
    elif parked:
        found += f"; {quantity(parked, 'job')} parked"
        advice = "see `everfold projector parked ls`"
    elif lag_s > PROJECTION_LAG_LIMIT_S:
        advice = "start another `everfold projector`"
    yield Finding("projection", found, advice)


async def _subscription(log: Log, name: str) -> Finding:
    rows = await subscription_status(log, name)
    events, lag_s = sum(row.lag_events for row in rows), max(row.lag_s for row in rows)
    consumers = {row.owner for row in rows} - {""}
    parked, waiting = sum(row.parked for row in rows), sum(row.waiting for row in rows)
    found = (
        f"{quantity(events, 'event')} behind, {span(lag_s)}; {quantity(len(consumers), 'consumer')}"
    )
    if waiting:
        found += f"; {quantity(waiting, 'job')} to be tried again"
    advice = ""
    if parked:
        found += f"; {quantity(parked, 'job')} parked"
        advice = f"see `everfold subscriptions parked {name}`"
    elif not consumers:
        advice = f"start it again, or remove it: `everfold subscriptions rm {name}`"
    elif lag_s > SUBSCRIPTION_LAG_LIMIT_S:
        advice = f"start another consumer; see `everfold subscriptions show {name}`"
    return Finding(f"subscription {name}", found, advice)


async def _connections(log: Log) -> frozenset[str] | None:
    try:
        return await connected(log)
    except EverfoldError:
        return None  # CLIENT LIST is not allowed here


def _runner(entry: RunnerEntry, names: frozenset[str] | None, now_ms: int) -> Finding:
    what = f"runner {entry.runner}"
    serves = f"serves {', '.join(entry.queues)} on {', '.join(entry.backends)}"
    if not entry.is_named:
        return Finding(what, f"{serves}; its connections have no name, so its death shows late")
    if names is not None and connection_name(entry.runner) not in names:
        return Finding(what, "no connection", "it has died; another runner takes its jobs over")
    silent_s = silence_s(entry.seen_ms, now_ms)
    if entry.seen_ms and silent_s > SILENT_LIMIT_S:
        found = f"it has written no heartbeat for {span(silent_s)}"
        advice = "it is cut off, or its writes, password or rights are refused: see its log"
        return Finding(what, found, advice)
    return Finding(what, serves)
