"""A segment: a run of one partition's entries as compressed JSON lines.

Rule: nothing is lost: an event's own bytes stand in the line as they were, and an entry
that is not an event, or not one line of JSON, stands there byte for byte in base64.
"""

from __future__ import annotations

import base64
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from everfold.streams.errors import ArchiveDamaged
from everfold.streams.events.codec import Unreadable
from everfold.streams.events.json_text import UNDECODABLE, decoder, nests_within
from everfold.streams.events.limits import EVENT_NESTING
from everfold.streams.events.record import FIELDS, RawEntry, Recorded, recorded

LEVEL = 3
"""Level of gzip: a seventh of the bytes; 6 would save another tenth and take more than twice as
long."""


class SegmentLine(Struct, omit_defaults=True):
    """One entry as JSON: the fields of an event, or `x`."""

    i: str
    """Entry id."""
    j: str | UnsetType = UNSET
    s: int | UnsetType = UNSET
    e: int | UnsetType = UNSET
    p: str | UnsetType = UNSET
    d: Raw | UnsetType = UNSET
    x: list[str] | UnsetType = UNSET
    """The fields in base64, of an entry that is no event or not one line of JSON."""


_encode = msgspec.json.Encoder().encode
_decode = decoder(SegmentLine)
_read_raw = decoder(Raw, EVENT_NESTING)


CHUNK_BYTES = 256 * 1024
"""Of lines that are compressed in one go."""


def write_segment(entries: Sequence[RawEntry], records: Sequence[Recorded]) -> bytes:
    """Return a segment's file; the same entries always make the same bytes.

    `records` are the entries as events.
    """
    buffer, lines, size = io.BytesIO(), list[bytes](), 0
    # Neither a name nor a time in the header: both would make equal segments differ.
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=LEVEL, mtime=0) as out:
        for (_, flat), record in zip(entries, records, strict=True):
            lines.append(_encode(_line(flat, record)))
            size += len(lines[-1])
            if size >= CHUNK_BYTES:
                out.write(b"\n".join([*lines, b""]))
                lines, size = [], 0
        out.write(b"\n".join([*lines, b""]) if lines else b"")
    return buffer.getvalue()


def write_line(entry: RawEntry) -> bytes:
    """Return an entry as one line of JSON, without its end."""
    return _encode(_line(entry[1], recorded(*entry)))


def read_line(text: bytes) -> RawEntry:
    """Return the entry of a line, byte for byte. Raises ValueError for what is no line."""
    return _entry(_decode(text))


def _line(flat: list[bytes], record: Recorded) -> SegmentLine:
    if _is_plain(flat, record):
        return SegmentLine(
            record.entry_id,
            record.job_id,
            record.seq,
            record.epoch,
            record.previous,
            Raw(record.payload),
        )
    return SegmentLine(record.entry_id, x=[base64.b64encode(field).decode() for field in flat])


def _is_plain(flat: list[bytes], record: Recorded) -> bool:
    """Say whether the entry is ours as we write it, and its event one line of JSON: an object with
    nothing around it."""
    payload = record.payload
    if flat[::2] != FIELDS or payload is not flat[9]:
        return False
    if (b"%d" % record.seq, b"%d" % record.epoch) != (flat[3], flat[5]) or payload[:1] != b"{":
        return False
    if payload[-1:] != b"}" or b"\n" in payload or not nests_within(payload, EVENT_NESTING):
        return False
    try:
        payload.decode()
        if isinstance(record.event, Unreadable):
            _read_raw(payload)
    except UNDECODABLE:
        return False
    return True


UNPACKED_LIMIT_BYTES = 2 * 2**30
"""Of a segment: 10,000 events, and far fewer of them are large."""

LINE_LIMIT_BYTES = 24 * 2**20
"""Of an event's line, or a graph: more than any writer makes of the largest graph with the largest
extra_data, sealed or as a text in JSON."""


def unpack(content: bytes, name: str) -> bytes:
    """Return what one small compressed file holds. Raises ArchiveDamaged, `name` in its text."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            found = file.read(LINE_LIMIT_BYTES + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ArchiveDamaged(name, str(error)) from error
    if len(found) > LINE_LIMIT_BYTES:
        raise ArchiveDamaged(name, f"it unpacks to more than {LINE_LIMIT_BYTES:,} bytes")
    return found


def bounded_lines(file: gzip.GzipFile | io.BufferedReader, name: str) -> Iterator[bytes]:
    """Yield the lines of a file, as unpacked; a line or a file without end is ArchiveDamaged."""
    total = 0
    while text := file.readline(LINE_LIMIT_BYTES + 1):
        total += len(text)
        if len(text) > LINE_LIMIT_BYTES:
            raise ArchiveDamaged(name, f"it has a line of more than {LINE_LIMIT_BYTES:,} bytes")
        if total > UNPACKED_LIMIT_BYTES:
            raise ArchiveDamaged(name, f"it unpacks to more than {UNPACKED_LIMIT_BYTES:,} bytes")
        yield text


def read_segment(content: bytes, name: str = "segment") -> Iterator[RawEntry]:
    """Yield the entries with the bytes that they had. Raises ArchiveDamaged for what is no segment.

    `name` is the file that the error names.
    """
    try:
        with gzip.open(io.BytesIO(content)) as file:
            for text in bounded_lines(file, name):
                yield read_line(text)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ArchiveDamaged(name, str(error)) from error


def check_unpacked(content: bytes, name: str) -> None:
    """Raise ArchiveDamaged for a segment's file that unpacks to more than readers take."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            for _ in bounded_lines(file, name):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveDamaged(name, str(error)) from error


def _entry(line: SegmentLine) -> RawEntry:
    entry_id = line.i.encode()
    if isinstance(line.x, list):
        return entry_id, [base64.b64decode(field) for field in line.x]
    payload = bytes(line.d) if isinstance(line.d, Raw) else b""
    values = (line.j, line.s, line.e, line.p)
    job_id, seq, epoch, previous = (str(value).encode() for value in values)
    names = FIELDS
    return entry_id, [
        *(names[0], job_id, names[1], seq, names[2], epoch),
        *(names[3], previous, names[4], payload),
    ]


def records_of(entries: Iterable[RawEntry]) -> Iterator[Recorded]:
    """Yield entries as events; what cannot be read is an Unreadable event."""
    for entry_id, flat in entries:
        yield recorded(entry_id, flat)
