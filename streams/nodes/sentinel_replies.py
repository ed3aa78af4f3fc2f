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


class Named(Struct, frozen=True):
    """A primary as one Sentinel names it."""

    primary: Endpoint
    epoch: int


def question(service: str) -> tuple[tuple[str, ...], ...]:
    """Return the commands to which `read_named` reads the answers, to be sent together."""
    return (
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service),
        ("SENTINEL", "MASTER", service),
    )


def read_named(answers: Sequence[object]) -> Named | None:
    """Return what a Sentinel names, None where it knows no such service.

    The second answer may be a refusal: not everybody may ask for an epoch, which is 0 then.
    """
    address, master = (*answers, None, None)[:2]
    if not isinstance(address, list) or len(address) != 2:
        return None
    primary = endpoint(_text(address[0]), _text(address[1]))
    return Named(primary, _epoch(master)) if primary is not None else None


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


def read_switch(payload: object) -> tuple[str, Endpoint] | None:
    """Return the service and the new primary of a message on SWITCH_CHANNEL."""
    words = _text(payload).split(" ")
    new = endpoint(words[3], words[4]) if len(words) == 5 else None
    return (words[0], new) if new is not None else None


def is_primary(answer: object) -> bool:
    """Say whether an answer to ROLE is that of a primary."""
    return isinstance(answer, list) and bool(answer) and answer[0] == b"master"


def _epoch(master: object) -> int:
    if not isinstance(master, list) or not all(isinstance(part, bytes) for part in master):
        return 0
    text = _text(dict(zip(master[::2], master[1::2], strict=False)).get(b"config-epoch", b""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _text(said: object) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else ""
