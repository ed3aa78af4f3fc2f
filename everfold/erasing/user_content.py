"""Finds what a namespace holds of one user: in the log, the archive, the states and the assets.

Rule: it reads, and changes nothing. It reads the whole log and archive once: nothing there is
indexed by user.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from everfold.erasing.erasure import unfinished
from everfold.projector.job.job_filter import JobFilter
from everfold.projector.reading.queries import PAGE_LIMIT, page_of
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.listing import LIST_LIMIT, list_assets
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.events.event import Submitted
from everfold.streams.events.record import Recorded, entry_order
from everfold.streams.reading.reader import partition_events
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.redis_errors import command, commands
from everfold.streams.redis.retry import with_retry
from everfold.streams.sealing.user_keys import field_of
from everfold.streams.user_files.user_files import list_user_files

AT_ONCE = 500
"""Jobs that are asked for together."""

Graph = tuple[int, str]
"""Partition and SHA-256 of what is stored."""


class UserContent(Struct, frozen=True, kw_only=True):
    """What there is of one user. Counts are of the moment at which each place was read."""

    user: str
    has_key: bool
    """Whether the user has a key: all that was sealed with it goes with it."""
    jobs: int
    open_jobs: int
    plain_jobs: int
    """Jobs from before a key was given: what the log and the archive hold of them stays readable
    until it is trimmed there, or deleted."""
    states: int
    graphs: int
    log_events: int
    archived_events: int
    archive_segments: int
    """Segments of the archive that have some of these."""
    assets: int
    asset_bytes: int
    user_files: int
    """Small files that the user keeps in the namespace; settings go with them."""
    is_unfinished: bool
    """An erasure of this user was interrupted: repeat it."""


class UserJobs:
    """The jobs of one user, as they are found."""

    def __init__(self, log: Log, user: str) -> None:
        self._log, self.user = log, user
        self.jobs = set[str]()
        self.plain = set[str]()
        self.states = list[str]()
        self.graphs = set[Graph]()
        self.of_others = set[Graph]()
        """Graphs that jobs of other users have stored, too."""
        self.log_events = self.archived_events = self.archive_segments = 0

    async def find(self, archive: Archive | None) -> None:
        """Look everywhere. Raises ArchiveDamaged, or a leaf of Unavailable."""
        for partition in range(self._log.keys.partitions):
            if archive is not None:
                async for page in archive.pages(partition):
                    count = sum([self._note(partition, record) for record in page])
                    self.archived_events += count
                    self.archive_segments += count > 0
            gone = entry_order((await trimmed_to(self._log, partition)).entry_id)
            async for record in partition_events(self._log, partition):
                if record.seq > 1 and entry_order(record.previous) <= gone:
                    await self._note_by_head(record)
                self.log_events += self._note(partition, record)
        await self._find_states()

    def _note(self, partition: int, record: Recorded) -> bool:
        """Note one event; say whether it is of the user."""
        if isinstance(event := record.event, Submitted):
            graph = partition, event.stored
            if event.user != self.user:
                self.of_others.add(graph)
                return False
            self.jobs.add(record.job_id)
            self.graphs.add(graph)
            if not is_sealed(event.metadata):
                self.plain.add(record.job_id)
        return record.job_id in self.jobs

    async def _note_by_head(self, record: Recorded) -> None:
        """Note a job whose first events are neither in the log nor in the archive."""
        key = self._log.keys.head(record.job_id)
        found = await command(self._log.redis, "HGET", key, "user")
        if found == self.user.encode() and record.job_id not in self.jobs:
            self.jobs.add(record.job_id)
            self.plain.add(record.job_id)

    async def _find_states(self) -> None:
        cursor: str | None = None
        selects = JobFilter(user=self.user)
        while True:
            page = await page_of(self._log, selects, cursor=cursor, limit=PAGE_LIMIT)
            for job in page.jobs:
                self.states.append(job.job_id)
                self.jobs.add(job.job_id)
                self.graphs.add((self._log.keys.partition_of(job.job_id), job.stored))
            cursor = page.cursor
            if cursor is None:
                return

    async def open_jobs(self) -> list[str]:
        """Return those that have not ended. Raises a leaf of Unavailable."""
        found, names = list[str](), sorted(self.jobs)
        for at in range(0, len(names), AT_ONCE):
            found += await self._open_among(names[at : at + AT_ONCE])
        return found

    async def _open_among(self, job_ids: Sequence[str]) -> list[str]:
        log = self._log
        asked = [("HGET", log.keys.head(job_id), "status") for job_id in job_ids]
        replies = await with_retry(lambda: commands(log.redis, asked), log.retry_for_s)
        rows = zip(job_ids, replies, strict=True)
        return [job_id for job_id, status in rows if status == b"open"]


async def assets_of(store: AssetStore, user: str) -> list[Asset]:
    """Return all stored files of a user. Raises a leaf of Unavailable."""
    found, cursor = list[Asset](), None
    while True:
        page = await list_assets(store, user, limit=LIST_LIMIT, cursor=cursor)
        found += page.assets
        cursor = page.cursor
        if cursor is None:
            return found


async def user_content(
    log: Log, user: str, store: AssetStore, archive: Archive | None
) -> tuple[UserContent, UserJobs]:
    """Return what there is of a user, and the jobs. Raises as `UserJobs.find` does."""
    jobs = UserJobs(log, user)
    await jobs.find(archive)
    assets = await assets_of(store, user)
    key = await command(log.redis, "HGET", log.keys.user_keys(), field_of(user))
    content = UserContent(
        user=user,
        has_key=key is not None,
        jobs=len(jobs.jobs),
        open_jobs=len(await jobs.open_jobs()),
        plain_jobs=len(jobs.plain),
        states=len(jobs.states),
        graphs=len(jobs.graphs),
        log_events=jobs.log_events,
        archived_events=jobs.archived_events,
        archive_segments=jobs.archive_segments,
        assets=len(assets),
        asset_bytes=sum(asset.size_bytes for asset in assets),
        user_files=len(await list_user_files(log, user)),
        is_unfinished=await unfinished(log, user) is not None,
    )
    return content, jobs
