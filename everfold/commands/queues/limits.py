"""`everfold limits`: how many jobs may run or wait, and users' shares."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from everfold.commands.session import DEFAULT, Session
from everfold.streams.errors import InvalidName
from everfold.streams.queues.limits import EVERY, Limit

LimitOf = Annotated[
    Literal["running", "waiting", "share"],
    Parameter(
        help="running: jobs at once. waiting: jobs of a queue; a submit beyond is refused. share: "
        "turns that a user has for one of any other user."
    ),
]
For = Annotated[
    Literal["queue", "user", "kind"],
    Parameter(help="What it is for: queue, user or kind; of waiting queue, of share user."),
]
Named = Annotated[str, Parameter(help="Its name; '*' is each one that has no limit of its own.")]

limits = App(
    name="limits", help="List, set and remove limits of jobs that run or wait, and users' shares."
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
            "number": lambda one: f"{one.number:g}",
        },
        empty="there are no limits",
    )
    return 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidName("limit", text, "use a number") from None


@limits.command(name="set")
async def set_(
    limit: LimitOf,
    scope: For,
    name: Named,
    number: Annotated[str, Parameter(help="Jobs; of a share, turns.")],
    /,
    *,
    session: Session = DEFAULT,
) -> int:
    """Set a limit: `limits set running user '*' 2`, `limits set share user ada 3`.

    It counts from the next claim or submit on, and stops nothing that runs.
    """
    chosen = Limit(limit, scope, name, _number(number))
    async with session.operate() as everfold:
        await everfold.set_limit(limit, scope, name, chosen.number)
    session.tell(chosen, f"{shown(chosen)}: {chosen.number:g}")
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
    return f"share of {of}" if limit.what == "share" else f"{limit.what} jobs of {of}"
