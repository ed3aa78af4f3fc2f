"""Erases a user: throws the key away with which the user's content was sealed, and deletes what is
stored outside of the log.

Rule: the key goes first: from then on all that was sealed is unreadable, whatever happens next.
Every step may be repeated, so one that was interrupted is finished by the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio
from msgspec import Struct

from everfold.streams.errors import Refused, UserHasOpenJobs
from everfold.streams.events.checks import check_text
from everfold.streams.events.ranges import check_number

if TYPE_CHECKING:
    from everfold.erasing.user_content import UserContent, UserJobs
    from everfold.projector.job.job import Job
    from everfold.streams.appending.log import Log
    from everfold.streams.assets.asset_store import AssetStore

CANCEL_WITHIN_S = 120.0
LOOK_EVERY_S = 0.25


REASON = "its user is erased"


class Erased(Struct, frozen=True, kw_only=True):
    """What was erased."""

    user: str
    key: bool
    """Whether there was a key: a repeat finds none."""
    canceled: int
    states: int
    graphs: int
    assets: int
    asset_bytes: int
    """Bytes of which nobody else had the same."""
    refused: dict[str, str]
    """Job, or hash of a graph -> why it was not deleted: another program wrote to a key of it. The
    first 20."""
    left: UserContent
    """What was there before. Its `plain_jobs` stay readable in the log and the archive."""


class Client(Protocol):
    """What an `Everfold` has that erases."""

    @property
    def log(self) -> Log: ...
    @property
    def assets(self) -> AssetStore: ...

    async def cancel(self, job_id: str, reason: str = "") -> Job: ...


class Erasing:
    """The calls of `Everfold` that erase a user."""

    async def user_content(self: Client, user: str, *, archive: str = "") -> UserContent:
        """Return what the namespace holds of a user, and change nothing.

        It reads the whole log, and the archive at `archive` (a folder or s3://bucket/prefix, else
        the one that the namespace remembers). Raises InvalidName, ArchiveDamaged, or a leaf of
        Unavailable.
        """
        from everfold.archives.opening import known_archive
        from everfold.erasing.user_content import user_content

        name, kept = check_text("user", user), await known_archive(self.log, archive)
        return (await user_content(self.log, name, self.assets, kept))[0]

    async def erase(
        self: Client,
        user: str,
        *,
        cancel: bool = False,
        cancel_within_s: float = CANCEL_WITHIN_S,
        archive: str = "",
    ) -> Erased:
        """Make all that was sealed of a user unreadable, and delete states, graphs and assets.

        With `cancel` open jobs are canceled first, and their end is waited for. The log and the
        archive stay as they are: nobody can read the user's graphs, metadata and outputs there any
        more. See docs/ERASING.md for what stays. It may be interrupted at any point and repeated.

        What another program's key is in the way of is left, and named: `Erased.refused`. Raises
        UserHasOpenJobs with nothing erased, InvalidName, ArchiveDamaged, or a leaf of
        Unavailable: then repeat it.
        """
        from everfold.archives.opening import known_archive
        from everfold.erasing.steps import erase_user
        from everfold.erasing.user_content import user_content

        name = check_text("user", user)
        check_number("cancel_within_s", cancel_within_s)
        if not isinstance(cancel, bool):
            raise Refused("cancel is True or False")
        kept = await known_archive(self.log, archive)
        content, jobs = await user_content(self.log, name, self.assets, kept)
        canceled = 0
        if content.open_jobs and cancel:
            canceled = await _cancel(self, jobs, cancel_within_s)
        if still := await jobs.open_jobs():
            raise UserHasOpenJobs(name, still)
        return await erase_user(self.log, self.assets, content, jobs, canceled)


async def _cancel(client: Client, jobs: UserJobs, within_s: float) -> int:
    """Cancel the open jobs and wait for their ends, `within_s` seconds at most."""
    names = await jobs.open_jobs()
    for job_id in names:
        await client.cancel(job_id, REASON)
    with anyio.move_on_after(within_s):
        while True:
            if not await jobs.open_jobs():
                break
            await anyio.sleep(LOOK_EVERY_S)
    return len(names)
