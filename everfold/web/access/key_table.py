"""The keys as one gateway knows them: read every few seconds, and asked without a trip to Redis.

Rule: a change counts within REFRESH_S. While Redis is away what was known counts for STALE_S;
what was not known is "away", never "wrong". What wrong keys cost does not grow with their number.
"""

from __future__ import annotations

import asyncio
import time

from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import EverfoldError
from everfold.web.access.key import Key, Shown
from everfold.web.access.key_store import keys_with_time, note_uses, read_keys
from everfold.web.access.open_streams import OpenStreams
from everfold.web.access.rates import Bucket

logger = get_logger("everfold.web")

REFRESH_S = 2.0
STALE_S = 60.0
AWAY_AFTER_S = REFRESH_S + 3.0
"""A restart of Redis that takes less is waited for by the requests themselves."""
AGAIN_PER_S, AGAIN_AT_ONCE = 5.0, 10.0
"""An unknown key makes the table be read again, for it may be a new one; not more often."""
USE_NOTED_EVERY_MS = 10 * 60 * 1000


class KeyTable:
    """All keys of a namespace. For one event loop."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._keys: dict[str, Key | None] = {}
        self._texts: dict[bytes, Key] = {}
        self._read_at_s = self._tried_at_s = float("-inf")
        self._server_ms = 0
        self._reading = asyncio.Lock()
        self._again = Bucket(AGAIN_PER_S, AGAIN_AT_ONCE)
        self._away: EverfoldError | None = None
        """Why the keys could not be read the last time."""
        self._uses = dict[str, int]()
        self._noted = dict[str, int]()

    @property
    def now_ms(self) -> float:
        """The server's time, as it was plus what has passed since."""
        return self._server_ms + 1000 * self._age_s()

    def _age_s(self) -> float:
        return time.monotonic() - self._read_at_s

    def check_reachable(self) -> None:
        """Raise a leaf of Unavailable once Redis has not answered for AWAY_AFTER_S.

        So only the first requests wait for a server that hangs.
        """
        if self._away is not None and self._age_s() > AWAY_AFTER_S:
            raise self._away.with_traceback(None) from None

    async def has_keys(self) -> bool:
        """Say whether keys are asked for. Raises a leaf of Unavailable, as all do."""
        await self._refresh(REFRESH_S, STALE_S)
        return bool(self._keys)

    async def find(self, text: str) -> tuple[str, Key] | None:
        """Return the good key that a text is, with its id; None for a wrong one."""
        shown = Shown.read(text)
        if shown is None:
            return None
        await self._refresh(REFRESH_S, STALE_S)
        if shown.key_id not in self._keys:
            await self._look_again()
        key = self._keys.get(shown.key_id)
        if not shown.fits(key) or key is None or not key.is_good(self.now_ms):
            return None
        self._use(shown.key_id)
        return shown.key_id, key

    async def by_id(self, key_id: str) -> Key | None:
        """Return a good key by its id, for one who has shown it before."""
        await self._refresh(REFRESH_S, STALE_S)
        key = self._keys.get(key_id)
        if key is None or not key.is_good(self.now_ms):
            return None
        self._use(key_id)
        return key

    def is_good(self, key_id: str) -> bool:
        """Say whether an id still counts; the empty one of nobody while there are no keys."""
        if not key_id:
            return not self._keys
        key = self._keys.get(key_id)
        return key is not None and key.is_good(self.now_ms)

    async def _refresh(self, after_s: float, most_s: float) -> None:
        """Read the keys where they are older than `after_s`.

        Where that fails, and while it goes on, they count until they are older than `most_s`. All
        who wait for one read share its outcome: a server that hangs is not asked once for each.
        """
        if self._age_s() < after_s or (self._reading.locked() and self._age_s() < most_s):
            return
        asked_s = time.monotonic()
        async with self._reading:
            if self._tried_at_s < asked_s:
                await self._try()
            if self._away is not None and self._age_s() >= most_s:
                raise self._away.with_traceback(None) from None

    async def _try(self) -> None:
        try:
            await self._read()
        except EverfoldError as error:
            self._away = error
        finally:
            self._tried_at_s = time.monotonic()

    async def _look_again(self) -> None:
        """Read the keys for an unknown one, which is not wrong before that was done."""
        if not self._again.take(time.monotonic()):
            await self._refresh(0.0, 0.0)
        elif self._away is not None:
            raise self._away.with_traceback(None) from None

    async def _read(self) -> None:
        began_s = time.monotonic()
        found, server_ms = await keys_with_time(self._log)
        self._keys = read_keys(found, self._texts)
        rows = ((text, self._keys[name.decode(errors="replace")]) for name, text in found.items())
        self._texts = {text: key for text, key in rows if key is not None}
        self._read_at_s, self._server_ms, self._away = began_s, server_ms, None
        self._noted = {one: at for one, at in self._noted.items() if one in self._keys}

    def _use(self, key_id: str) -> None:
        now_ms = int(self.now_ms)
        if now_ms - self._noted.get(key_id, 0) > USE_NOTED_EVERY_MS:
            self._noted[key_id] = self._uses[key_id] = now_ms

    async def follow(self, streams: OpenStreams) -> None:
        """Read the keys again and again, end the streams of those that count no more."""
        said = ""
        while True:
            try:
                await self._refresh(0.0, 0.0)
                streams.end_without(self.is_good)
                uses, self._uses = self._uses, {}
                await note_uses(self._log, uses)
                said = ""
            except EverfoldError as error:
                if said != (said := str(error)):
                    logger.warning("keys_not_read why=%r", said)
            await asyncio.sleep(REFRESH_S)
