"""The width and height that a picture says it has, from its first bytes; nothing is decoded.

Rule: pure and total. A picture that lies, or whose size stands too far inside, has (0, 0).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct, error

Size = tuple[int, int]

_LARGEST = 2**31 - 1
_NO_FRAME = {0xC4, 0xC8, 0xCC}
"""JPEG markers among those of frames that are none: tables, and one that was never used."""

_U16_BE, _TWO_U32_BE = Struct(">H"), Struct(">2I")
_TWO_U16_BE, _TWO_U16_LE = Struct(">2H"), Struct("<2H")
_U32_LE, _TWO_I32_LE = Struct("<I"), Struct("<2i")


def picture_size(media_type: str, beginning: bytes) -> Size:
    """Return width and height in pixels, as they are stored; (0, 0) where they are not known."""
    read = _READERS.get(media_type)
    try:
        width, height = read(beginning) if read else (0, 0)
    except error:  # it ends before its size
        return 0, 0
    possible = 0 < width <= _LARGEST and 0 < height <= _LARGEST
    return (width, height) if possible else (0, 0)


def _png(data: bytes) -> Size:
    return _TWO_U32_BE.unpack_from(data, 16) if data[12:16] == b"IHDR" else (0, 0)


def _gif(data: bytes) -> Size:
    return _TWO_U16_LE.unpack_from(data, 6)


def _bmp(data: bytes) -> Size:
    (header_bytes,) = _U32_LE.unpack_from(data, 14)
    if header_bytes == 12:
        return _TWO_U16_LE.unpack_from(data, 18)
    width, height = _TWO_I32_LE.unpack_from(data, 18)
    return width, abs(height)  # below zero: its lines go from the top down


def _jpeg(data: bytes) -> Size:
    """Go from segment to segment up to the frame's."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = _TWO_U16_BE.unpack_from(data, at + 5)
            return width, height
        elif marker in (0xD9, 0xDA):  # the end, or pixels before any frame
            break
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # without a length
            at += 2
        else:
            (length,) = _U16_BE.unpack_from(data, at + 2)
            at += 2 + max(length, 2)
    return 0, 0


def _webp(data: bytes) -> Size:
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = _TWO_U16_LE.unpack_from(data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        (bits,) = _U32_LE.unpack_from(data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    return 0, 0


def _iso(data: bytes) -> Size:
    """Return the largest that is named: a picture of tiles names its tiles and itself."""
    found, at = [(0, 0)], data.find(b"ispe")
    while at >= 0 and at + 16 <= len(data):
        found.append(_TWO_U32_BE.unpack_from(data, at + 8))
        at = data.find(b"ispe", at + 16)
    return max(found, key=lambda size: size[0] * size[1])


_READERS: dict[str, Callable[[bytes], Size]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/avif": _iso,
    "image/heic": _iso,
}
