"""Finds the keys of a namespace that hold what Everfold never writes there.

Rule: it reads, and walks no keyspace: keys of jobs are left to `everfold audit verify`. What cannot
be read is passed over by every process, so it shows here alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import cast

from msgspec import Struct

from everfold.erasing.erasure import Erasure
from everfold.projector.folding.parking import Parked, Skip
from everfold.projector.folding.run_times import RunTime
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.subscription import Description, group_name
from everfold.runner.costs.cost_store import CostEntry
from everfold.streams.appending.graph_assets import read_graph_assets
from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.lost_writes import LostWrites
from everfold.streams.assets.asset_store import read_asset
from everfold.streams.assets.upload_names import read_named
from everfold.streams.connections.replies import shown
from everfold.streams.errors import EverfoldError
from everfold.streams.events.json_text import decoder, read_json
from everfold.streams.events.stored_fields import is_entry_id, stored_number
from everfold.streams.leases.backends import Abandoned, BackendEntry, Mark
from everfold.streams.leases.drains import DrainWish
from everfold.streams.leases.registry import ProcessEntry, RunnerEntry
from everfold.streams.queues.queue_control import Pause
from everfold.streams.reading.readers import Reader
from everfold.streams.redis.keys import PRIORITIES, Keyspace
from everfold.streams.redis.pages import hash_pages
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.server_watch import ServerRun
from everfold.streams.sealing.user_keys import UserKey
from everfold.streams.user_files.user_files import read_times
from everfold.web.access.key import Key

PROJECTION_GROUP = "projection:"

NO_NEEDS = "-"
"""The line of jobs whose needs are not known."""

LINES_LIMIT = 1_000
"""Lines of waiting jobs that are looked at in each partition."""

Read = Callable[[bytes], object]
"""Reads one value. Raises ValueError for one that Everfold does not write."""


class Stored(Struct, frozen=True):
    """A key, and what it may hold."""

    key: str
    kind: str
    """Its type, as the server names it."""
    values: Read | None = None
    """Reads each value of a hash, where all are alike."""
    fields: Mapping[str, Read] = {}
    """Reads single values of a hash; others are not looked at."""


class WrongKey(Struct, frozen=True):
    """A key that another program has written to."""

    key: str
    found: str


def _number(text: bytes) -> None:
    if stored_number({b"": text}, b"") is None:
        raise ValueError("no whole number from 0 on")


def _limit(text: bytes) -> None:
    float(text)


def _change(text: bytes) -> None:
    _number(text.removeprefix(b"-"))


def _entry_id(text: bytes) -> None:
    if not is_entry_id(text):
        raise ValueError("no entry id")


LEASE = {"until_ms": _number, "checkpoint": _entry_id, "folded": _number}
DELIVERY = {
    "until_ms": _number,
    "checkpoint": _entry_id,
    "began": _entry_id,
    "delivered": _number,
    "failed": _number,
    "left_out": _number,
}
CLOCK = {"seen_ms": _number, "stepped_ms": _change, "unsure_to_ms": _number}
META = {"writes": _number, "min_reader": _number, "restarted_at_ms": _number}


async def wrong_keys(log: Log) -> AsyncIterator[WrongKey]:
    """Yield the keys of wrong types, and those with values that cannot be read.

    Raises a leaf of Unavailable.
    """
    expected = list(_of_namespace(log.keys))
    described = await _names(log, "HKEYS", log.keys.subscriptions())
    for partition in range(log.keys.partitions):
        expected += _of_partition(log.keys, partition)
        expected += await _named(log, partition, described)
    types = await commands(log.redis, [("TYPE", one.key) for one in expected])
    for one, found in zip(expected, types, strict=True):
        kind = cast("bytes", found).decode()
        if kind not in (one.kind, "none"):
            yield WrongKey(one.key, f"it is a {kind}, and must be a {one.kind}")
        elif kind == "hash" and (wrong := [text async for text in _unreadable(log, one)]):
            more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            yield WrongKey(one.key, f"{wrong[0]}{more}")


def _of_namespace(keys: Keyspace) -> Iterator[Stored]:
    yield Stored(keys.meta(), "hash", fields=META)
    for key, kind in (
        (keys.runners(), RunnerEntry),
        (keys.processes(), ProcessEntry),
        (keys.backends(), BackendEntry),
        (keys.retired(), Mark),
        (keys.abandoned(), Abandoned),
        (keys.given_up(), Mark),
        (keys.drains(), DrainWish),
        (keys.subscriptions(), Description),
        (keys.lost_writes(), LostWrites),
        (keys.servers(), ServerRun),
        (keys.paused(), Pause),
        (keys.user_keys(), UserKey),
        (keys.erasures(), Erasure),
        (keys.node_costs(), CostEntry),
        (keys.run_times(), RunTime),
    ):
        yield Stored(key, "hash", decoder(cast("type[object]", kind)))
    yield Stored(keys.user_files(""), "hash")
    yield Stored(keys.user_file_times(""), "hash", read_times)
    yield Stored(keys.user_settings(""), "hash", read_json)
    yield Stored(keys.limits(), "hash", _limit)
    yield Stored(keys.listening(), "string")
    yield Stored(keys.gateway_keys(), "hash", decoder(Key))
    yield Stored(keys.gateway_key_uses(), "hash", _number)
    yield Stored(keys.audit(), "stream")
    for ordered in (keys.projectors("jobs"), keys.hidden("")):
        yield Stored(ordered, "zset")


def _of_partition(keys: Keyspace, partition: int) -> Iterator[Stored]:
    yield Stored(keys.log(partition), "stream")
    yield Stored(keys.live(partition), "stream")
    yield Stored(keys.readers(partition), "hash", decoder(Reader))
    yield Stored(keys.trimmed(partition), "hash", fields={"to": _entry_id, "count": _number})
    yield Stored(keys.queues(partition), "set")
    for key_of in (keys.later, keys.blocked, keys.deadlines, keys.active, keys.ended):
        yield Stored(key_of(partition), "zset")
    for name in ("later", "deadlines", "blocked"):
        yield Stored(keys.unmoved(partition, name), "zset")
    yield Stored(keys.clock(partition), "hash", fields=CLOCK)
    yield Stored(keys.workflows(partition), "hash", _number)
    yield Stored(keys.skipped(partition), "hash", decoder(Skip))
    if keys.is_spread:
        yield Stored(keys.limits_at(partition), "hash", _limit)
        yield Stored(keys.paused_at(partition), "hash", decoder(Pause))
    yield from _of_assets(keys, partition)
    yield Stored(keys.parked(partition), "hash", decoder(Parked))
    yield Stored(keys.jobs(partition).index(), "zset")
    yield Stored(keys.jobs(partition).indexed(), "hash")
    yield Stored(keys.projector(partition), "hash", fields=LEASE)


def _of_assets(keys: Keyspace, partition: int) -> Iterator[Stored]:
    assets = keys.assets(partition)
    yield Stored(keys.graph_assets(partition), "hash", read_graph_assets)
    yield Stored(assets.records(), "hash", read_asset)
    for counted in (assets.owners(), assets.blobs(), assets.doomed()):
        yield Stored(counted, "hash", _number)
    yield Stored(assets.names(""), "hash", read_named)
    for ordered in (assets.owned(""), assets.expiry(), assets.unconfirmed()):
        yield Stored(ordered, "zset")


async def _named(log: Log, partition: int, described: list[str]) -> list[Stored]:
    """Return the keys of a partition that queues, subscriptions and projections give names to.

    `described` are the namespace's subscriptions.
    """
    keys, found = log.keys, list[Stored]()
    for queue in await _names(log, "SMEMBERS", keys.queues(partition)):
        if partition == 0 or keys.is_spread:
            found.append(Stored(keys.running(partition, "queue", queue), "set"))
            orders = [keys.order_at(partition, queue, priority) for priority in PRIORITIES]
            orders += [keys.order(queue, priority) for priority in PRIORITIES]
            found += [Stored(order, "zset") for order in dict.fromkeys(orders)]
        if partition == 0:
            limited = (f"{what} queue {queue}" for what in ("running", "waiting"))
            found += [Stored(keys.reserved(what), "zset") for what in limited]
        found.append(Stored(keys.waiting(partition, queue), "zset"))
        found.append(Stored(keys.lines(partition, queue), "zset"))
        lines = await _names(log, "ZRANGE", keys.lines(partition, queue), 0, LINES_LIMIT)
        for line in sorted({*lines, NO_NEEDS}):
            found.append(Stored(keys.line(partition, queue, line), "zset"))
        for priority in PRIORITIES:
            found.append(Stored(keys.dispatch(partition, queue, priority), "stream"))
    groups = await _groups(log, partition)
    start = group_name("")
    found_here = {group[len(start) :] for group in groups if group.startswith(start)}
    for name in sorted(found_here.union(described)):
        of_subscription = keys.subscription(partition, name)
        found.append(Stored(of_subscription.checkpoint(), "hash", fields=DELIVERY))
        found.append(Stored(of_subscription.held(), "hash", decoder(Held)))
    for group in groups:
        if group.startswith(PROJECTION_GROUP):
            states = keys.states(partition, group.removeprefix(PROJECTION_GROUP))
            found.append(Stored(states.projector(), "hash", fields=LEASE))
            found.append(Stored(states.parked(), "hash", decoder(Parked)))
            found.append(Stored(states.states(), "hash", read_json))
    return found


async def _names(log: Log, *ask: str | int) -> list[str]:
    """Return names as texts; none where the key has another type, which is named by itself."""
    try:
        found = cast("list[bytes]", await command(log.redis, *ask))
    except EverfoldError:
        return []
    return [name.decode() for name in found if name.isascii()]


async def _groups(log: Log, partition: int) -> list[str]:
    try:
        reply = await command(log.redis, "XINFO GROUPS", log.keys.log(partition))
    except EverfoldError:
        return []  # there is no log yet, or it is no stream
    rows = cast("list[list[bytes]]", reply)
    return [
        dict(zip(row[::2], row[1::2], strict=True))[b"name"].decode(errors="replace")
        for row in rows
    ]


async def _unreadable(log: Log, one: Stored) -> AsyncIterator[str]:
    async for page in hash_pages(log.redis, one.key):
        for field, text in page.items():
            name = field.decode(errors="replace")
            read = one.values or one.fields.get(name)
            try:
                if read is not None:
                    read(text)
                field.decode()
            except ValueError as error:
                yield f"its field {shown(name)!r} cannot be read: {shown(str(error))}"
