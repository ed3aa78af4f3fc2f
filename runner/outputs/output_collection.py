"""Stores the files of an attempt that has ended, before the event that ends its job.

Rule: each file is streamed once, from the server that took the attempt, into the store of assets.
What is in the way is waited for within `collect_within_s`; then the file is marked as not stored.
Storing again is the same asset, so that another runner can begin anew at any time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress

import anyio
from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.runner.backend import (
    DownloadBroken,
    OutputAnswer,
    OutputBody,
    OutputFile,
    OutputGone,
    SentPictures,
    Unreachable,
)
from everfold.runner.config import RunnerConfig
from everfold.runner.decisions.collecting import LATER
from everfold.runner.decisions.output_files import (
    Missing,
    Plan,
    Why,
    collected,
    names_of,
    pictures_of,
    plan_of,
    with_pictures,
)
from everfold.runner.outputs.places import Places
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import (
    OUTAGES,
    AssetsUnavailable,
    EverfoldError,
    HashMismatch,
    QuotaFull,
    TooLarge,
)
from everfold.streams.events.event import Outputs
from everfold.streams.redis.retry import Backoff

logger = get_logger("everfold.runner")

OpenOutput = Callable[[OutputFile], AbstractAsyncContextManager[OutputAnswer]]
"""Asks the backend of the job's attempt for a file."""


Thumbnail = Callable[[AssetStore, Asset], Awaitable[Asset | None]]
"""Makes and stores a small picture of a stored one; None where there is none to make."""


class Collection(Struct, frozen=True):
    """The outcome of a collection."""

    outputs: Outputs
    missing: frozenset[Why]
    """Why files that the job's policy means are not stored; empty when all are."""


