"""What a node of a cluster says of who has which slots.

Rule: pure, and total: what makes no sense in an answer is left out. A node that does not know its
own address, or is not to say it, is where it was asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.nodes.endpoint import Endpoint, endpoint
from everfold.streams.nodes.slots import SLOTS

QUESTION = (("CLUSTER", "SLOTS"), ("CLUSTER", "INFO"))
"""What a node is asked; `read_topology` reads both answers."""

ROWS_LIMIT = SLOTS
"""Rows of an answer that are read: no honest one has more ranges than slots."""

FOREIGN_S = 60.0
"""How long only nodes of another cluster answer before they are believed: a cluster may have been
made anew, and a failover takes less."""

_NO_HOST = ("", "?")
_REDIRECT = re.compile(r"(MOVED|ASK) (\d{1,5}) (.*):(\d{1,5})")


class Topology(Struct, frozen=True):
    """One node's view."""

    owners: tuple[Endpoint | None, ...]
    """The primary of each slot, None for one that nobody has."""
    replicas: frozenset[Endpoint]
    followers: Mapping[Endpoint, int]
    """Primary -> how many replicas it has. One is left out only when most masters say that it has
    failed."""
    is_ok: bool
    """Whether the node takes part in a cluster that serves."""
    epoch: int
    """The highest that the node has heard of: a node that was cut off falls behind."""
    ids: frozenset[bytes] = frozenset()
    """Of all nodes that it names."""

    @property
    def primaries(self) -> frozenset[Endpoint]:
        """Every primary that has a slot."""
        return frozenset(filter(None, self.owners))


def read_topology(answers: Sequence[object], asked: Endpoint) -> Topology | None:
    """Return a node's view, None for an answer that names no primary at all."""
    slots, info = (*answers, b"", b"")[:2]
    owners: list[Endpoint | None] = [None] * SLOTS
    replicas, followers, ids = set[Endpoint](), dict[Endpoint, int](), set[bytes]()
    for row in slots[:ROWS_LIMIT] if isinstance(slots, list) else ():
        if not isinstance(row, list) or len(row) < 3 or not _is_range(row[0], row[1]):
            continue
        primary, *others = (_node(one, asked) for one in row[2:])
        if primary is not None:
            owners[row[0] : row[1] + 1] = [primary] * (row[1] + 1 - row[0])
            followers[primary] = sum(one is not None for one in others)
        replicas.update(one for one in others if one is not None)
        ids.update(node_ids(row))
    if not any(owners):
        return None
    said = _fields(info)
    return Topology(
        owners=tuple(owners),
        replicas=frozenset(replicas.difference(owners)),
        followers=followers,
        is_ok=said.get("cluster_state", "ok") == "ok",
        epoch=_number(said.get("cluster_current_epoch", "")),
        ids=frozenset(ids),
    )


def node_ids(row: Sequence[object]) -> set[bytes]:
    """Return the ids of all nodes that a row of CLUSTER SLOTS names."""
    named = (one[2] for one in row[2:] if isinstance(one, list) and len(one) > 2)
    return {one for one in named if isinstance(one, bytes)}


def is_foreign(ids: frozenset[bytes], known: frozenset[bytes]) -> bool:
    """Say whether a view with these ids is of another cluster than the one with the known ids: a
    node keeps its id for as long as it stays in a cluster."""
    return bool(ids and known) and ids.isdisjoint(known)


def newest(views: Sequence[Topology]) -> Topology:
    """Return the view of who has heard most; of each primary's replicas as many as any of these
    sees, for a node leaves out one that has not told it how far it has come."""
    best = max(views, key=lambda one: (one.is_ok, one.epoch))
    like = [one for one in views if (one.is_ok, one.epoch) == (best.is_ok, best.epoch)]
    most = {at: max(one.followers.get(at, 0) for one in like) for at in best.followers}
    return replace(best, followers=most, ids=frozenset[bytes]().union(*(one.ids for one in like)))


class Redirect(Struct, frozen=True):
    """Where a node sends a command that it did not carry out."""

    slot: int
    to: Endpoint
    is_moved: bool
    """False where only this one command is to be asked there."""


def read_redirect(reply: str, asked: Endpoint) -> Redirect | None:
    """Return what an error reply says of it, None for another one, or for one that lies."""
    found = _REDIRECT.fullmatch(reply.strip())
    if found is None or int(found[2]) >= SLOTS:
        return None
    to = endpoint(asked.host if found[3] in _NO_HOST else found[3], found[4])
    return Redirect(int(found[2]), to, found[1] == "MOVED") if to is not None else None


def _is_range(first: object, last: object) -> bool:
    return isinstance(first, int) and isinstance(last, int) and 0 <= first <= last < SLOTS


def _node(said: object, asked: Endpoint) -> Endpoint | None:
    """Return where one of a row's nodes listens."""
    if not isinstance(said, list) or len(said) < 2:
        return None
    host = _text(said[0])
    if host == "?" and len(said) > 3 and isinstance(said[3], list):  # it has no name, perhaps an IP
        pairs = dict(zip(said[3][::2], said[3][1::2], strict=False)) if _are_flat(said[3]) else {}
        host = _text(pairs.get(b"ip", b""))
    return endpoint(asked.host if host in _NO_HOST else host, said[1])


def _are_flat(parts: list[object]) -> bool:
    return all(isinstance(part, bytes) for part in parts)


def _text(said: object) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else ""


def _fields(info: object) -> dict[str, str]:
    pairs = (line.partition(":") for line in _text(info).splitlines())
    return {name: value for name, colon, value in pairs if colon}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
