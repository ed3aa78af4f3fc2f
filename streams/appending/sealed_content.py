"""What a log does with content that is sealed: it seals what goes in, and opens what is read.

Rule: without a key of the environment nothing is sealed, and nothing here asks the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

from everfold.streams.border.sealed_form import content_text
from everfold.streams.errors import SealKeyMissing
from everfold.streams.events.event import Event, Fact
from everfold.streams.events.record import Recorded
from everfold.streams.redis.retry import with_retry
from everfold.streams.sealing.sealed_values import BROKEN, NOT_GIVEN
from everfold.streams.sealing.sealing import LOCKED, Sealing

E = TypeVar("E", bound=Fact)
T = TypeVar("T")


class SealedContent:
    """The part of `Log` that seals and opens."""

    retry_for_s: float
    sealing: Sealing | None
    """None where no key is given."""

    async def sealed(self, job_id: str, event: E) -> E:
        """Return an event of a job with its content sealed, where this process has a key.

        Raises Refused as `encode` does, SealKeyMissing, a leaf of Unavailable.
        """
        sealing = self.sealing
        if sealing is None:
            return event
        written = cast("Event", event)
        found = await with_retry(lambda: sealing.event(job_id, written), self.retry_for_s)
        return cast("E", found)

    async def sealed_text(self, job_id: str, text: str) -> str:
        """Return a text about a job sealed, where this process has a key; `opened` opens it.

        Raises SealKeyMissing, a leaf of Unavailable.
        """
        sealing = self.sealing
        if sealing is None:
            return text
        return await with_retry(lambda: sealing.text(job_id, text), self.retry_for_s)

    async def opened(self, value: T, job_id: str) -> T:
        """Return something of one job, such as its state, with its sealed content as it was given.

        Where this process has no key it stays as it is. Where a user was erased,
        `{"everfold_sealed": "erased"}` or `(erased)` stand in the place of the content. Raises a
        leaf of Unavailable.
        """
        sealing = self.sealing
        if sealing is None:
            return value
        return await with_retry(lambda: sealing.opened(value, job_id), self.retry_for_s)

    async def opened_records(self, records: Sequence[Recorded]) -> Sequence[Recorded]:
        """Return events with their content as it was given, as `opened` does."""
        sealing = self.sealing
        if sealing is None:
            return records
        return await with_retry(lambda: sealing.opened_records(records), self.retry_for_s)

    async def why_locked(self, value: object) -> str:
        """Return why a sealed value cannot be opened by this process, in a sentence; empty where it
        can, and where its key was thrown away. Raises a leaf of Unavailable."""
        sealing = self.sealing
        if sealing is None:
            return NOT_GIVEN
        found = await with_retry(lambda: sealing.why_locked(value), self.retry_for_s)
        return {"": "", LOCKED: NOT_GIVEN}.get(found, BROKEN)

    async def opened_content(self, stored: bytes) -> bytes | None:
        """Return what a job stored as it was given; None where its user was erased.

        Raises SealKeyMissing, a leaf of Unavailable.
        """
        sealing = self.sealing
        if sealing is not None:
            return await with_retry(lambda: sealing.opened_content(stored), self.retry_for_s)
        if content_text(stored):
            raise SealKeyMissing
        return stored
