"""Where the primary of each key is, for the process that renews leases.

Rule: who asks waits for nobody: the answer is what is known. A thread of its own looks again every
LOOK_EVERY_S, and at once when something was found to be elsewhere. It waits for LOOK_WITHIN_S only,
and then asks the next one. Sentinels are asked all at once: one may know later than others.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from msgspec.structs import replace

from everfold.runner.renewal.messages import Place, Server
from everfold.runner.renewal.sentinels import named_primaries
from everfold.runner.renewal.server_connection import ErrorReply, ServerConnection
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.nodes.endpoint import Endpoint, endpoint
from everfold.streams.nodes.nodes_table import NODES, slot_rows
from everfold.streams.nodes.slots import slot_of
from everfold.streams.nodes.topology import FOREIGN_S, is_foreign, node_ids

LOOK_EVERY_S = 2.0
LOOK_WITHIN_S = 1.0
LOOK_LEAST_S = 0.2
"""Between two looks, however many errors ask for one."""

NODES_LIMIT = 1000

Slots = tuple[tuple[int, int, Endpoint], ...]
"""First and last slot of a range, in order, and its primary."""


class Directory:
    """The primaries of one server, one Sentinel service or one cluster."""

    def __init__(self, place: Place, name: str, on_change: Callable[[], None]) -> None:
        self._place, self._name, self._on_change = place, name, on_change
        self._asked = list(place.asked)
        self._wanted = threading.Event()
        self._slots: Slots = ()
        self._ids = frozenset[bytes]()
        self._taken_at_s = float("-inf")
        self.looked_at_s = float("-inf")
        """When the newest look began that found the primaries; of one server there is no look."""
        if place.kind == "server":
            self.looked_at_s = float("inf")
            self._slots = ((0, 16383, Endpoint(place.data.host, place.data.port)),)
        else:
            threading.Thread(target=self._look_for_ever, daemon=True).start()

    def primary_of(self, key: str) -> Endpoint | None:
        """Return the primary of a key, None while it is not known."""
        slots, slot = self._slots, slot_of(key)
        at = bisect_right(slots, slot, key=lambda part: part[0]) - 1
        return slots[at][2] if at >= 0 and slot <= slots[at][1] else None

    def primaries(self) -> set[Endpoint]:
        return {primary for _, _, primary in self._slots}

    def server(self, primary: Endpoint) -> Server:
        """Return how to connect to a primary."""
        data = self._place.data
        return data if data.path else replace(data, host=primary.host, port=primary.port)

    def look_again(self) -> None:
        """Something was not where it was thought to be."""
        self._wanted.set()

    def _look_for_ever(self) -> None:
        pause = threading.Event()
        while True:
            if self._wanted.is_set():  # what was told last is wrong, or not known there yet
                self._asked.append(self._asked.pop(0))
            self._wanted.clear()
            began_s = steady_s()
            found = self._ask_sentinels() if self._place.kind == "sentinel" else self._look()
            if found:
                self._take(found)
                self.looked_at_s = began_s
            pause.wait(LOOK_LEAST_S)
            self._wanted.wait(LOOK_EVERY_S - LOOK_LEAST_S)

    def _look(self) -> Slots:
        """Return what the first says that can be asked, and that knows it; nothing without one."""
        for asked in list(self._asked):
            try:
                found = self._ask(asked)
            except (OSError, ErrorReply, ValueError, TypeError, IndexError):
                found = ()
            self._asked.remove(asked)
            if found:
                self._asked.insert(0, asked)
                return found
            self._asked.append(asked)
        return ()

    def _take(self, found: Slots) -> None:
        if found != self._slots:
            self._slots = found
            self._note_nodes()
            self._on_change()

    def _ask(self, asked: Server) -> Slots:
        connection = ServerConnection(asked, self._name, LOOK_WITHIN_S)
        try:
            if self._slots and b"cluster_state:ok" not in _text(connection, "CLUSTER", "INFO"):
                return ()  # it is cut off, or a failover is under way
            rows = _rows(connection)
        finally:
            connection.close()
        found, ids = _slots(rows, asked.host), _ids(rows)
        if is_foreign(ids, self._ids) and steady_s() - self._taken_at_s < FOREIGN_S:
            return ()  # the node was given to another cluster
        self._ids, self._taken_at_s = ids, steady_s()
        return found

    def _ask_sentinels(self) -> Slots:
        """Return the newest primary that a Sentinel names and that says itself that it is one."""
        named = named_primaries(self._asked, self._place.service, self._name, LOOK_WITHIN_S)
        for primary in named:
            with suppress(OSError, ErrorReply, ValueError, TypeError, IndexError):
                if self._is_primary(primary):
                    return ((0, 16383, primary),)
        return ()

    def _is_primary(self, primary: Endpoint) -> bool:
        """Ask it itself: a Sentinel may know later than others of a failover."""
        connection = ServerConnection(self.server(primary), self._name, LOOK_WITHIN_S)
        try:
            return cast("list[bytes]", connection.ask("ROLE"))[0] == b"master"
        finally:
            connection.close()

    def _note_nodes(self) -> None:
        """Ask every primary of a cluster from now on: those of the address may go."""
        if self._place.kind == "cluster":
            known = {(one.host, one.port) for one in self._asked}
            new = [one for one in self.primaries() if (one.host, one.port) not in known]
            self._asked += [self.server(one) for one in new]
            del self._asked[NODES_LIMIT:]


def _text(connection: ServerConnection, *words: str) -> bytes:
    answer = connection.ask(*words)
    return answer if isinstance(answer, bytes) else b""


def _rows(connection: ServerConnection) -> object:
    try:
        return connection.ask("CLUSTER", "SLOTS")
    except ErrorReply:
        if not (rows := slot_rows(connection.ask(*NODES))):
            raise
        return rows


def _ids(rows: object) -> frozenset[bytes]:
    return frozenset[bytes]().union(*map(node_ids, cast("list[list[object]]", rows)))


def _slots(answer: object, asked: str) -> Slots:
    """Read an answer to CLUSTER SLOTS. Raises ValueError, TypeError or IndexError for another."""
    found = list[tuple[int, int, Endpoint]]()
    rows = cast("list[tuple[int, int, tuple[bytes | None, int], object]]", answer)
    for first, last, (host, port, *_), *_ in rows:
        name = host.decode() if host is not None else ""
        primary = endpoint(asked if name in ("", "?") else name, port)
        if primary is None:
            raise ValueError("a node without an address")
        found.append((first, last, primary))
    return tuple(sorted(found))
