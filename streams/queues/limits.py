"""Limits of a namespace: how many jobs of a queue, user or kind may run, how many of a queue may
wait, each user's share, and how many bytes a user may store.

Rule: limits are stored in the namespace and every script reads them there, so that a change counts
from the next claim or submit on, for every process. Nothing that runs is stopped by one.
"""

from __future__ import annotations

from typing import Literal, cast

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.border.plain import Plain
from everfold.streams.errors import InvalidName
from everfold.streams.events.checks import check_choice, check_text
from everfold.streams.events.limits import ID_LIMIT
from everfold.streams.events.ranges import check_number
from everfold.streams.layout.copies import change_copies
from everfold.streams.redis.redis_errors import read_hash

What = Literal["running", "waiting", "share", "assets"]
Scope = Literal["queue", "user", "kind"]

EVERY = "*"
"""The name that stands for each queue, user or kind without a limit of its own."""

SCOPES: dict[str, tuple[str, ...]] = {
    "running": ("queue", "user", "kind"),
    "waiting": ("queue",),
    "share": ("user",),
    "assets": ("user",),
}
"""What can be limited for what."""


class Limit(Plain, Struct, frozen=True, order=True):
    """One limit."""

    what: What
    scope: Scope
    name: str
    """Of the queue, user or kind; EVERY for each one without a limit of its own."""
    number: float
    """Jobs; of a share, how many turns a user has for one of a user with share 1; of assets,
    bytes."""


def check_limit(limit: Limit) -> Limit:
    """Return the limit. Raises InvalidName for one that cannot be meant."""
    what = cast("What", check_choice("limit", limit.what, tuple(SCOPES)))
    scope = cast("Scope", check_choice(f"limit of {what} jobs of a", limit.scope, SCOPES[what]))
    name = check_text(scope, limit.name, least=1, most=ID_LIMIT)
    limit = Limit(what, scope, name, limit.number)
    if limit.what == "share" and limit.name == EVERY:
        raise InvalidName("user", EVERY, "a share is one user's; all others have 1")
    check_number(f"{limit.what} limit", limit.number, f"{limit.what}_limit")
    if limit.what != "share" and limit.number % 1:
        raise InvalidName(f"{limit.what} limit", limit.number, "pass a whole number")
    return limit


async def limits(log: Log) -> list[Limit]:
    """Return the limits of a namespace, in order. Raises a leaf of Unavailable."""
    found = await read_hash(log.redis, log.keys.limits())
    read = (_read(field.decode(errors="replace"), value) for field, value in found.items())
    return sorted(limit for limit in read if limit is not None)


def _read(field: str, value: bytes) -> Limit | None:
    what, _, rest = field.partition(" ")
    scope, _, name = rest.partition(" ")
    try:
        return check_limit(Limit(what, scope, name, float(value)))  # type: ignore[arg-type]
    except (InvalidName, ValueError):
        return None


async def set_limit(log: Log, limit: Limit) -> None:
    """Set or replace one limit. Raises InvalidName, a leaf of Unavailable."""
    checked = check_limit(limit)
    field = f"{checked.what} {checked.scope} {checked.name}"
    number = f"{checked.number:.15g}"
    await log.write("HSET", log.keys.limits(), field, number)
    await change_copies(log, "HSET", log.keys.limits_at, field, number)


async def remove_limit(log: Log, what: What, scope: Scope, name: str) -> bool:
    """Remove one limit; False where there is none. Raises a leaf of Unavailable."""
    field = f"{what} {scope} {name}"
    removed = await log.write("HDEL", log.keys.limits(), field)
    await change_copies(log, "HDEL", log.keys.limits_at, field)
    return removed == 1
