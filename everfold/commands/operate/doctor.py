"""`everfold doctor`: is everything as it should be, and what to change if not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from msgspec import Struct
from rich.table import Table

from everfold.client import Everfold
from everfold.commands.operate.doctor_log import examine_log
from everfold.commands.operate.doctor_subscriptions import examine_subscriptions
from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import console, emit
from everfold.projector.reading.lag import Lag, lag
from everfold.runner.backend import Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.streams.appending.log import Log
from everfold.streams.errors import EverfoldError
from everfold.streams.leases.registry import RunnerEntry, connected, registered_runners
from everfold.streams.redis.keys import PRIORITIES, connection_name
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import server_info, server_version
from everfold.streams.retention.lost_writes import lost_writes

BEHIND_LIMIT_S = 5.0


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    found: str
    advice: str = ""
    """What to change; empty when all is well."""


async def doctor(*, session: Session = DEFAULT) -> int:
    """Look at server, namespace, projector, runners, queues and backends.

    Exit code 1 when something must be changed; the last column says what.
    """
    async with session.open() as everfold:
        findings = [finding async for finding in _examine(everfold)]
    if session.json:
        for finding in findings:
            emit(finding)
    else:
        console.print(_table(findings))
    return 1 if any(finding.advice for finding in findings) else 0


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "what", "found", "change"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        mark = "[red]✗[/red]" if finding.advice else "[green]✓[/green]"
        table.add_row(mark, finding.what, finding.found, finding.advice)
    return table


async def _examine(everfold: Everfold) -> AsyncIterator[Finding]:
    log = everfold.log
    yield Finding("server", f"{await server_version(log.redis)} at {log.url}")
    yield _persistence(await server_info(log.redis, "persistence"))
    yield await _eviction(log)
    yield Finding("partitions", f"{log.keys.partitions} in namespace {log.keys.namespace!r}")
    yield _projection(await lag(log))
    for told in await examine_log(log):
        yield Finding(*told)
    for told in await examine_subscriptions(log):
        yield Finding(*told)
    entries = await registered_runners(log)
    names = await _connections(log)
    for entry in entries.values():
        yield _runner(entry, names)
    async for finding in _queues(log, list(entries.values())):
        yield finding
    for url in sorted({url for entry in entries.values() for url in entry.backends}):
        yield await _backend(url)
    for rewind in await lost_writes(log):
        yield Finding(
            "lost writes",
            f"job {rewind.job_id}: seen up to event {rewind.seen_seq}, "
            f"the server had kept {rewind.found_seq}",
        )


def _persistence(facts: dict[str, str]) -> Finding:
    if facts.get("aof_enabled") == "1":
        state = facts.get("aof_last_write_status", "ok")
        return Finding("persistence", f"AOF, last write {state}", "" if state == "ok" else "disk?")
    advice = "set `appendonly yes`: without it a restart of the server loses jobs"
    return Finding("persistence", "no AOF", advice)


async def _eviction(log: Log) -> Finding:
    facts = await server_info(log.redis, "memory")
    policy, limit = facts.get("maxmemory_policy", "?"), facts.get("maxmemory_human", "?")
    used = facts.get("used_memory_human", "?")
    found = f"{used} used, limit {limit if limit != '0B' else 'none'}, policy {policy}"
    if policy == "noeviction" or facts.get("maxmemory") == "0":
        return Finding("memory", found)
    return Finding("memory", found, "set `maxmemory-policy noeviction`: it may evict jobs")


def _projection(lags: list[Lag]) -> Finding:
    behind_s = max(found.lag_s for found in lags)
    behind, parked = sum(found.lag_events for found in lags), sum(f.parked for f in lags)
    owners = {found.owner for found in lags if found.owner}
    unowned = sum(1 for found in lags if not found.owner)
    text = f"{behind} event(s) behind, {behind_s:.1f} s; {len(owners)} projector(s)"
    if unowned:
        return Finding("projection", text, "start `everfold projector` (or `everfold up`)")
    if parked:
        advice = "see `everfold projector parked ls`"
        return Finding("projection", f"{text}; {parked} job(s) parked", advice)
    late = behind_s > BEHIND_LIMIT_S
    return Finding("projection", text, "start another `everfold projector`" if late else "")


async def _connections(log: Log) -> frozenset[str] | None:
    try:
        return await connected(log)
    except EverfoldError:
        return None  # CLIENT LIST is not allowed here


def _runner(entry: RunnerEntry, names: frozenset[str] | None) -> Finding:
    what = f"runner {entry.runner}"
    serves = f"serves {', '.join(entry.queues)} on {', '.join(entry.backends)}"
    if names is not None and connection_name(entry.runner) not in names:
        return Finding(what, "no connection", "it has died; another runner takes its jobs over")
    return Finding(what, serves)


async def _queues(log: Log, entries: list[RunnerEntry]) -> AsyncIterator[Finding]:
    served = {queue for entry in entries for queue in entry.queues}
    waiting: dict[str, list[int]] = {}
    for partition in range(log.keys.partitions):
        names = cast(
            "list[bytes]", await command(log.redis, "SMEMBERS", log.keys.queues(partition))
        )
        for name in names:
            counts = waiting.setdefault(name.decode(), [0, 0])
            for priority in PRIORITIES:
                key = log.keys.dispatch(partition, name.decode(), priority)
                counts[0] += cast("int", await command(log.redis, "XLEN", key))
                counts[1] += await _leased(log, key)
    for queue, (open_jobs, leased) in sorted(waiting.items()):
        found = f"{open_jobs - leased} waiting, {leased} in hand"
        lost = open_jobs and queue not in served
        advice = f"nobody serves it: start `everfold runner --queue {queue}`" if lost else ""
        yield Finding(f"queue {queue}", found, advice)


async def _leased(log: Log, key: str) -> int:
    try:
        reply = cast("list[int]", await command(log.redis, "XPENDING", key, "runners"))
    except EverfoldError:
        return 0  # no runner has looked yet
    return reply[0]


async def _backend(url: str) -> Finding:
    backend = ComfyBackend(url, timeout_s=3.0)
    try:
        load = await backend.load()
    finally:
        await backend.aclose()
    if isinstance(load, Unreachable):
        return Finding(f"comfyui {url}", load.why, "start it, or correct its address")
    if load.pending and not load.running:
        found = f"{load.pending} waiting, none running"
        return Finding(f"comfyui {url}", found, "if this stays so its worker is dead: restart it")
    return Finding(f"comfyui {url}", f"{load.running} running, {load.pending} waiting")
