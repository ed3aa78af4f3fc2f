"""The export file: the history of a namespace, or of some of its jobs.

Rule: gzip of JSON lines: a header; for each partition its entries, as in a segment, and the graphs
that they need; at the end a count and the SHA-256 of all lines before. The whole file is checked
before its first entry is used.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

from everfold.streams.archive.segment import bounded_lines, read_line, write_line
from everfold.streams.errors import ArchiveDamaged, Refused
from everfold.streams.events.checks import check_choice, check_job_id, check_name
from everfold.streams.events.event import Submitted
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.record import FIELDS, RawEntry, entry_order, recorded
from everfold.streams.redis.keys import PRIORITIES
from everfold.streams.redis.namespace import PARTITION_LIMIT

FORMAT = 1


TAG_FIELD = "parcel"
"""Marks the lines that are not entries. The name is part of the format."""


class Header(Struct, frozen=True, tag_field=TAG_FIELD, tag="everfold"):
    namespace: str
    partitions: int
    format: int = FORMAT


class Partition(Struct, frozen=True, tag_field=TAG_FIELD, tag="partition"):
    """The entries that follow belong to this partition."""

    number: int


class Graph(Struct, frozen=True, tag_field=TAG_FIELD, tag="workflow"):
    sha256: str
    graph: str


class End(Struct, frozen=True, tag_field=TAG_FIELD, tag="end"):
    events: int
    sha256: str


Item = tuple[int, RawEntry] | Graph
"""An entry with its partition, or a graph."""

Mark = Header | Partition | Graph | End

LATEST_MS = 4_102_444_800_000
"""The year 2100: after an entry of a later time the log would take no other."""

_read: Callable[[bytes | str], Mark] = decoder(cast("type[Mark]", Mark))
_MARK = f'{{"{TAG_FIELD}":'.encode()


class ExportWriter:
    """Writes to FILE.part; `end` renames it. Every method raises OSError when it cannot write."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._out = gzip.open(self._part, "wb", compresslevel=6)  # noqa: SIM115 - closed by `end`
        self._digest = hashlib.sha256()
        self._partition = -1
        self.events = 0
        self._mark(header)

    def entry(self, partition: int, entry: RawEntry) -> None:
        """Add an entry. All entries of a partition come in one run, in their order."""
        if partition != self._partition:
            self._partition = partition
            self._mark(Partition(partition))
        self._write(write_line(entry))
        self.events += 1

    def graph(self, sha256: str, graph: bytes) -> None:
        """Add a graph, as it is stored under its hash."""
        self._mark(Graph(sha256, graph.decode()))

    def end(self) -> None:
        """Write the checksum and put the file in place."""
        self._mark(End(self.events, self._digest.hexdigest()))
        self._out.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        """Close and delete the unfinished file; does nothing to one that `end` has placed."""
        self._out.close()
        self._part.unlink(missing_ok=True)

    def _mark(self, mark: Mark) -> None:
        self._write(msgspec.json.encode(mark))

    def _write(self, line: bytes) -> None:
        self._out.write(line + b"\n")
        self._digest.update(line + b"\n")


def check_export(path: Path) -> tuple[Header, End]:
    """Read the whole file. Raises ArchiveDamaged unless it is complete and unchanged."""
    header, end, events, digest = None, None, 0, hashlib.sha256()
    partition = -1
    for line in _lines(path):
        mark = _read_mark(path, line) if line.startswith(_MARK) else None
        header = mark if isinstance(mark, Header) else header
        partition = _check_line(path, line, mark, header, partition)
        if end is not None or header is None:
            raise ArchiveDamaged(path.name, "it is no export file, or has lines after its end")
        if isinstance(mark, End):
            end = mark
            continue
        digest.update(line)
        events += mark is None
    if header is None or end is None:
        raise ArchiveDamaged(path.name, "its end is missing")
    if (events, digest.hexdigest()) != (end.events, end.sha256):
        raise ArchiveDamaged(path.name, "its lines do not match its checksum")
    return header, end


def _check_line(
    path: Path, line: bytes, mark: Mark | None, header: Header | None, partition: int
) -> int:
    """Return the partition that the next line belongs to. Raises ArchiveDamaged, which says why."""
    match mark:
        case Header() if not 1 <= mark.format <= FORMAT:
            why = f"its format is {mark.format}; this Everfold reads up to {FORMAT}"
        case Header() if not 1 <= mark.partitions <= PARTITION_LIMIT:
            why = f"it names {mark.partitions} partitions"
        case Partition() if header is None or not partition < mark.number < header.partitions:
            why = f"partition {mark.number} is not one of it, or out of order"
        case Graph() if hashlib.sha256(mark.graph.encode()).hexdigest() != mark.sha256:
            why = f"graph {mark.sha256[:80]!r} is another one than its SHA-256 says"
        case None:
            why = _fault_of(line, partition)
        case _:
            why = ""
    if why:
        raise ArchiveDamaged(path.name, why)
    return mark.number if isinstance(mark, Partition) else partition


def _fault_of(line: bytes, partition: int) -> str:
    """Say what is wrong with the line of an entry; nothing for one that can be imported."""
    try:
        entry_id, flat = read_line(line)
    except ValueError as error:
        return f"a line is no entry: {error}"
    record = recorded(entry_id, flat)
    where = f"entry {entry_id[:40]!r} "
    try:
        milliseconds, counter = entry_order(entry_id.decode())
    except ValueError:
        return f"{where}has no usable id"
    if flat[::2] != FIELDS or not record.job_id:
        return f"{where}is no event of a job"
    if partition < 0 or not (0 < milliseconds < LATEST_MS and 0 <= counter < 2**32):
        return f"{where}has an id that no log gives, or no partition"
    try:
        check_job_id(record.job_id)
        if isinstance(record.event, Submitted):
            check_name("queue", record.event.queue)
            check_choice("priority", record.event.priority, PRIORITIES)
    except Refused as error:
        return f"{where}: {error}"
    return ""


def read_export(path: Path) -> Iterator[Item]:
    """Yield the entries and graphs of a file that `check_export` accepted, in their order."""
    partition = -1
    for line in _lines(path):
        if not line.startswith(_MARK):
            yield partition, read_line(line)
            continue
        mark = _read_mark(path, line)
        if isinstance(mark, Partition):
            partition = mark.number
        if isinstance(mark, Graph):
            yield mark


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as lines:
            yield from bounded_lines(lines, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveDamaged(path.name, str(error)) from error


def _read_mark(path: Path, line: bytes) -> Mark:
    try:
        return _read(line)
    except NotJson as error:
        raise ArchiveDamaged(path.name, str(error)) from error
