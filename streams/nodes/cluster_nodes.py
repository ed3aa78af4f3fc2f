"""The nodes of a cluster: who has which slot now, asked anew when something does not fit.

Rule: whoever was ever heard of may be asked, but one that failed is asked last. Nobody asks more
often than once a second, and nobody waits longer than ASK_S for one round.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping

import redis.exceptions as theirs

from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.connections.change import ChangeCount
from everfold.streams.connections.connection import says_replica
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.connections.replies import shown
from everfold.streams.errors import (
    ClientClosed,
    EverfoldError,
    ServerRefusesAccess,
    ServerUnreachable,
)
from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.nodes_table import NODES, slot_rows
from everfold.streams.nodes.slots import SLOTS
from everfold.streams.nodes.topology import (
    FOREIGN_S,
    QUESTION,
    Redirect,
    Topology,
    is_foreign,
    newest,
    read_redirect,
    read_topology,
)

logger = get_logger("everfold.nodes")

ASK_S = 2.0
"""Longest wait for the answers of one round."""
LATECOMERS_S = 0.2
"""How much longer than for the first answer, for one that has heard more."""
ASKED_AT_ONCE = 5
PAUSE_S = 1.0
"""Shortest time between two rounds."""
LOOK_EVERY_S = 5.0
"""Longest time between two rounds: who only waits at a node does not see that it is frozen."""
NODES_LIMIT = 200
"""Nodes that are remembered."""

_FAILED = (theirs.ConnectionError, theirs.TimeoutError, theirs.ClusterError, OSError)


class NodeRedis(PipeliningRedis):
    """The client of one node."""

    endpoint: Endpoint


class ClusterNodes:
    """`make` returns the client of a node. To be used in one event loop; end it with `aclose`."""

    def __init__(
        self,
        seeds: tuple[Endpoint, ...],
        make: Callable[[Endpoint], NodeRedis],
        changes: ChangeCount,
    ) -> None:
        self._seeds, self._make, self._changes = seeds, make, changes
        self._clients: dict[Endpoint, NodeRedis] = {}
        self._is_closed = False
        self._opened_before = 0
        self._known: dict[Endpoint, None] = dict.fromkeys(seeds)
        self._suspects = set[Endpoint]()
        self._owners: list[Endpoint | None] = [None] * SLOTS
        self._primaries: frozenset[Endpoint] = frozenset()
        self._followers: Mapping[Endpoint, int] = {}
        self._used = set[int]()
        self._ids = frozenset[bytes]()
        self._taken_at_s = float("-inf")
        self._round: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._asked_at_s = float("-inf")
        self._why: Exception | None = None

    async def ready(self) -> None:
        """Return once it is known who has which slot. Raises what the nodes answered instead."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._look_again())
        if not self._primaries:
            await self.refresh()
        if not self._primaries:
            raise self._why or ServerUnreachable("no node of the cluster answers: check REDIS_URL")

    def of(self, slot: int) -> NodeRedis:
        """Return the client of a slot's primary. Raises ServerUnreachable where it has none."""
        owner = self._owners[slot]
        if owner is None:
            self._wanted.set()
            raise ServerUnreachable(
                f"no node of the cluster serves slot {slot} now: wait for its failover, or give "
                "the slot to a node"
            )
        self._used.add(slot)
        return self.client(owner)

    def replicas_of(self, slot: int) -> int:
        """Return how many replicas a slot's primary has; of a primary that is new, as many as the
        others at most."""
        owner, most = self._owners[slot], max(self._followers.values(), default=0)
        return self._followers.get(owner, most) if owner is not None else most

    def client(self, at: Endpoint) -> NodeRedis:
        """Return the client of one node, made when it is first asked for."""
        if at not in self._clients:
            if self._is_closed:
                raise ClientClosed
            self._remember(at)
            made = self._make(at)
            made.endpoint, made.told = at, lambda error: self._hear(at, error)
            self._clients[at] = made
        return self._clients[at]

    def primaries(self) -> list[NodeRedis]:
        """Return a client of each primary that has a slot."""
        return [self.client(one) for one in sorted(self._primaries)]

    def redirect(self, error: Exception, asked: NodeRedis) -> Redirect | None:
        """Return where a node sends a command, None where its error says something else."""
        return _redirect(error, asked.endpoint)

    def opened(self) -> int:
        """Return how often a connection to any node was opened."""
        each = (client.connections_opened() for client in self._clients.values())
        return self._opened_before + sum(each)

    async def refresh(self) -> None:
        """Ask who has which slot now; callers at the same time share one round."""
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._ask_around())
        await asyncio.shield(self._round)

    async def aclose(self) -> None:
        """Close all connections; no other is opened."""
        self._is_closed = True
        await end_all([task for task in (self._watch, self._round) if task is not None])
        await asyncio.gather(*(one.aclose() for one in self._clients.values()))

    def _hear(self, at: Endpoint, error: Exception) -> None:
        """Note what an error of a node says of the cluster."""
        found = _redirect(error, at)
        if found is not None and found.is_moved:
            self._note_moved(found)
        elif isinstance(error, _FAILED) or says_replica(error):
            self._suspects.add(at)
            self._wanted.set()

    def _note_moved(self, found: Redirect) -> None:
        if self._owners[found.slot] == found.to:
            return
        self._remember(found.to)
        self._owners[found.slot] = found.to
        self._primaries |= {found.to}
        self._wanted.set()
        self._changes.rise()

    def _remember(self, at: Endpoint) -> None:
        """Keep a node among those that may be asked; the oldest that has no slot is forgotten."""
        self._known.setdefault(at, None)
        if len(self._known) <= NODES_LIMIT:
            return
        kept = {*self._seeds, *self._primaries, at}
        old = [one for one in self._known if one not in kept]
        for one in old[: len(self._known) - NODES_LIMIT]:
            del self._known[one]
            self._suspects.discard(one)
            if (client := self._clients.pop(one, None)) is not None:
                self._opened_before += client.connections_opened()
                client.cut()

    async def _look_again(self) -> None:
        """Ask when something did not fit, and now and then."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wanted.wait()
            self._wanted.clear()
            await self.refresh()

    async def _ask_around(self) -> None:
        pause_s = self._asked_at_s + PAUSE_S - time.monotonic()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        self._asked_at_s = time.monotonic()
        asked = self._candidates()
        found = [one for one in await _answers([self._view(at) for at in asked]) if one is not None]
        if own := self._of_this_cluster(found):
            self._take(newest(own))

    def _of_this_cluster(self, views: list[Topology]) -> list[Topology]:
        """Leave out what nodes say that are in another cluster by now, whatever its epoch is."""
        own = [one for one in views if not is_foreign(one.ids, self._ids)]
        if own or not views or time.monotonic() - self._taken_at_s < FOREIGN_S:
            return own
        logger.warning("cluster_replaced after_s=%s", FOREIGN_S)
        return views

    def _candidates(self) -> list[Endpoint]:
        """Return whom to ask: first who has not failed, and of these primaries."""
        each = list(self._known)
        random.shuffle(each)
        each.sort(key=lambda one: (one in self._suspects, one not in self._primaries))
        return each[:ASKED_AT_ONCE]

    async def _view(self, at: Endpoint) -> Topology | None:
        """Return what one node says, None where it does not."""
        try:
            async with asyncio.timeout(ASK_S):
                answers = await self._answers_of(at)
        except (theirs.RedisError, EverfoldError, OSError) as error:
            self._suspects.add(at)
            self._why = error
            logger.debug("node_silent node=%s error=%r", at, error)
            return None
        if isinstance(answers[0], Exception):
            self._why = _why_unknown(answers[0])
        found = read_topology(answers, at)
        (self._suspects.discard if found is not None else self._suspects.add)(at)
        return found

    async def _answers_of(self, at: Endpoint) -> list[object]:
        """Ask a node; where it refuses CLUSTER SLOTS, for the whole table of nodes."""
        slots, info = await self.client(at).together(QUESTION)
        if isinstance(slots, theirs.ResponseError):
            [table] = await self.client(at).together((NODES,))
            slots = slot_rows(table) or slots
        return [slots, info]

    def _take(self, found: Topology) -> None:
        """Take over a view; who has lost what somebody uses is asked nothing more."""
        is_changed = found.primaries != self._primaries or any(
            found.owners[slot] != self._owners[slot] for slot in self._used
        )
        left = self._primaries - found.primaries
        self._owners, self._primaries = list(found.owners), found.primaries
        self._followers, self._ids = found.followers, found.ids
        self._taken_at_s = time.monotonic()
        for one in (*found.primaries, *found.replicas):
            self._remember(one)
        for one in left:
            if one in self._clients:
                self._clients[one].cut()
        if is_changed:
            shown = ", ".join(map(str, sorted(found.primaries)))
            logger.info("cluster_changed primaries=%s epoch=%s", shown, found.epoch)
            self._changes.rise()


def _why_unknown(error: Exception) -> Exception:
    """Return what is to be done where a node does not say who has which slot."""
    is_refused = isinstance(error, theirs.NoPermissionError)
    if not is_refused and not str(error).removeprefix("ERR ").startswith("unknown "):
        return error
    return ServerRefusesAccess(
        "the server does not say where the slots of the cluster are: let its user send CLUSTER "
        f"SLOTS or CLUSTER NODES, and do not rename CLUSTER (server: {shown(str(error))})"
    )


def _redirect(error: Exception, asked: Endpoint) -> Redirect | None:
    if isinstance(error, theirs.AskError):  # MovedError is one of these
        code = "MOVED" if isinstance(error, theirs.MovedError) else "ASK"
        return read_redirect(f"{code} {error}", asked)
    return read_redirect(str(error), asked) if isinstance(error, theirs.ResponseError) else None


async def _answers(asking: list[Awaitable[Topology | None]]) -> list[Topology | None]:
    """Return the answers that come in time: the first, and those that come soon after it."""
    tasks = {asyncio.ensure_future(one) for one in asking}
    waiting, found, until_s = set(tasks), list[Topology | None](), time.monotonic() + ASK_S
    try:
        while waiting and (left_s := until_s - time.monotonic()) > 0:
            done, waiting = await asyncio.wait(
                waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
            )
            found += [task.result() for task in done]
            if any(found):
                until_s = min(until_s, time.monotonic() + LATECOMERS_S)
    finally:
        for task in tasks:
            task.cancel()
    return found