class OutputCollection:
    """Stores the files of one attempt of `job`; `sent` are its pictures by node."""

    def __init__(
        self,
        config: RunnerConfig,
        assets: AssetStore,
        places: Places,
        job: Job,
        open_output: OpenOutput,
        sent: Mapping[str, SentPictures],
        thumbnail: Thumbnail | None = None,
    ) -> None:
        self._config, self._assets, self._job = config, assets, job
        self._places, self._files, self._open_output = places, places.files, open_output
        self._questions = places.of(job.server or job.backend).questions
        self._pictures = pictures_of(sent)
        self._names: dict[OutputFile, str] = {}
        self._within_s = self._deadline_s = 0.0
        self._in_the_way: Why | None = None
        """What the last try of any file has met; None after a success."""
        self._told = set[Why]()
        self._found: dict[OutputFile, Asset | Missing] = {}
        self._thumbnail = thumbnail
        self._thumbnails: dict[OutputFile, Asset] = {}
        self._plan = Plan((), {}, is_whole=True)

    async def run(self, outputs: Outputs, within_s: float) -> Collection:
        """Store all that the outputs name. After `within_s` no try begins any more, unless the last
        one went well and the file was not tried before.

        Waits for the server of the log. Raises nothing but what ends the run.
        """
        self._within_s, self._deadline_s = within_s, anyio.current_time() + within_s
        self._plan = plan = self._planned(outputs)
        pictures = self._sent()
        self._names = names_of([*plan.files, *pictures], self._job.job_id)
        async with anyio.create_task_group() as tasks:
            for file in plan.files:
                tasks.start_soon(self._store, file, None)
            for file, content in pictures.items():
                tasks.start_soon(self._store, file, content)
        return self.so_far(outputs)

    def skipped(self, outputs: Outputs) -> Collection:
        """Return the outputs with every file marked as left out; nothing is asked for."""
        self._plan, self._in_the_way = self._planned(outputs), "skipped"
        return self.so_far(outputs)

    def _planned(self, outputs: Outputs) -> Plan:
        return plan_of(
            outputs,
            previews=self._job.policy.previews == "collect",
            event_limit_bytes=self._config.event_limit_bytes,
        )

    def so_far(self, outputs: Outputs) -> Collection:
        """Return what is stored by now; the rest is marked with what is in its way."""
        rest = Missing(self._in_the_way or "unreachable")
        tried = dict.fromkeys([*self._plan.files, *self._sent()], rest) | self._found
        missing = {found.why for found in tried.values() if isinstance(found, Missing)}
        if not self._plan.is_whole:
            missing.add("skipped")
        whole = with_pictures(outputs, self._pictures)
        found = {**self._plan.left_out, **tried}
        return Collection(collected(whole, found, self._thumbnails), frozenset(missing))

    def _sent(self) -> dict[OutputFile, bytes | Missing]:
        return {f: c for of_node in self._pictures.values() for f, c in of_node.items()}

    async def _store(self, file: OutputFile, content: bytes | Missing | None) -> None:
        """Store one file; `content` are its bytes where the server need not be asked."""
        if isinstance(content, Missing):
            self._found[file] = content
            return
        self._found[file] = found = await self._until_sure(file, content)
        if isinstance(found, Asset):
            await self._make_thumbnail(file, found)
        else:
            job_id, name = self._job.job_id, file.filename
            logger.warning("output_not_stored job=%s file=%r why=%s", job_id, name, found.why)

    async def _until_sure(self, file: OutputFile, content: bytes | None) -> Asset | Missing:
        backoff = Backoff()
        while True:
            async with self._questions:
                if self._in_the_way and anyio.current_time() > self._deadline_s:
                    return Missing(self._in_the_way)
                found = await self._try(file, content)
                is_to_wait = isinstance(found, Missing) and found.why in LATER
                self._in_the_way = found.why if isinstance(found, Missing) and is_to_wait else None
                if isinstance(found, Asset) or self._in_the_way == "store_full":
                    self._places.note_store(fails=not isinstance(found, Asset))
            pause_s = backoff.next_s()
            is_late = anyio.current_time() + pause_s > self._waits_until_s()
            if found is not None and (is_late or not is_to_wait):
                return found
            await anyio.sleep(pause_s)

    def _waits_until_s(self) -> float:
        if self._in_the_way != "store_full":
            return self._deadline_s
        return min(self._deadline_s, self._places.waits_for_store_until_s(self._within_s))

    async def _make_thumbnail(self, file: OutputFile, asset: Asset) -> None:
        """Make one within the time that is left; the job does not wait for more."""
        if self._thumbnail is not None:
            with anyio.CancelScope(deadline=self._deadline_s), suppress(EverfoldError):
                if made := await self._thumbnail(self._assets, asset):
                    self._thumbnails[file] = made

    async def _try(self, file: OutputFile, content: bytes | None) -> Asset | Missing | None:
        """Try once; None while the server of the log is away, without which no job ends anyway."""
        try:
            return await (self._fetch(file) if content is None else self._put(file, content))
        except (DownloadBroken, HashMismatch) as error:
            return self._trouble("unreachable", error)
        except TooLarge:
            return Missing("too_large")
        except QuotaFull as error:
            return self._trouble("quota", error)
        except AssetsUnavailable as error:
            return self._trouble("store_full", error)
        except OUTAGES:
            return None
        except EverfoldError as error:
            return self._trouble("store_full", error)

    def _trouble(self, why: Why, told: Exception | str) -> Missing:
        if why not in self._told:
            self._told.add(why)
            logger.info("output_not_stored_yet job=%s why=%r", self._job.job_id, str(told))
        return Missing(why)

    async def _fetch(self, file: OutputFile) -> Asset | Missing:
        async with self._open_output(file) as answer:
            if isinstance(answer, OutputGone):
                return Missing("gone")
            if isinstance(answer, Unreachable):
                return self._trouble("unreachable", answer.why)
            if answer.size_bytes > self._config.output_limit_bytes:
                return Missing("too_large")
            return await self._put(file, answer)

    async def _put(self, file: OutputFile, source: bytes | OutputBody) -> Asset:
        async with self._files:
            stored = await self._assets.put(
                source.chunks if isinstance(source, OutputBody) else source,
                name=self._names[file],
                owner=self._job.user,
                job_id=self._job.job_id,
                expected_bytes=source.size_bytes if isinstance(source, OutputBody) else len(source),
                most_bytes=self._config.output_limit_bytes,
            )
        return stored.asset
