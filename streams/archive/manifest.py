"""The manifest of a segment: what is in it, and the link to the one before.

Rule: a segment exists when its manifest does. Each manifest names the SHA-256 of its segment
and of the manifest before, so that the last one, the head, vouches for everything before it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import msgspec
from msgspec import Struct

from everfold.streams.errors import ArchiveDamaged
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.event import Event, Submitted
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.record import Recorded, entry_order, entry_time_ms
from everfold.streams.events.stored_fields import is_entry_id

FORMAT = 1
"""Of manifests and segments; a newer one is not read."""


class Manifest(Struct, frozen=True, kw_only=True):
    """What is in a segment: one JSON file beside it."""

    format: int = FORMAT
    namespace: str
    generation: str
    partition: int
    number: int
    """Counts from 0 within the partition."""
    first: str
    """Entry id of the first event."""
    last: str
    count: int
    sha256: str
    """Of the segment's file."""
    previous: str
    """SHA-256 of the manifest before; empty for the first."""
    jobs: Mapping[str, tuple[int, int]]
    """Job -> its first and last sequence number in the segment."""
    versions: Mapping[str, int]
    """Type and schema version, such as "job.started.v1" -> how many."""
    workflows: Sequence[str]
    """SHA-256 of the graphs that jobs submitted here use."""
    graphs: Sequence[str] = ()
    """Those of them that are archived; the others were gone, or the manifest is of an early day."""
    follows: str = ""
    """Entry id behind which this segment goes on, where a server has lost what is archived after
    it; empty where it goes on behind the segment before."""

    @property
    def name(self) -> str:
        """Path of the manifest's own file."""
        return manifest_name(self.partition, self.number)

    @property
    def segment(self) -> str:
        """Path of the segment's file."""
        return segment_name(self.partition, self.number, self.sha256)

    @property
    def until_ms(self) -> int:
        """Time of the last event, Unix ms."""
        return entry_time_ms(self.last)


class Link(Struct, frozen=True):
    """A manifest with the hash of its own file."""

    manifest: Manifest
    sha256: str
    """Of the manifest's file; the head of the chain is that of the last link."""


def manifest_name(partition: int, number: int) -> str:
    """Return the path of a manifest within the store."""
    return f"partition-{partition}/{number:08}.manifest.json"


def segment_name(partition: int, number: int, sha256: str) -> str:
    """Return the path of a segment: with its hash, so that two archivers write two files."""
    return f"partition-{partition}/{number:08}-{sha256[:16]}.jsonl.gz"


def workflow_name(sha256: str) -> str:
    """Return the path of an archived graph."""
    return f"workflows/{sha256}.json.gz"


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def make_manifest(
    records: Sequence[Recorded],
    content: bytes,
    before: Link | None,
    *,
    namespace: str,
    generation: str,
    partition: int,
) -> Manifest:
    """Return the manifest of a segment that follows the link `before`, None for the first.

    `records` are its events, at least one; `content` is its compressed file.
    """
    return Manifest(
        namespace=namespace,
        generation=generation,
        partition=partition,
        number=before.manifest.number + 1 if before else 0,
        first=records[0].entry_id,
        last=records[-1].entry_id,
        count=len(records),
        sha256=sha256_of(content),
        previous=before.sha256 if before else "",
        jobs=jobs_of(records),
        versions=dict(sorted(Counter([_version(record.event) for record in records]).items())),
        workflows=list(dict.fromkeys(_workflows(records))),
    )


def _version(event: Event | Unreadable) -> str:
    if isinstance(event, Unreadable):
        return f"unreadable {event.kind}".strip()
    return _known_version(type(event), event.v)


@cache
def _known_version(kind: type[Event], v: int) -> str:
    return f"{kind.__struct_config__.tag}.v{v}"


def _workflows(records: Iterable[Recorded]) -> Iterator[str]:
    return (one.event.stored for one in records if isinstance(one.event, Submitted))


def jobs_of(records: Iterable[Recorded]) -> dict[str, tuple[int, int]]:
    """Return job -> its first and last sequence number in a segment."""
    jobs: dict[str, tuple[int, int]] = {}
    for record in records:
        if record.job_id:
            low = jobs.get(record.job_id, (record.seq, 0))[0]
            jobs[record.job_id] = (low, record.seq)
    return jobs


_decode = decoder(Manifest)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest's file."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def read_manifest(content: bytes, name: str) -> Link:
    """Return a manifest with the hash of its file, `name`.

    Raises ArchiveDamaged for what is no manifest, or one of a newer format.
    """
    try:
        manifest = _decode(content)
    except NotJson as error:
        raise ArchiveDamaged(name, str(error)) from error
    if manifest.format > FORMAT:
        raise ArchiveDamaged(name, f"its format {manifest.format} is newer than this Everfold")
    if why := _fault(manifest):
        raise ArchiveDamaged(name, why)
    return Link(manifest, sha256_of(content))


def _fault(manifest: Manifest) -> str:
    """Return which field has a value that no archiver writes; empty for none."""
    hashes = (manifest.sha256, *manifest.workflows, *manifest.graphs)
    if not all(map(_SHA256.fullmatch, hashes)) or len(manifest.previous) not in (0, 64):
        return "it names a file by what is no SHA-256"
    ids = (manifest.first, manifest.last, manifest.follows or manifest.first)
    if not all(is_entry_id(one.encode()) for one in ids):
        return "an entry that it names has no entry id"
    if entry_order(manifest.first) > entry_order(manifest.last) or manifest.count < 1:
        return "its last entry stands before its first"
    return "" if manifest.format >= 1 else f"there is no format {manifest.format}"
