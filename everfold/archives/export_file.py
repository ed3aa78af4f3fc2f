"""The export file: the history of a namespace, or of some of its jobs.

Rule: gzip of JSON lines: a header; for each partition its entries, as in a segment, and the graphs
that they need; at the end a count and the SHA-256 of all lines before. The whole file is checked
before its first entry is used.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

from everfold.archives.entry_check import EntryCheck
from everfold.streams.appending.body import check_stored
from everfold.streams.archive.segment import bounded_lines, read_line, write_line
from everfold.streams.errors import ArchiveDamaged, Misconfigured, Refused
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.ranges import RANGES
from everfold.streams.events.record import RawEntry

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

_read: Callable[[bytes | str], Mark] = decoder(cast("type[Mark]", Mark))
_MARK = f'{{"{TAG_FIELD}":'.encode()


class ExportWriter:
    """Writes to a new file beside `path`, which only this user may read; `end` renames it.

    Every method raises OSError when it cannot write.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        # Made anew with a name that nobody knows, so that nobody has put a link there.
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        self._part = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._out = gzip.GzipFile(path.name, "wb", compresslevel=6, fileobj=self._file)
        self._digest = hashlib.sha256()
        self._partition = -1
        self._graphs: set[str] = set()
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
        """Add a graph, as it is stored under its hash; a second time does nothing."""
        if sha256 not in self._graphs:
            self._graphs.add(sha256)
            self._mark(Graph(sha256, graph.decode()))

    def end(self) -> None:
        """Write the checksum and put the file in place."""
        self._mark(End(self.events, self._digest.hexdigest()))
        self._out.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        """Close and delete the unfinished file; does nothing to one that `end` has placed."""
        self._out.close()
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _mark(self, mark: Mark) -> None:
        self._write(msgspec.json.encode(mark))

    def _write(self, line: bytes) -> None:
        self._out.write(line + b"\n")
        self._digest.update(line + b"\n")


class Checked(Struct, frozen=True):
    """What a file that is complete and unchanged holds."""

    header: Header
    end: End
    begun_again: dict[str, str]
    """Job -> first entry of the newest job of this id, for those that were used again."""


def check_export(path: Path, *, allow_broken: bool = False) -> Checked:
    """Read the whole file. Raises ArchiveDamaged unless it is complete, unchanged and importable,
    Misconfigured where it cannot be opened.

    `allow_broken` accepts jobs whose events have holes between them. Raises Misconfigured for a
    pipe, which can be read only once.
    """
    if path.exists() and not path.is_file():
        raise Misconfigured(f"{path} is no file, and is to be read twice: write it into one first")
    check = _Check(path.name, allow_broken=allow_broken)
    for line in _lines(path):
        check.line(line, _read_mark(path, line) if line.startswith(_MARK) else None)
    return check.end()


class _Check:
    """Checks a file line by line."""

    def __init__(self, name: str, *, allow_broken: bool) -> None:
        self._name, self._allow_broken = name, allow_broken
        self._digest, self._events = hashlib.sha256(), 0
        self._header: Header | None = None
        self._end: End | None = None
        self._partition = -1
        self._entries: EntryCheck | None = None
        self._begun_again: dict[str, str] = {}

    def line(self, line: bytes, mark: Mark | None) -> None:
        """Check the next line; `mark` is None for an entry. Raises ArchiveDamaged."""
        if self._end is not None or (self._header is None) is not isinstance(mark, Header):
            raise ArchiveDamaged(self._name, "it is no export file, or has lines after its end")
        if why := self._entry_fault(line) if mark is None else self._mark_fault(mark):
            raise ArchiveDamaged(self._name, why)
        if self._end is None:
            self._digest.update(line)

    def end(self) -> Checked:
        """Return what the file holds. Raises ArchiveDamaged where it is not whole."""
        if self._header is None or self._end is None:
            raise ArchiveDamaged(self._name, "its end is missing")
        if (self._events, self._digest.hexdigest()) != (self._end.events, self._end.sha256):
            raise ArchiveDamaged(self._name, "its lines do not match its checksum")
        return Checked(self._header, self._end, self._begun_again)

    def _entry_fault(self, line: bytes) -> str:
        self._events += 1
        if self._entries is None:
            return "an entry stands before its partition"
        try:
            return self._entries.fault(read_line(line))
        except ValueError as error:
            return f"a line is no entry: {error}"

    def _mark_fault(self, mark: Mark) -> str:
        match mark:
            case Header(format=version) if not 1 <= version <= FORMAT:
                return f"its format is {version}; this Everfold reads up to {FORMAT}"
            case Header(partitions=count) if count not in RANGES["partitions"]:
                return f"it names {count} partitions"
            case Header():
                self._header = mark
            case Partition(number=number):
                return self._begin(number)
            case Graph():
                return _graph_fault(mark)
            case End():
                self._end = mark
        return ""

    def _begin(self, number: int) -> str:
        partitions = self._header.partitions if self._header else 0
        if not self._partition < number < partitions:
            return f"partition {number} is not one of it, or out of order"
        self._partition = number
        again, allow_broken = self._begun_again, self._allow_broken
        self._entries = EntryCheck(number, partitions, again, allow_broken=allow_broken)
        return ""


def _graph_fault(mark: Graph) -> str:
    name = repr(mark.sha256[:80])
    if hashlib.sha256(mark.graph.encode()).hexdigest() != mark.sha256:
        return f"graph {name} is another one than its SHA-256 says"
    try:
        check_stored(mark.graph)
    except Refused as error:
        return f"graph {name}: {error}"
    return ""


def read_export(path: Path, sha256: str = "") -> Iterator[Item]:
    """Yield the entries and graphs of a file that `check_export` accepted, in their order.

    Raises ArchiveDamaged at its end, or before, where its checksum is no longer `sha256`.
    """
    partition, digest, found = -1, hashlib.sha256(), ""
    for line in _lines(path):
        if not line.startswith(_MARK):
            yield partition, _read_entry(path, line)
        elif isinstance(mark := _read_mark(path, line), Partition):
            partition = mark.number
        elif isinstance(mark, Graph):
            yield mark
        elif isinstance(mark, End):
            found = digest.hexdigest()
        digest.update(line)
    if sha256 not in ("", found):
        raise ArchiveDamaged(path.name, "it has changed since it was checked: repeat the import")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        with file, gzip.open(file, "rb") as lines:
            yield from bounded_lines(lines, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveDamaged(path.name, str(error)) from error


def _read_entry(path: Path, line: bytes) -> RawEntry:
    try:
        return read_line(line)
    except ValueError as error:
        raise ArchiveDamaged(path.name, f"a line is no entry: {error}") from error


def _read_mark(path: Path, line: bytes) -> Mark:
    try:
        return _read(line)
    except NotJson as error:
        raise ArchiveDamaged(path.name, str(error)) from error
