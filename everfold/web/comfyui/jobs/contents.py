"""What jobs were submitted with: their graphs, and what stood beside them.

Rule: read for many jobs in few trips, and kept for the next question. What is no longer in Redis,
cannot be opened here, or is beyond what one question may cost, is empty.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from everfold.streams.appending.body import read_body
from everfold.streams.appending.log import Log
from everfold.streams.errors import SealKeyMissing
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.redis.redis_errors import commands
from everfold.streams.redis.retry import with_retry
from everfold.web.comfyui.jobs.bounded_cache import BoundedCache

CACHE_BYTES = 8 * 2**20
"""Of JSON; the values in memory are a few times as large."""
READ_AT_ONCE = 50
READ_BYTES = 8 * 2**20
"""Graphs of one trip, and their bytes together: each may have 8 MiB."""
MOST_BYTES = 32 * 2**20
"""Of all that is read for one question. The jobs named first come first."""

_read_object = decoder(dict[str, object])


class Content(Struct, frozen=True):
    """What one job was submitted with."""

    graph: dict[str, object] = {}
    extra_data: dict[str, object] = {}


class Stores(Protocol):
    """A job, as far as it says where its content is stored."""

    @property
    def job_id(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def stored(self) -> str: ...


class Contents:
    """Reads contents of one namespace."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._kept = BoundedCache[Content](CACHE_BYTES)

    async def read(self, jobs: Iterable[Stores]) -> dict[str, Content]:
        """Return job id -> content, empty beyond MOST_BYTES. Raises a leaf of Unavailable."""
        found, missing = dict[str, Content](), list[Stores]()
        for job in jobs:
            kept = self._kept.get(job.stored)
            if kept is None:
                missing.append(job)
            else:
                found[job.job_id] = kept
        found |= {job.job_id: Content() for job in missing}
        async for some in self._in_parts(missing):
            found |= await self._read(some)
        return found

    async def _in_parts(self, jobs: Sequence[Stores]) -> AsyncIterator[list[Stores]]:
        """Yield jobs whose contents are read together, as long as all have MOST_BYTES at most."""
        part, part_bytes, all_bytes = list[Stores](), 0, 0
        for job, reply in zip(jobs, await self._ask("STRLEN", jobs), strict=True):
            size = reply if isinstance(reply, int) else 0
            all_bytes += size
            if all_bytes > MOST_BYTES:
                break
            if part and (len(part) == READ_AT_ONCE or part_bytes + size > READ_BYTES):
                yield part
                part, part_bytes = [], 0
            part.append(job)
            part_bytes += size
        if part:
            yield part

    async def _ask(self, name: str, jobs: Sequence[Stores]) -> Sequence[object]:
        keys = self._log.keys
        asked = [(name, keys.workflow(keys.partition_of(job.job_id), job.stored)) for job in jobs]
        return await with_retry(partial(commands, self._log.redis, asked), self._log.retry_for_s)

    async def _read(self, jobs: list[Stores]) -> dict[str, Content]:
        replies = await self._ask("GET", jobs)
        found = dict[str, Content]()
        for job, reply in zip(jobs, replies, strict=True):
            stored = reply if isinstance(reply, bytes) else b""
            found[job.job_id] = content = await self._opened(job, stored)
            if content.graph:
                self._kept.put(job.stored, content, len(stored))
        return found

    async def _opened(self, job: Stores, stored: bytes) -> Content:
        try:
            text = await self._log.opened_content(stored)
            if not text:
                return Content()
            if not job.body:
                return Content(_read_object(text))
            body = read_body(text)
            return Content(_read_object(bytes(body.workflow)), _read_object(bytes(body.extra_data)))
        except (SealKeyMissing, NotJson):
            return Content()
