"""The charts of one gateway: what the log has of the last day, read once, then kept as it goes on.

Rule: nothing is read before somebody asks. The first read goes on in the background, a page at a
time, and what is answered meanwhile says that it is not complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.streams.events.record import Recorded, entry_order
from everfold.streams.reading.reader import last_entry_ids, partition_page
from everfold.streams.redis.server import server_time_ms
from everfold.web.farm.charts.chart_fold import DAY_MINUTES, MINUTE_MS, ChartFold, ChartRow
from everfold.web.feeds.feeds import Feeds

logger = get_logger("everfold.web")

Range = Literal["1h", "24h"]

SPANS: dict[Range, tuple[int, int]] = {"1h": (60, 1), "24h": (96, 15)}
"""Range -> how many stretches, and how many minutes each has."""

FIRST_WITHIN_S = 10.0
"""How long one who asks waits for the first read."""
WAITING_LIMIT = 100_000
"""Events that come while the log is read; beyond, the read begins anew."""
AGAIN_S = 5.0
AT_ONCE = 200
"""Events that are read before others have a turn."""


class Recent(Struct, frozen=True, kw_only=True):
    """The last hour by minutes, the last day by quarters of an hour, and whether all was read."""

    hour: Sequence[ChartRow]
    day: Sequence[ChartRow]
    is_complete: bool


class Charts:
    """The charts of one gateway."""

    def __init__(self, log: Log, feeds: Feeds) -> None:
        self._log, self._feeds = log, feeds
        self._fold = ChartFold()
        self._came: list[Recorded] | None = []
        """Events that came while the log is read; None once it was."""
        self._reading: asyncio.Task[None] | None = None
        self._read = asyncio.Event()

    async def rows(self, span: Range, now_ms: int | None = None) -> tuple[list[ChartRow], bool]:
        """Return the rows of a range, and whether all of the log was read for them.

        Raises a leaf of Unavailable.
        """
        self.begin()
        try:
            async with asyncio.timeout(FIRST_WITHIN_S):
                await self._read.wait()
        except TimeoutError:
            logger.debug("charts_not_read_yet")
        count, minutes = SPANS[span]
        now_ms = await server_time_ms(self._log.redis) if now_ms is None else now_ms
        return self._fold.rows(now_ms, count, minutes), self._read.is_set()

    def recent(self, now_ms: int) -> Recent:
        """Return both ranges, as far as they are known."""
        hour, day = (self._fold.rows(now_ms, *SPANS[span]) for span in ("1h", "24h"))
        return Recent(hour=hour, day=day, is_complete=self._read.is_set())

    def begin(self) -> None:
        """Read the log, once, and follow it from now on."""
        if self._reading is None:
            self._feeds.listeners.append(self._note)
            self._reading = asyncio.create_task(self._read_log())

    async def aclose(self) -> None:
        """End what runs."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _note(self, record: Recorded) -> None:
        if self._came is None:
            self._fold.note(record)
        elif len(self._came) <= WAITING_LIMIT:
            self._came.append(record)

    async def _read_log(self) -> None:
        while True:
            try:
                if await self._read_once():
                    return
            except EverfoldError as error:
                logger.warning("charts_wait why=%r", str(error))
            await asyncio.sleep(AGAIN_S)

    async def _read_once(self) -> bool:
        """Fold the log, then what came meanwhile; False where too much came."""
        self._came = []
        ends, fold = await last_entry_ids(self._log), ChartFold()
        since_ms = await server_time_ms(self._log.redis) - DAY_MINUTES * MINUTE_MS
        for partition, end in ends.items():
            after = f"{max(0, since_ms)}-0"
            while entry_order(after) < entry_order(end):
                page = await partition_page(self._log, partition, after, AT_ONCE, end)
                for record in page:
                    fold.note(record)
                if not page:
                    break
                after = page[-1].entry_id
                await asyncio.sleep(0)
        if len(self._came) > WAITING_LIMIT:
            return False
        for record in self._came:
            partition = self._log.keys.partition_of(record.job_id)
            if entry_order(record.entry_id) > entry_order(ends[partition]):
                fold.note(record)
        self._fold, self._came = fold, None
        self._read.set()
        return True
