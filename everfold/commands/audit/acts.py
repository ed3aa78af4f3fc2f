"""`everfold audit acts`: what operators did, and who."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from everfold.commands.numbers import number
from everfold.commands.session import DEFAULT, Session
from everfold.commands.times import PastTime
from everfold.moments import moment_text


async def acts(
    *,
    since: Annotated[PastTime | None, Parameter(help="Only acts since then.")] = None,
    limit: Annotated[int, number("limit", "The most acts to list: the newest.")] = 50,
    session: Session = DEFAULT,
) -> None:
    """List what operators did, and who: the newest 10,000 acts are kept."""
    async with session.open("reader") as everfold:
        found = await everfold.acts(since)
    session.show(
        found[-limit:],
        {
            "time": lambda act: moment_text(act.at_ms),
            "who": lambda act: act.actor,
            "what": lambda act: act.verb.replace("_", " "),
            "to": lambda act: f"{act.subject}  ({act.detail})" if act.detail else act.subject,
        },
        empty="no operator has changed anything yet",
    )
    if len(found) > limit:
        session.tell_more(f"--limit {len(found)}")
