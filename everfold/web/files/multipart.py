"""Reads a multipart/form-data body as it comes: what each part is called, then its bytes.

Rule: nothing is kept: whoever reads decides what to do with the bytes. A body that ends
before its end is told apart from one that is whole.
"""

from __future__ import annotations

from email.message import Message

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

BOUNDARY_LIMIT = 200
"""Characters; RFC 2046 allows 70."""
PARTS_LIMIT = 50
HEAD_LIMIT_BYTES = 16 * 1024
"""Of the head of one part; older versions of the parser have no limit of their own."""


class NotMultipart(ValueError):
    """The body is not what its head says."""


class PartBegins(Struct, frozen=True):
    """What follows is the content of this part."""

    name: str
    filename: str | None
    """None for a field that is no file."""


class PartData(Struct, frozen=True):
    """More of the part that has begun."""

    content: bytes


class PartEnds(Struct, frozen=True):
    """The part that has begun is whole."""


Step = PartBegins | PartData | PartEnds


class Multipart:
    """Parses one body: feed it all chunks, then ask whether it is whole."""

    def __init__(self, content_type: str) -> None:
        head = Message()
        head["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
        try:
            boundary = head.get_boundary()
        except (ValueError, LookupError) as error:
            raise NotMultipart(f"its boundary cannot be read: {error}") from error
        if head.get_content_type() != "multipart/form-data" or not boundary:
            raise NotMultipart("send multipart/form-data with a boundary")
        if len(boundary) > BOUNDARY_LIMIT:
            raise NotMultipart("its boundary is too long")
        self.is_whole = False
        self._steps: list[Step] = []
        self._head: list[tuple[bytes, bytes]] = []
        self._name, self._value = b"", b""
        self._parts = self._head_bytes = 0
        self._parser = MultipartParser(
            boundary.encode("latin-1", "replace"),
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> list[Step]:
        """Return what a chunk of the body tells. Raises NotMultipart."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise NotMultipart(f"the body is no multipart/form-data: {error}") from error
        steps, self._steps = self._steps, []
        return steps

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS_LIMIT:
            raise NotMultipart(f"it has more than {PARTS_LIMIT} parts")
        self._head.clear()
        self._head_bytes = 0

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_LIMIT_BYTES:
            raise NotMultipart("the head of a part is too long")

    def _header_ends(self) -> None:
        self._head.append((self._name.lower(), self._value))
        self._name, self._value = b"", b""

    def _headers_end(self) -> None:
        told = dict(self._head).get(b"content-disposition", b"")
        head = Message()
        head["Content-Disposition"] = told.decode("utf-8", "replace")
        name = head.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise NotMultipart("a part has no name")
        self._steps.append(PartBegins(name, _filename(head)))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._steps.append(PartData(data[start:end]))

    def _part_ends(self) -> None:
        self._steps.append(PartEnds())

    def _end(self) -> None:
        self.is_whole = True


def _filename(head: Message) -> str | None:
    """Return the name of a part's file. Raises NotMultipart for one that is no text."""
    try:
        filename = head.get_filename()
        if filename is not None:
            filename.encode()  # some of the character sets have what UTF-8 has not
    except (ValueError, LookupError) as error:
        why = f"the filename of a part cannot be read: {error}; send it in UTF-8"
        raise NotMultipart(why) from error
    return filename
