"""What jobs were submitted with: their graphs, and what stood beside them.

Rule: read for many jobs in one trip, and kept for the next question. What is no longer in Redis,
or cannot be opened here, is empty.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""Graphs of one trip: each may have 8 MiB."""

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
        """Return job id -> content. Raises a leaf of Unavailable."""
        found, missing = dict[str, Content](), list[Stores]()
        for job in jobs:
            kept = self._kept.get(job.stored)
            if kept is None:
                missing.append(job)
            else:
                found[job.job_id] = kept
        for first in range(0, len(missing), READ_AT_ONCE):
            found |= await self._read(missing[first : first + READ_AT_ONCE])
        return found

    async def _read(self, jobs: list[Stores]) -> dict[str, Content]:
        keys = self._log.keys
        asked = [("GET", keys.workflow(keys.partition_of(job.job_id), job.stored)) for job in jobs]
        replies = await with_retry(partial(commands, self._log.redis, asked), self._log.retry_for_s)
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
