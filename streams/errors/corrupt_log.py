"""Park the job; a person must look."""

from __future__ import annotations

from everfold.streams.errors.base import EverfoldError


class CorruptLog(EverfoldError):
    """The log holds something that cannot be read. The job is parked; a person must look."""


class UndecodableEvent(CorruptLog):
    """An event whose type is unknown here, or whose JSON does not fit its type."""

    def __init__(self, job_id: str, seq: int, entry_id: str, why: str) -> None:
        super().__init__(f"event {seq} of job {job_id} (entry {entry_id}) cannot be read: {why}")
        self.job_id, self.seq, self.entry_id, self.why = job_id, seq, entry_id, why


class ArchiveDamaged(CorruptLog):
    """A file of the archive is not what was written. Nothing is read past it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the archive's file {name} is damaged: {why}")
        self.name, self.why = name, why


class Trimmed(CorruptLog):
    """Events that were asked for are no longer in the log, and in no archive that is known."""

    def __init__(self, partition: int, after: str, to: str) -> None:
        gone = f"partition {partition}: the events after {after} up to {to} were trimmed"
        super().__init__(f"{gone} from the log; name the archive that has them (--archive)")
        self.partition, self.after, self.to = partition, after, to


class WentBack(CorruptLog):
    """An event that was read is gone and was not trimmed: lost writes, or a new namespace."""

    def __init__(self, partition: int, cursor: str) -> None:
        gone = f"partition {partition}: entry {cursor} that was read before is gone"
        advice = "compare what you have with the jobs as they are now, and use a new cursor"
        super().__init__(f"{gone}: the log went back in time; {advice}")
        self.partition, self.cursor = partition, cursor


class BrokenChain(CorruptLog):
    """A job's events do not follow one another: some are missing from the log."""

    def __init__(self, job_id: str, expected: int, found: int) -> None:
        super().__init__(f"job {job_id} should go on with event {expected}; the log has {found}")
        self.job_id, self.expected, self.found = job_id, expected, found


class BrokenHead(CorruptLog):
    """The keys that guard the writes of a job are not as Everfold wrote them."""

    def __init__(self, job_id: str, why: str) -> None:
        super().__init__(f"job {job_id} cannot be written to: {why}")
        self.job_id, self.why = job_id, why


class WrongKeyType(CorruptLog):
    """A key of the namespace holds another type or shape than Everfold writes there."""


class AssetDamaged(CorruptLog):
    """Stored bytes are not those that were stored."""

    def __init__(self, content_hash: str, found: str) -> None:
        super().__init__(f"the stored bytes of {content_hash} have changed: they have {found} now")
        self.hash, self.found = content_hash, found
