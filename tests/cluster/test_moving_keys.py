"""While a slot moves key by key, a script that needs a key which has gone writes nothing.

Rule: as for other faults, each script is called in every state of script_states.py; each key of its
slot is away once, and once none is: then the keys that it would make are missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from everfold.embedded.engines import Engine
from everfold.streams.appending.log import Log
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.script import assemble
from tests.streams.appending.append_states import PARTITIONS
from tests.streams.scripts.test_scripts_fail_clean import SCRIPTS, SHARED, STATES
from tests.support.groups.cluster import Cluster, cluster
from tests.support.groups.moving_slot import MovingSlot
from tests.support.servers import client
from tests.support.trouble.script_faults import Call, recorded_calls, send

pytestmark = [pytest.mark.anyio, pytest.mark.server]

ONE_SERVER = {"submit_many"}
"""What is called for the layout that one server has, and never on a cluster."""

WRITING = [
    script
    for script in SCRIPTS
    if "flags=no-writes" not in script.read_text() and script.stem not in ONE_SERVER
]


@pytest.fixture(scope="module")
def three(engine: Engine) -> Iterator[Cluster]:
    with cluster(engine, 3, 0, appendonly="no") as made:
        yield made


@pytest.mark.parametrize("script", WRITING, ids=lambda script: script.stem)
async def test_a_script_writes_nothing_where_a_key_has_gone(three: Cluster, script: Path) -> None:
    source, complaints = assemble(script.stem, (script.parent, SHARED)), list[str]()
    # On a cluster no call is about several partitions.
    for state in [one for one in STATES[script.stem] if one not in PARTITIONS]:
        call = await called(three, source, state)
        slot = MovingSlot(three, call.keys[0])
        touched = slot.touched(call)
        for away in (*call.before, None):
            complaint = moved(slot, call, touched, away)
            complaints += [f"{state.__name__}: {complaint}"] if complaint else []
        slot.restore(call)
        slot.close()
    assert complaints == []


async def called(three: Cluster, source: str, state: object) -> Call:
    """Return the last call of a script in a state, with what its slot held before."""
    found: list[Call] = []
    for node in three.nodes:
        node.ask("FLUSHALL", "SYNC")
    async with Log.open(three.url, namespace="x", partitions=1) as log:
        log.retry_for_s = 0.0
        recorders = [recorded_calls(client(node.url), source) for node in three.nodes]
        with recorders[0] as a, recorders[1] as b, recorders[2] as c:
            await state(log)  # type: ignore[operator]
        found = [a[-1], b[-1], c[-1]]
    slot = MovingSlot(three, found[0].keys[0])
    call = found[three.nodes.index(slot.source)]
    slot.close()
    return call


def moved(slot: MovingSlot, call: Call, touched: set[bytes], away: bytes | None) -> str | None:
    """Return what a call does wrong while one of its keys has gone; None for nothing."""
    slot.restore(call)
    before = slot.left()
    slot.begin(*([away] if away else ()))
    reply, after = slot.run(call), slot.left()
    gone = {away} if away else set()
    changed = sorted(key for key in {*before, *after} - gone if before.get(key) != after.get(key))
    if isinstance(reply, RedisError):
        return f"{away!r} is away: {reply} after it wrote {changed}" if changed else None
    if changed and away in touched:
        return f"{away!r} is away: it wrote {changed} nevertheless"
    return None


# The check itself.


async def test_a_script_that_writes_before_it_looks_is_found(three: Cluster) -> None:
    slot = MovingSlot(three, Keyspace("x", 1, ("x:0.0",)).log(0))
    source = "#!lua\nredis.call('SET', KEYS[1], 1) return redis.call('GET', '{x:0.0}:other')"
    send(slot.at_source, "SET", "{x:0.0}:other", "1")
    send(slot.at_source, "SET", "{x:0.0}:log", "0")
    dumps = {
        key: (-1, send(slot.at_source, "DUMP", key)) for key in (b"{x:0.0}:other", b"{x:0.0}:log")
    }
    call = Call(source=source, keys=["{x:0.0}:log"], arguments=[], before=dumps)  # type: ignore[arg-type]
    complaint = moved(slot, call, slot.touched(call), b"{x:0.0}:other")
    assert "after it wrote" in (complaint or "")
    slot.restore(call)
    slot.close()
