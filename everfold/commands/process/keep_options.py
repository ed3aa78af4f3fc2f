"""The options of the processes that keep the log bounded, and the start of that work."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import anyio
from cyclopts import Group, Parameter

from everfold.commands.numbers import duration, number
from everfold.commands.session import Session
from everfold.retention.keep import KEEP_S, KEEP_SHARE, Keep, sentence
from everfold.streams.appending.log import Log

KEEP_GROUP = Group("Retention options", sort_key=7)


@Parameter(name="*", group=KEEP_GROUP)
@dataclass(frozen=True)
class KeepOptions:
    """How much of the log stays on the server. One process of all that could keeps it so."""

    keep_log: Annotated[
        float,
        duration(
            "keep_log_s",
            "Events older than this are trimmed, except what is held; `none` trims nothing at "
            "all, whatever memory is left.",
            endless=True,
        ),
    ] = KEEP_S
    keep_log_memory: Annotated[
        float,
        number(
            "keep_log_share",
            "The share of the server's maxmemory from which on the oldest events are trimmed, "
            "with the states and graphs of their jobs.",
        ),
    ] = KEEP_SHARE

    def keep(self) -> Keep:
        """Return what is kept."""
        if self.keep_log == math.inf:
            return Keep(None, None)
        return Keep(self.keep_log, self.keep_log_memory)


@Parameter(name="*", group=KEEP_GROUP)
@dataclass(frozen=True)
class KeepHere(KeepOptions):
    """The same of a process that may archive, too."""

    archive: Annotated[
        str,
        Parameter(
            name="--archive",
            metavar="URL",
            help="Write events into this archive before they are trimmed: a folder, or "
            "s3://bucket/prefix. Default: nothing is archived here.",
        ),
    ] = ""


KEEP, KEEP_HERE = KeepOptions(), KeepHere()


@contextlib.asynccontextmanager
async def keeping(
    options: KeepOptions, log: Log, name: str, session: Session, *, needs_archive: bool = False
) -> AsyncIterator[None]:
    """Keep the log bounded while the context is open, and say in one line what that means."""
    from everfold.archives.opening import opened_archive
    from everfold.retention.keeper import LogKeeper

    archive = opened_archive(options.archive if isinstance(options, KeepHere) else "")
    keep = options.keep()
    url = archive.store.url if archive is not None else ""
    told = {"keeps_s": keep.age_s, "keeps_memory": keep.share, "archive": url}
    session.tell(told, f"keeps    {sentence(keep, url)}")
    keeper = LogKeeper(log, name, keep, archive, needs_archive=needs_archive)
    async with anyio.create_task_group() as tasks:
        await tasks.start(keeper.run)
        yield
        tasks.cancel_scope.cancel()
