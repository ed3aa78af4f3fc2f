"""`everfold limits`: how many jobs may run or wait, users' shares, and what users may store."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from everfold.assets.sizes import size_bytes, size_text
from everfold.commands.session import DEFAULT, Session
from everfold.streams.errors import InvalidName
from everfold.streams.queues.limits import EVERY, Limit

LimitOf = Annotated[
    Literal["running", "waiting", "share", "assets"],
    Parameter(
        help="running: jobs at once. waiting: jobs of a queue; a submit beyond is refused. share: "
        "turns that a user has for one of any other user. assets: bytes that a user may store."
    ),
]
For = Annotated[
    Literal["queue", "user", "kind"],
    Parameter(
        help="What it is for: queue, user or kind; of waiting queue, of share and assets user."
    ),
]
Named = Annotated[str, Parameter(help="Its name; '*' is each one that has no limit of its own.")]

limits = App(
    name="limits",
    help="List, set and remove limits of jobs, users' shares, and what users may store.",
)


@limits.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the limits."""
    async with session.open("reader") as everfold:
        found = await everfold.limits()
    session.show(
        found,
        {
            "limit": lambda one: one.what,
            "of": lambda one: one.scope,
            "name": lambda one: one.name,
            "number": number_text,
        },
        empty="there are no limits",
    )
    return 0


def _number(text: str, limit: str) -> float:
    if limit == "assets" and (size := size_bytes(text)) is not None:
        return size
    try:
        return float(text)
    except ValueError:
        rule = "use a size such as 10GB" if limit == "assets" else "use a number"
        raise InvalidName("limit", text, rule) from None


@limits.command(name="set")
async def set_(
    limit: LimitOf,
    scope: For,
    name: Named,
    number: Annotated[
        str, Parameter(help="Jobs; of a share, turns; of assets, a size such as 10GB.")
    ],
    /,
    *,
    session: Session = DEFAULT,
) -> int:
    """Set a limit: `limits set running user '*' 2`, `limits set assets user ada 10GB`.

    It counts from the next claim or submit on, and stops nothing that runs.
    """
    chosen = Limit(limit, scope, name, _number(number, limit))
    async with session.operate() as everfold:
        await everfold.set_limit(limit, scope, name, chosen.number)
    session.tell(chosen, f"{shown(chosen)}: {number_text(chosen)}")
    return 0


@limits.command
async def rm(limit: LimitOf, scope: For, name: Named, /, *, session: Session = DEFAULT) -> int:
    """Remove a limit."""
    async with session.operate() as everfold:
        was_there = await everfold.remove_limit(limit, scope, name)
    told = {"what": limit, "scope": scope, "name": name, "was_there": was_there}
    what = shown(Limit(limit, scope, name, 1))
    session.tell(told, f"{what}: {'no limit any more' if was_there else 'there was no limit'}")
    return 0


def shown(limit: Limit) -> str:
    """Return what a limit is of, for people."""
    of = f"each {limit.scope}" if limit.name == EVERY else f"{limit.scope} {limit.name}"
    what = limit.what if limit.what in ("share", "assets") else f"{limit.what} jobs"
    return f"{what} of {of}"


def number_text(limit: Limit) -> str:
    return size_text(limit.number) if limit.what == "assets" else f"{limit.number:g}"
