"""Checks the entries of an export file, so that an import writes only what a log would have.

Rule: pure. A job's events form one unbroken chain in its own partition, and no value is one that a
key, a script or a table could not carry. An id may be used again once its job has ended: an archive
keeps what was trimmed of the job before. Each fault is a sentence that names the entry.
"""

from __future__ import annotations

import math
import re

from msgspec import Struct
from msgspec.structs import asdict

from everfold.streams.assets.asset import check_asset_id, check_hash
from everfold.streams.errors import Refused
from everfold.streams.events.checks import (
    check_choice,
    check_event_id,
    check_inputs,
    check_job_id,
    check_name,
    check_tags,
    check_text,
)
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Event, Submitted, closing_status
from everfold.streams.events.limits import LAST_DATE_MS, NAME_LIMIT
from everfold.streams.events.record import (
    FIELDS,
    NO_ENTRY,
    RawEntry,
    Recorded,
    entry_order,
    recorded,
)
from everfold.streams.redis.keys import PRIORITIES, Keyspace

LATEST_MS = 4_102_444_800_000
"""The year 2100: after an entry of a later time the log would take no other."""

NUMBER_LIMIT = 2**53
"""Beyond it a script no longer counts exactly."""

_ENTRY_ID = re.compile(r"(?:0|[1-9][0-9]{0,15})-(?:0|[1-9][0-9]{0,9})")
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,15}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Last(Struct, frozen=True):
    """The newest event of a job that was read so far."""

    seq: int
    epoch: int
    entry_id: str
    is_end: bool


_NONE = _Last(0, 0, NO_ENTRY, is_end=False)


class EntryCheck:
    """Checks the entries of one partition of a file, in their order.

    With `allow_broken` the chain of a job's events may have holes, as in the log of a server that
    lost some; such a job stays as unreadable as it was. `begun_again` is told the first entry of
    the newest job of each id that was used again.
    """

    def __init__(
        self, partition: int, partitions: int, begun_again: dict[str, str], *, allow_broken: bool
    ) -> None:
        self._partition = partition
        self._keys = Keyspace("", partitions)
        self._allow_broken = allow_broken
        self._last_id = (0, 0)
        self._jobs: dict[str, _Last] = {}
        self._begun_again = begun_again

    def fault(self, entry: RawEntry) -> str:
        """Return what is wrong with the next entry; empty for one that may be imported."""
        entry_id, flat = entry
        why = _shape_fault(entry_id, flat) or self._place_fault(record := recorded(entry_id, flat))
        why = why or _event_fault(record) or self._chain_fault(record)
        return f"entry {entry_id[:40]!r}: {why}" if why else ""

    def _place_fault(self, record: Recorded) -> str:
        order, before = entry_order(record.entry_id), self._last_id
        if not (0 < order[0] < LATEST_MS and order[1] < 2**32):
            return "an id that no log gives"
        if order <= before:
            return "it is out of order"
        self._last_id = order
        try:
            check_job_id(record.job_id)
        except Refused as error:
            return str(error)
        if self._keys.partition_of(record.job_id) != self._partition:
            return f"job {record.job_id} is not of partition {self._partition}"
        return ""

    def _chain_fault(self, record: Recorded) -> str:
        before = self._jobs.get(record.job_id, _NONE)
        is_submit = isinstance(record.event, Submitted)
        if is_submit and (before.is_end or self._allow_broken) and before is not _NONE:
            self._begun_again[record.job_id] = record.entry_id
            before = _NONE
        is_end = not isinstance(record.event, Unreadable) and bool(closing_status(record.event))
        self._jobs[record.job_id] = _Last(record.seq, record.epoch, record.entry_id, is_end)
        if is_submit != (record.seq == 1) or not (is_submit or before.seq):
            return f"job {record.job_id} does not begin with its submit, and only there"
        if self._allow_broken:
            return ""
        expected = (before.seq + 1, before.entry_id)
        if (record.seq, record.previous) != expected or record.epoch < before.epoch:
            return f"it does not follow event {before.seq} of job {record.job_id}"
        return f"job {record.job_id} has ended before it" if before.is_end else ""


def _shape_fault(entry_id: bytes, flat: list[bytes]) -> str:
    if len(flat) != 2 * len(FIELDS) or flat[::2] != FIELDS:
        return "it is no event of a job"
    _, seq, epoch, previous, _ = flat[1::2]
    ids = (entry_id.decode("ascii", "replace"), previous.decode("ascii", "replace"))
    if not all(map(_ENTRY_ID.fullmatch, ids)):
        return "it has no usable id"
    if not (_NUMBER.fullmatch(seq) and _NUMBER.fullmatch(epoch)):
        return "its sequence number and epoch are no numbers"
    if max(int(seq), int(epoch)) >= NUMBER_LIMIT:
        return "its sequence number or epoch is too large"
    return "" if recorded(entry_id, flat).job_id else "it is no event of a job"


def _event_fault(record: Recorded) -> str:
    event = record.event
    if isinstance(event, Unreadable):
        return ""  # of a later version perhaps: its job waits for programs that can read it
    try:
        check_event_id(event.id)
        if isinstance(event, Submitted):
            _check_submit(event)
    except Refused as error:
        return str(error)
    return _number_fault(event)


def _check_submit(event: Submitted) -> None:
    check_name("queue", event.queue)
    check_choice("priority", event.priority, PRIORITIES)
    for what, text in (("kind", event.kind), ("user", event.user)):
        check_text(what, text)
    check_text("idempotency key", event.idempotency_key or "")
    check_text("batch", event.batch or "", most=NAME_LIMIT)
    check_tags(event.tags or ())
    for place, found in check_inputs(event.inputs or {}).items():
        check_asset_id(found.asset)
        check_hash(found.hash)
        if not 0 <= found.size_bytes < NUMBER_LIMIT:
            raise Refused(f"input {place[:80]!r} has {str(found.size_bytes)[:40]} bytes")
    for what, sha256 in (("workflow", event.workflow), ("body", event.stored)):
        if not _SHA256.fullmatch(sha256):
            raise Refused(f"{what} {sha256[:80]!r} is no SHA-256")


def _number_fault(event: Event) -> str:
    for name, value in asdict(event).items():
        if not isinstance(value, int | float):
            continue
        is_time = name.endswith("_ms")
        limit = LAST_DATE_MS if is_time else NUMBER_LIMIT
        if not math.isfinite(value) or not (0 if is_time else -limit) <= value <= limit:
            return f"{name} is {str(value)[:40]}, which nobody can mean"
    return ""
