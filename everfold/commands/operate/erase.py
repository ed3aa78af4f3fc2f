"""`everfold erase`: what there is of a user, and making it unreadable for ever."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from everfold.assets.sizes import size_text
from everfold.commands.numbers import duration
from everfold.commands.options import ArchiveUrl, AssetsPlace
from everfold.commands.output import complain, say
from everfold.commands.session import DEFAULT, Session
from everfold.erasing.erasing import CANCEL_WITHIN_S, Erased
from everfold.erasing.user_content import UserContent
from everfold.streams.border.quantity import quantity

STAYS = (
    "what stays: ids and the order of events; user, kind, queue, batch, tags, idempotency key,",
    "times, statuses, node ids and classes, sizes, hashes, addresses of servers; files on ComfyUI",
    "servers; databases that sinks have written, projections of your own, exports, backups of",
    "Redis (see docs/ERASING.md)",
)


async def erase(
    *,
    user: Annotated[str, Parameter(help="The user; '' is that of jobs without one.")],
    yes: Annotated[bool, Parameter(help="Erase. Without it only what there is is shown.")] = False,
    cancel: Annotated[bool, Parameter(help="Cancel the user's open jobs first.")] = False,
    within: Annotated[
        float,
        duration("cancel_within_s", "How long canceled jobs may take to end."),
    ] = CANCEL_WITHIN_S,
    archive: ArchiveUrl = "",
    assets: AssetsPlace = None,
    session: Session = DEFAULT,
) -> int:
    """Show what there is of a user; with --yes make it unreadable, for ever.

    The user's key is thrown away, so that graphs, metadata, outputs and messages in log, archive
    and exports can never be read again; the order of events and every proof stay as they are.
    States, graphs and stored files are deleted. Of log and archive only what was sealed is erased:
    see docs/ERASING.md. It may be interrupted and repeated.
    """
    async with session.operate(assets) as everfold:
        if not yes:
            content = await everfold.user_content(user, archive=archive)
            session.tell(
                {**msgspec.to_builtins(content), "done": False},
                *_found(content),
                *STAYS,
                "nothing was erased: add --yes to erase it",
            )
            return 0
        erased = await everfold.erase(user, cancel=cancel, cancel_within_s=within, archive=archive)
    session.tell({**msgspec.to_builtins(erased), "done": True}, *_done(erased))
    if erased.left.plain_jobs and not session.json:
        say(_plain(erased.left))
    for name, why in erased.refused.items():
        complain(f"{name}: {why}")
    return 1 if erased.refused else 0


def _found(content: UserContent) -> list[str]:
    rows = {
        "user": content.user or "(without a name)",
        "key": "yes: with it everything sealed is erased" if content.has_key else "none",
        "jobs": f"{content.jobs:,}, of which {content.open_jobs:,} open",
        "states": f"{content.states:,}",
        "graphs": f"{content.graphs:,}",
        "files": f"{content.assets:,}  ({size_text(content.asset_bytes)})",
        "kept": f"{content.user_files:,} graphs and other small files of the web front end",
        "log": f"{content.log_events:,} events: what is sealed in them becomes unreadable",
        "archive": f"{content.archived_events:,} events in {content.archive_segments:,} segments",
    }
    lines = [f"{name:<8}  {value}" for name, value in rows.items()]
    if content.is_unfinished:
        lines.append("an erasure of this user was interrupted: repeat it with --yes")
    return [*lines, _plain(content)] if content.plain_jobs else lines


def _plain(content: UserContent) -> str:
    return (
        f"{quantity(content.plain_jobs, 'job')} not sealed: the content stays readable in the log "
        "and the archive until it is trimmed and deleted there"
    )


def _done(erased: Erased) -> list[str]:
    key = "the key is thrown away" if erased.key else "there was no key (any more)"
    gone = f"{erased.states:,} states, {erased.graphs:,} graphs and {erased.assets:,} files"
    canceled = f"; {erased.canceled:,} open jobs were canceled" if erased.canceled else ""
    return [f"{erased.user or 'the user without a name'}: {key}; {gone} are deleted{canceled}"]
