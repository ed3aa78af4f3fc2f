"""What `everfold doctor` says of how primaries are found, and of what lies on each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import cast

from everfold.diagnosis.finding import Finding
from everfold.streams.appending.log import Log
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import EverfoldError, Unavailable
from everfold.streams.nodes.address import parse_address
from everfold.streams.nodes.slots import slot_of
from everfold.streams.redis.redis_errors import command

UNEVEN = 1.5
"""The fullest primary may have so many times the partitions of the emptiest."""

MOVES_SHOWN = 8

NOT_SERVED = "their jobs stand still, and nothing of them can be looked at"
SERVE = "bring their node back, or wait for its failover; CLUSTER ADDSLOTS gives slots to another"

MOVES = ("cluster|migrateslots", "cluster|migration")
"""The commands by which Valkey 9 and Redis 8.4 move a slot at once."""


async def layout_check(log: Log) -> AsyncIterator[Finding]:
    """Yield a finding for each thing. Raises a leaf of Unavailable."""
    address = parse_address(log.url)
    if address.kind == "sentinel":
        hosts = quantity(len(address.endpoints), "sentinel")
        yield Finding("failover", f"{hosts} say where the primary of {address.service!r} is")
    elif address.kind == "server" and (watchers := await _sentinels(log)):
        advice = "write redis+sentinel://HOST:26379/SERVICE: this address may stay at the old one"
        yield Finding("failover", f"watched by {quantity(watchers, 'sentinel')}", advice)
    places = _places(log)
    yield _partitions(log, places)
    if (without := log.keys.partitions - len(places)) > 0:
        yield _without_node(log, places, without)
    if len(log.redis.primaries()) > 1:
        yield await _moves(log)


def _places(log: Log) -> dict[int, tuple[int, str]]:
    """Return partition -> its slot, and the node that has it, of those that a node has."""
    found = dict[int, tuple[int, str]]()
    for partition in range(log.keys.partitions):
        key = log.keys.log(partition)
        with suppress(Unavailable):
            found[partition] = slot_of(key), log.redis.node_of(key)
    return found


def _without_node(log: Log, places: Mapping[int, tuple[int, str]], count: int) -> Finding:
    """Name the partitions that nobody can read or write now."""
    found = [partition for partition in range(log.keys.partitions) if partition not in places]
    slots = {partition: slot_of(log.keys.log(partition)) for partition in found[:MOVES_SHOWN]}
    shown = ", ".join(f"{partition} (slot {slot})" for partition, slot in slots.items())
    more = ", and so on" if count > MOVES_SHOWN else ""
    return Finding(
        f"{quantity(count, 'partition')} without a node", f"{shown}{more}: {NOT_SERVED}", SERVE
    )


def _partitions(log: Log, placed: Mapping[int, tuple[int, str]]) -> Finding:
    """Judge how evenly the partitions lie on the primaries."""
    keys, places = log.keys, list(placed.values())
    counts = Counter(node for _, node in places)
    found = f"{keys.partitions} in namespace {keys.namespace!r}"
    if len(log.redis.primaries()) < 2:
        return Finding("partitions", found)
    each = [counts.get(one.name, 0) for one in log.redis.primaries()]
    shown = " / ".join(str(count) for count in sorted(each, reverse=True))
    is_even = len(places) < keys.partitions or max(each) <= UNEVEN * min(each)
    moves = [] if is_even else moves_to_even(places, [one.name for one in log.redis.primaries()])
    listed = "; ".join(f"slot {slot} to {node}" for slot, node in moves[:MOVES_SHOWN])
    more = ", and so on" if len(moves) > MOVES_SHOWN else ""
    advice = f"the fullest primary bounds them all: move {listed}{more}" if moves else ""
    return Finding("partitions", f"{found}, {shown} on {len(each)} primaries", advice)


def moves_to_even(places: Sequence[tuple[int, str]], nodes: Sequence[str]) -> list[tuple[int, str]]:
    """Return which slots to move, and to which node, so that no node has more than one partition
    beyond any other; the fewest moves. `places` has the slot and the node of each partition."""
    having: dict[str, list[int]] = {node: [] for node in nodes}
    for slot, node in places:
        having.setdefault(node, []).append(slot)
    found = list[tuple[int, str]]()
    while True:
        fullest, emptiest = max(having, key=_size(having)), min(having, key=_size(having))
        if len(having[fullest]) - len(having[emptiest]) < 2:
            return found
        slot = having[fullest].pop()
        having[emptiest].append(slot)
        found.append((slot, emptiest))


def _size(having: Mapping[str, Sequence[int]]) -> Callable[[str], int]:
    return lambda node: len(having[node])


async def _moves(log: Log) -> Finding:
    """Say whether a slot can be moved at once."""
    try:
        rows = cast("list[object]", await command(log.redis, "COMMAND INFO", *MOVES))
    except EverfoldError:
        return Finding("moves of slots", "cannot be seen: the server refuses COMMAND")
    if any(rows):
        return Finding("moves of slots", "at once: its partition stands still for some 50 ms")
    return Finding("moves of slots", "key by key: its partition stands still for about a second")


async def _sentinels(log: Log) -> int:
    """Return how many sentinels have a connection to the server, 0 where that cannot be seen."""
    try:
        text = cast("bytes", await command(log.redis, "CLIENT LIST"))
    except EverfoldError:
        return 0
    names = (word for word in text.split() if word.startswith(b"name=sentinel-"))
    return len({name.split(b"-")[1] for name in names})
