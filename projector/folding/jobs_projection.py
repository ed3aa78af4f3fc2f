"""The projection of jobs: one hash per job, with indexes of open and ended jobs.

Rule: one script puts rebuilt states in the place of the live ones of a partition, so a reader sees
the old states or the new ones, never some of each. A rebuild that is behind them is refused.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib.resources import files
from typing import cast

from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_commits import JobsCommits
from everfold.projector.folding.jobs_fold import JobsFold
from everfold.projector.folding.moving import move_states
from everfold.projector.folding.projection import Outcome, RebuildBehind, read_swap
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.redis.keys import PROJECTOR_GROUP, Keyspace
from everfold.streams.redis.partition_keys import JobsKeys
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script

_swap_jobs = Script("everfold.projector", "swap_jobs")

FOLD_SOURCES = ("evolve.py", "fold.py", "index_names.py", "job.py", "state.py")
"""The files that decide which state events lead to, how it is stored, and how it is listed."""

PAGE = 500
"""States deleted in one command."""


class JobsProjection:
    """Everfold's own projection; see AnyProjection for its methods."""

    name = "jobs"
    group = PROJECTOR_GROUP

    def __init__(self, config: ProjectorConfig | None = None) -> None:
        self._config = config or ProjectorConfig()
        self._commits: JobsCommits | None = None
        """Of all partitions of the log that is folded."""

    @cached_property
    def version(self) -> str:
        """A digest of the fold's source and its indexes: no rebuild by another one is resumed."""
        digest = hashlib.sha256()
        for name in FOLD_SOURCES:
            digest.update(files("everfold.projector.job").joinpath(name).read_bytes())
        digest.update(self._config.indexes.encode())
        return digest.hexdigest()[:12]

    def keys(self, keyspace: Keyspace, partition: int, *, rebuilding: bool = False) -> JobsKeys:
        return keyspace.jobs(partition, rebuilding=rebuilding)

    def partition_fold(
        self,
        log: Log,
        partition: int,
        *,
        rebuilding: bool = False,
        archive: Archive | None = None,
    ) -> JobsFold:
        keys = self.keys(log.keys, partition, rebuilding=rebuilding)
        if self._commits is None or self._commits.log is not log:
            self._commits = JobsCommits(log, self._config)
        is_live, commits = not rebuilding, self._commits
        return JobsFold(log, partition, keys, self._config, commits, archive, is_live=is_live)

    async def swap(self, log: Log, partition: int, token: str) -> Outcome | RebuildBehind:
        live, rebuilt = log.keys.jobs(partition), log.keys.jobs(partition, rebuilding=True)
        keys = [
            key
            for jobs in (live, rebuilt)
            for key in (
                *(jobs.projector(), jobs.active(), jobs.ended(), jobs.parked()),
                *(jobs.index(), jobs.indexed()),
            )
        ]
        while (reply := await _swap_jobs.run(log.redis, keys, (token,)))[0] == b"moving":
            await self.move_states(log, partition)
        return read_swap(reply)

    async def move_states(self, log: Log, partition: int, *, older_than_s: float = 0.0) -> None:
        await move_states(log, partition, older_than_s)

    async def drop_rebuild(self, log: Log, partition: int) -> None:
        redis, keys = log.redis, log.keys.jobs(partition, rebuilding=True)
        for index in (keys.active(), keys.ended()):
            while page := cast("list[bytes]", await command(redis, "ZRANGE", index, 0, PAGE - 1)):
                await command(redis, "UNLINK", *(keys.job(name.decode()) for name in page))
                await command(redis, "ZREM", index, *page)
        await command(redis, "UNLINK", keys.index(), keys.indexed())
        await command(redis, "DEL", keys.parked(), keys.projector())
