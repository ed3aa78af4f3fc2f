"""What Sentinels say of a service, and what a server says of its role.

Rule: pure, and total: an answer that makes no sense names nobody. Of two that differ, the one with
the higher epoch is newer: a failover takes a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from everfold.streams.nodes.endpoint import Endpoint, endpoint

SWITCH_CHANNEL = "+switch-master"

ROLE = ("ROLE",)

DOWN = frozenset({"s_down", "disconnected"})
"""What a Sentinel says of a replica that it does not reach; it would promote none of these."""

REPLICAS_LIMIT = 100
"""Replicas of an answer that are read."""


class Named(Struct, frozen=True):
    """A primary as one Sentinel names it."""

    primary: Endpoint
    epoch: int
    sentinels: int = 1
    """As many watch the service, by what it knows."""
    replicas: int = 0
    """All that it has heard of and not been told to forget, but for those it never promotes."""
    living: int = 0
    """Those of them that it reaches."""


def question(service: str) -> tuple[tuple[str, ...], ...]:
    """Return the commands to which `read_named` reads the answers, to be sent together."""
    return (
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
        ("SENTINEL", "MASTER", service),
        ("SENTINEL", "REPLICAS", service),
    )


def read_named(answers: Sequence[object]) -> Named | None:
    """Return what a Sentinel names, None where it knows no such service.

    The others may be refusals: not everybody may ask for an epoch or the replicas, and these are 0
    then.
    """
    address, master, replicas = (*answers, None, None, None)[:3]
    if not isinstance(address, list) or len(address) != 2:
        return None
    primary = endpoint(_text(address[0]), _text(address[1]))
    if primary is None:
        return None
    said, each = _pairs(master), replicas if isinstance(replicas, list) else []
    those = [_pairs(one) for one in each[:REPLICAS_LIMIT]]
    flags = [one.get("flags", "").split(",") for one in those if one.get("slave-priority") != "0"]
    return Named(
        primary,
        _number(said.get("config-epoch", "")),
        1 + _number(said.get("num-other-sentinels", "")),
        replicas=sum("slave" in one for one in flags),
        living=sum("slave" in one and not DOWN.intersection(one) for one in flags),
    )


def in_order(named: Iterable[Named]) -> list[Endpoint]:
    """Return each primary that is named, first the newest, then that of most Sentinels."""
    each = list(named)
    votes = {one.primary: sum(one.primary == other.primary for other in each) for one in each}
    newest = {one.primary: max(o.epoch for o in each if o.primary == one.primary) for one in each}
    return sorted(votes, key=lambda one: (-newest[one], -votes[one], one))


def is_agreed(named: Iterable[Named], of: int) -> bool:
    """Say whether more than half of `of` Sentinels name the same primary."""
    each = [one.primary for one in named]
    return any(each.count(one) * 2 > of for one in set(each))


def living_replicas(named: Iterable[Named], of: int) -> int:
    """Return how many replicas the newest primary has, by those of `of` Sentinels that answered.

    Most of all Sentinels must say that one is down: fewer may be cut off together with the primary
    while the others promote it.
    """
    each = list(named)
    told = [one for one in each if one.primary == in_order(each)[0]]
    are_most = len(told) * 2 > max(of, *(one.sentinels for one in told))
    return max(one.living if are_most else one.replicas for one in told)


def read_switch(payload: object) -> tuple[str, Endpoint] | None:
    """Return the service and the new primary of a message on SWITCH_CHANNEL."""
    words = _text(payload).split(" ")
    new = endpoint(words[3], words[4]) if len(words) == 5 else None
    return (words[0], new) if new is not None else None


def is_primary(answer: object) -> bool:
    """Say whether an answer to ROLE is that of a primary."""
    return isinstance(answer, list) and bool(answer) and answer[0] == b"master"


def _pairs(said: object) -> dict[str, str]:
    if not isinstance(said, list) or not all(isinstance(part, bytes) for part in said):
        return {}
    return {_text(name): _text(value) for name, value in zip(said[::2], said[1::2], strict=False)}


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _text(said: object) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else ""
