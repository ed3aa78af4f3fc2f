"""Passes on what backends say of this runner's attempts, while somebody looks on.

Rule: a job never waits for it, but for a moment before its end, so that what was said comes before
it. While nobody listens nothing is kept. A server that is slow or away costs messages alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Iterable

import anyio

from everfold.runner.backend import Attempt, Backend, Observation
from everfold.runner.live.job_queue import JobQueue
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.live.live_message import (
    CONTENT,
    PREVIEW_LIMIT_BYTES,
    LiveEntry,
    LiveMessage,
    Preview,
)
from everfold.streams.live.live_stream import pass_on

logger = get_logger("everfold.runner")

FLUSH_WITHIN_S = 0.5
"""How long the end of a job waits for what was said before it."""
PAUSE_AFTER_ERROR_S = 1.0
MOST_AT_ONCE = 128
"""Messages of one write, about."""


class LiveChannel:
    """One runner's channel. `run` writes; everything else returns at once."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.is_open = False
        """Somebody listens."""
        self.calls = 0
        """How often somebody has said that he listens from now on."""
        self._observations = set[Observation]()
        self._queues: dict[str, JobQueue] = {}
        self._news = anyio.Event()
        self._written = anyio.Event()
        self._writing = frozenset[str]()
        """Jobs whose messages are on their way."""

    def set_open(self, is_open: bool) -> None:
        """Note whether anybody listens; all that observe an attempt learn it."""
        if is_open == self.is_open:
            return
        self.is_open = is_open
        logger.info("live_channel is_open=%s", is_open)
        for observation in self._observations:
            observation.pass_on(is_open)
        if not is_open:
            self._queues.clear()

    def call(self) -> None:
        """Open it: somebody says that he listens from now on."""
        self.calls += 1
        self.set_open(True)

    def note_read(self, is_open: bool, calls: int) -> None:
        """Note whether anybody listened at a read, before which there were so many `calls`: one
        who has called since then is not in what was read."""
        self.set_open(is_open or self.calls != calls)

    @contextlib.asynccontextmanager
    async def observing(
        self, backend: Backend, attempt: Attempt, workflow: bytes
    ) -> AsyncIterator[Observation]:
        """Observe an attempt as `backend.observe` does; it passes on while somebody listens."""
        async with backend.observe(attempt, workflow) as observation:
            self._observations.add(observation)
            try:
                observation.pass_on(self.is_open)
                yield observation
            finally:
                self._observations.discard(observation)

    def add(self, job_id: str, attempt: int, messages: Iterable[LiveMessage]) -> None:
        """Let messages about an attempt be passed on."""
        kept = [message for message in messages if self._may_pass(message)]
        if not kept or not self.is_open:
            return
        queue = self._queues.get(job_id)
        if queue is None or queue.attempt != attempt:
            queue = self._queues[job_id] = JobQueue(attempt)
        queue.add(kept)
        self._news.set()

    def _may_pass(self, message: LiveMessage) -> bool:
        # Where a user's content is sealed, it must not stand beside it in the open.
        if self._log.sealing is not None and isinstance(message, CONTENT):
            return False
        return not isinstance(message, Preview) or len(message.image) <= PREVIEW_LIMIT_BYTES

    async def finish(self, job_id: str) -> None:
        """Pass on at once what waits of a job that ends, FLUSH_WITHIN_S at most; then forget it."""
        if self._is_behind(job_id):
            with anyio.move_on_after(FLUSH_WITHIN_S):
                await self._flush(job_id)
        self.forget(job_id)

    async def _flush(self, job_id: str) -> None:
        while self._is_behind(job_id):
            if job_id in self._queues:
                self._queues[job_id].hurry()
            self._news.set()
            await self._written.wait()

    def forget(self, job_id: str) -> None:
        """Drop what waits of a job that this runner does not hold any more."""
        self._queues.pop(job_id, None)

    def _is_behind(self, job_id: str) -> bool:
        queue = self._queues.get(job_id)
        return job_id in self._writing or (queue is not None and not queue.is_empty)

    async def run(self) -> None:
        """Write until cancelled; never raises for the server."""
        while True:
            await self._until_due()
            entries, previews = self._take()
            if not entries:
                continue
            self._writing = frozenset(entry.job_id for entry in entries)
            try:
                await pass_on(self._log, entries, previews)
            except EverfoldError as error:
                logger.debug("live_messages_lost count=%d why=%r", len(entries), str(error))
                await anyio.sleep(PAUSE_AFTER_ERROR_S)
            finally:
                self._writing = frozenset()
                self._written.set()
                self._written = anyio.Event()

    async def _until_due(self) -> None:
        now_s = anyio.current_time()
        dues = (queue.due_in_s(now_s) for queue in self._queues.values())
        due_s = min((due for due in dues if due is not None), default=math.inf)
        if due_s > 0.0:
            with anyio.move_on_after(due_s):
                await self._news.wait()
        self._news = anyio.Event()

    def _take(self) -> tuple[list[LiveEntry], list[tuple[str, Preview]]]:
        entries, previews = list[LiveEntry](), list[tuple[str, Preview]]()
        now_s = anyio.current_time()
        for job_id in list(self._queues):
            queue = self._queues.pop(job_id)
            messages, preview = queue.take(now_s)
            entries += [LiveEntry(job_id, queue.attempt, message) for message in messages]
            if preview is not None:
                previews.append((job_id, preview))
            self._queues[job_id] = queue  # behind the others: each has its turn
            if len(entries) >= MOST_AT_ONCE:
                break
        return entries, previews
