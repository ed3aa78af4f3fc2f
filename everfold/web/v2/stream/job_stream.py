"""One job as it goes on, for all who watch it: each message is made once.

Rule: a reader gets what the job is now, and then every change of it, without a gap. Of previews and
positions it gets the newest.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from everfold.projector.job.job import Job
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.web.feeds.job_feed import JobFeed
from everfold.web.feeds.piece import Piece
from everfold.web.feeds.ring import Overtaken, Ring
from everfold.web.v2.shapes import moment
from everfold.web.v2.stream.frames import Place, frames_between, preview_frame, status_frame

if TYPE_CHECKING:
    from everfold.web.gateway import Gateway

logger = get_logger("everfold.web")

FRAMES_KEPT = 512
"""Messages by which a reader may be late."""
PREVIEW_EVERY_S = 0.25
"""Seconds between two previews at least."""
POSITION_EVERY_S = 1.0
"""Seconds between two looks at the place of a job that waits, where something happened since."""
LOOK_ANYWAY_S = 5.0
"""The same where nothing did: a priority may have been changed."""
LOOKS_A_SECOND = 100
"""Looks of one gateway for all jobs that are watched: with more of them each waits longer."""


class Sent:
    """What is sent at once. An old preview becomes empty, so that only the newest is kept."""

    __slots__ = ("_piece", "content")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._piece: Piece | None = None

    def piece(self) -> Piece:
        """Return it as it is sent directly."""
        if self._piece is None:
            self._piece = Piece.of(self.content)
        return self._piece

    def was_handed_on(self) -> None:
        """Keep the content alone: whoever was behind is sent that."""
        self._piece = None

    def drop(self) -> None:
        """Become empty."""
        self.content, self._piece = b"", None


class JobStream:
    """The messages of one job, for readers that reached the gateway at the same address."""

    def __init__(self, gateway: Gateway, job_id: str, base: str) -> None:
        self._gateway, self._job_id = gateway, job_id
        until_ms = time.time_ns() // 1_000_000 + int(gateway.settings.kept_s * 1000)
        self.place = Place(base, moment(until_ms))
        self.sent = Ring[Sent](FRAMES_KEPT)
        self.job = Job()
        """As far as `sent` tells of it."""
        self.position: int | None = None
        self.readers = 0
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when `job` is known; or why it is not."""
        self.preview = Sent(b"")
        """The newest one."""

    async def run(self) -> None:
        """Follow the job to its end."""
        try:
            async with self._gateway.feeds.open(self._job_id) as feed:
                await self._look()
                place, self.job = feed.changes.end, feed.job
                self.begun.set_result(None)
                await self._follow(feed, place)
        except Exception as error:
            if self.begun.done():
                logger.exception("job_stream_ended job=%s", self._job_id)
            else:
                self.begun.set_exception(error)
        finally:
            self.begun.cancel()
            self.sent.close()

    async def _follow(self, feed: JobFeed, place: int) -> None:
        beside = [
            asyncio.create_task(self._follow_previews(feed)),
            asyncio.create_task(self._follow_position()),
        ]
        try:
            while True:
                try:
                    changes = await feed.changes.after(place)
                except Overtaken:
                    place = feed.changes.end
                    self._move(feed.job)
                    continue
                if not changes:
                    return
                for change in changes:
                    self._move(change.job)
                place += len(changes)
        finally:
            for task in beside:
                task.cancel()

    def _move(self, job: Job) -> None:
        content = frames_between(self.job, job, self.place)
        if job.status != "queued":
            self.position = None
        self.job = job
        if content:
            self._send(Sent(content))

    def _send(self, message: Sent) -> None:
        self.sent.add(message)
        message.was_handed_on()

    async def _follow_previews(self, feed: JobFeed) -> None:
        place = max(0, feed.previews.end - 1)  # also the one that is there
        while True:
            try:
                previews = await feed.previews.after(place)
            except Overtaken:
                place = feed.previews.end - 1
                continue
            if not previews:
                return
            place += len(previews)
            self.preview.drop()
            self.preview = Sent(preview_frame(previews[-1]))
            self._send(self.preview)
            await asyncio.sleep(PREVIEW_EVERY_S)

    async def _follow_position(self) -> None:
        records = self._gateway.feeds.records
        seen, looked_s = records.end, time.monotonic()
        while True:
            watched = len(self._gateway.job_streams)
            await asyncio.sleep(max(POSITION_EVERY_S, watched / LOOKS_A_SECOND))
            is_due = time.monotonic() - looked_s >= LOOK_ANYWAY_S
            if self.job.status == "queued" and (is_due or records.end != seen):
                seen, looked_s, before = records.end, time.monotonic(), self.position
                await self._look()
                if self.position != before and self.job.status == "queued":
                    self._send(Sent(status_frame(self.job, self.position)))

    async def _look(self) -> None:
        with contextlib.suppress(EverfoldError):  # the last one counts until the next look
            self.position = (await self._gateway.looks.look(self._job_id)).position


class JobStreams:
    """The streams of one gateway: one for each job that is watched, and address."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._streams: dict[tuple[str, str], JobStream] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._streams)

    @contextlib.asynccontextmanager
    async def open(self, job_id: str, base: str) -> AsyncIterator[JobStream]:
        """Yield the stream of a job. Raises JobUnknown, Unavailable, or a kind of CorruptLog."""
        key = (job_id, base)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = JobStream(self._gateway, job_id, base)
            self._tasks[key] = asyncio.create_task(stream.run())
        stream.readers += 1
        try:
            await asyncio.shield(stream.begun)
            yield stream
        finally:
            stream.readers -= 1
            if not stream.readers:
                del self._streams[key]
                self._tasks.pop(key).cancel()
