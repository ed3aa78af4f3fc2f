"""Keeps in Redis what nodes cost, for all runners of a namespace.

Rule: it ends and delays no job. In trouble nothing is known. What was seen is written later, all at
once, and forgotten where that fails. The hash has SLOTS fields and no more: a cost that needs the
field of another one replaces it. What is read may be anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

import anyio
import msgspec
from msgspec import Struct, structs

from everfold.runner import loose_json
from everfold.runner.costs.node_cost import NodeCost, is_sane, learned, scaled
from everfold.runner.costs.node_kinds import NodeKind, read_kinds
from everfold.streams.appending.log import Log
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import EverfoldError
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.redis.redis_errors import command

KEPT_S = 30 * 86_400
"""How long the hash outlives the last job."""
SLOTS = 8_192
READ_WITHIN_S = 1.0
"""Nothing is known of a server that answers later."""
FRESH_S = 10.0
"""How long what was read is not read again."""
WRITE_EVERY_S = 0.2
MOST_WAITING = 256
"""Runs whose costs wait to be written; beyond it the oldest are forgotten."""
WHOLE_CLASS = 1.0
"""Megapixels that the cost of a class is of."""


class CostEntry(Struct, frozen=True, array_like=True):
    """A field of the hash."""

    digest: str
    before_s: float
    step_s: float
    steps: float
    after_s: float
    count: int


_read_entry = decoder(CostEntry)

Seen = Mapping[str, NodeCost]
"""Node of a graph -> what it took."""


class CostStore:
    """What one runner reads and learns of costs; `run` writes what `learn` was told."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[bytes, tuple[NodeCost | None, float]] = {}
        """Digest -> its cost, and when it was read."""
        self._waiting: list[tuple[bytes, Seen]] = []
        self._news = anyio.Event()

    async def expected(self, workflow: bytes) -> dict[str, NodeCost]:
        """Return what the nodes of a graph (JSON) are expected to cost, those that are known."""
        kinds = _kinds(workflow)
        digests = {kind.same_class for kind in kinds.values()}
        if not self._are_new(digests):
            digests |= {kind.same_work for kind in kinds.values()}
        if due := self._due(digests):
            with suppress(EverfoldError, TimeoutError):
                async with asyncio.timeout(READ_WITHIN_S):
                    await self._read(due)
        costs = ((name, self._expected(kind)) for name, kind in kinds.items())
        return {name: cost for name, cost in costs if cost is not None}

    def learn(self, workflow: bytes, seen: Seen) -> None:
        """Take what the nodes of a graph took, to be written later."""
        if seen:
            self._waiting = [*self._waiting, (workflow, seen)][-MOST_WAITING:]
            self._news.set()

    async def run(self) -> None:
        """Write what was learned, until cancelled."""
        while True:
            await self._news.wait()
            waiting, self._waiting, self._news = self._waiting, [], anyio.Event()
            with suppress(EverfoldError):
                await self._write(waiting)
            await anyio.sleep(WRITE_EVERY_S)

    def _expected(self, kind: NodeKind) -> NodeCost | None:
        of_work, _ = self._known.get(kind.same_work, (None, 0.0))
        of_class, _ = self._known.get(kind.same_class, (None, 0.0))
        if of_work is not None or of_class is None:
            return of_work
        cost = scaled(of_class, kind.megapixels or WHOLE_CLASS)
        return structs.replace(cost, is_same_work=False)

    def _are_new(self, classes: Collection[bytes]) -> bool:
        """Say whether nothing is known of any of these: then nothing is of what they work on, for
        both are learned together, and each job of a new kind of work need not ask for that."""
        is_known = any(self._known.get(digest, (None, 0.0))[0] for digest in classes)
        return not is_known and not self._due(classes)

    def _due(self, digests: Iterable[bytes]) -> list[bytes]:
        now_s = steady_s()
        return [digest for digest in digests if not self._is_fresh(digest, now_s)]

    async def _read(self, due: Collection[bytes]) -> None:
        now_s, fields = steady_s(), [_field(digest) for digest in due]
        found = await command(self._log.redis, "HMGET", self._log.keys.node_costs(), *fields)
        if len(self._known) > 2 * SLOTS:
            self._known.clear()
        values = found if isinstance(found, list) else []
        for digest, value in zip(due, values, strict=False):
            self._known[digest] = (_decoded(digest, value), now_s)

    def _is_fresh(self, digest: bytes, now_s: float) -> bool:
        known = self._known.get(digest)
        return known is not None and 0 <= now_s - known[1] < FRESH_S

    async def _write(self, waiting: Iterable[tuple[bytes, Seen]]) -> None:
        lessons = [
            (digest, cost)
            for workflow, seen in waiting
            for name, kind in _kinds(workflow).items()
            if name in seen
            for digest, cost in _lessons(kind, seen[name])
        ]
        if not lessons:
            return
        await self._read({digest for digest, _ in lessons})
        now_s = steady_s()
        for digest, cost in lessons:
            known, _ = self._known.get(digest, (None, 0.0))
            self._known[digest] = (learned(known, cost), now_s)
        new = {digest: self._known[digest][0] for digest, _ in lessons}
        fields = [
            word
            for digest, cost in new.items()
            if cost is not None
            for word in (_field(digest), _encoded(digest, cost))
        ]
        key = self._log.keys.node_costs()
        await command(self._log.redis, "HSET", key, *fields)
        await command(self._log.redis, "PEXPIRE", key, KEPT_S * 1000)


def _kinds(workflow: bytes) -> dict[str, NodeKind]:
    try:
        return read_kinds(loose_json.as_object(loose_json.read(workflow)))
    except ValueError:
        return {}


def _lessons(kind: NodeKind, seen: NodeCost) -> Iterable[tuple[bytes, NodeCost]]:
    yield kind.same_work, seen
    yield kind.same_class, scaled(seen, WHOLE_CLASS / (kind.megapixels or WHOLE_CLASS))


def _field(digest: bytes) -> str:
    return str(int.from_bytes(digest[:4], "big") % SLOTS)


def _encoded(digest: bytes, cost: NodeCost) -> bytes:
    times = (cost.before_s, cost.step_s, cost.steps, cost.after_s)
    return msgspec.json.encode((digest.hex(), *(round(time, 5) for time in times), cost.count))


def _decoded(digest: bytes, value: object) -> NodeCost | None:
    """Return the cost; None where the field holds another one's, or anything else."""
    try:
        entry = _read_entry(value if isinstance(value, bytes) else b"")
    except NotJson:
        return None
    cost = NodeCost(
        before_s=entry.before_s,
        step_s=entry.step_s,
        steps=entry.steps,
        after_s=entry.after_s,
        count=entry.count,
    )
    return cost if entry.digest == digest.hex() and is_sane(cost) else None
