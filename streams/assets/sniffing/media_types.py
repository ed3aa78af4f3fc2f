"""What bytes are, from the first of them.

Rule: pure and total. The answer is one of MEDIA_TYPES, and none of these is something that a
browser runs: HTML, SVG and scripts are text/plain. A name decides only between types that the
bytes allow alike. No library: filetype stands still since 2022 and knows neither text nor models,
puremagic answers HTML and programs too, and neither tells the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from everfold.streams.assets.blob_store import BEGINNING_BYTES
from everfold.streams.assets.sniffing.pixels import picture_size
from everfold.streams.events.json_text import NotJson, read_json

UNKNOWN = "application/octet-stream"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"v/1\x01", "image/x-exr"),
    (b"fLaC", "audio/flac"),
    (b"ID3\x02", "audio/mpeg"),
    (b"ID3\x03", "audio/mpeg"),
    (b"ID3\x04", "audio/mpeg"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"glTF\x02\0\0\0", "model/gltf-binary"),
    (b"ply\n", "model/ply"),
    (b"ply\r\n", "model/ply"),
)

_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
_OTHER_BRANDS = {b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"qt  ": "video/quicktime"}
_VIDEO_BRANDS = (b"iso", b"mp4", b"avc1", b"dash", b"M4V", b"3gp", b"3g2", b"MSNV", b"f4v", b"cmf")

_TEXTS = {".obj": "model/obj", ".mtl": "model/mtl"}

MEDIA_TYPES = frozenset(
    {media_type for _, media_type in _SIGNATURES}
    | {*_RIFF.values(), *_OTHER_BRANDS.values(), *_TEXTS.values(), UNKNOWN, "text/plain"}
    | {"image/avif", "image/heic", "image/bmp", "video/mp4"}
    | {"video/webm", "video/x-matroska", "video/ogg", "audio/ogg", "audio/mpeg", "audio/aac"}
    | {"model/stl", "model/gltf+json", "application/x-safetensors", "application/json"}
)
"""All that `describe` may answer."""

_BITMAP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_CONTROLS = re.compile(rb"[\0-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_STL_HEADER_BYTES, _STL_TRIANGLE_BYTES = 84, 50
_SAFETENSORS_HEADER_LIMIT = 100_000_000


class Described(Struct, frozen=True):
    """What bytes are: their media type, and the pixels of a picture (0 where not known)."""

    media_type: str
    width: int = 0
    height: int = 0


def describe(beginning: bytes, name: str = "") -> Described:
    """Return what bytes are, from the first 64 KiB of them, and their file's name."""
    data = beginning[:BEGINNING_BYTES]
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    answers = (look(data, ending) for look in _LOOKS)
    media_type = next((answer for answer in answers if answer), UNKNOWN)
    return Described(media_type, *picture_size(media_type, data))


def _signature(data: bytes, _ending: str) -> str:
    return next((kind for first, kind in _SIGNATURES if data.startswith(first)), "")


def _riff(data: bytes, _ending: str) -> str:
    return _RIFF.get(data[8:12], "") if data[:4] in (b"RIFF", b"RF64") else ""


def _iso_media(data: bytes, _ending: str) -> str:
    """Return what the brands of an ISO file say; QuickTime also wrote files without any."""
    if data[4:8] in (b"moov", b"mdat", b"wide") and data[:1] == b"\0":
        return "video/quicktime"
    if data[4:8] != b"ftyp":
        return ""
    major, length = data[8:12], min(int.from_bytes(data[:4], "big"), 512)
    brands = {major, *(data[at : at + 4] for at in range(16, length, 4))}
    if major in _AVIF_BRANDS or (major in _HEIC_BRANDS and _AVIF_BRANDS & brands):
        return "image/avif"
    if major in _HEIC_BRANDS:
        return "image/heic"
    is_video = any(brand.startswith(_VIDEO_BRANDS) for brand in brands)
    return _OTHER_BRANDS.get(major, "video/mp4" if is_video else "")


def _bitmap(data: bytes, _ending: str) -> str:
    is_bitmap = data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS
    return "image/bmp" if is_bitmap else ""


def _matroska(data: bytes, _ending: str) -> str:
    if not data.startswith(b"\x1a\x45\xdf\xa3"):
        return ""
    return "video/webm" if b"webm" in data[:100] else "video/x-matroska"


def _ogg(data: bytes, _ending: str) -> str:
    if not data.startswith(b"OggS"):
        return ""
    return "video/ogg" if b"theora" in data[:100] else "audio/ogg"


def _audio_frames(data: bytes, _ending: str) -> str:
    """Return what frames without any header before them are: two bytes are too little to know."""
    if len(data) < 4 or data[0] != 0xFF:
        return ""
    if data[1] & 0xF6 == 0xF0 and data[2] >> 2 & 0xF < 13:
        length = (data[3] & 3) << 11 | int.from_bytes(data[4:6], "big") >> 5
        return "audio/aac" if length > 7 and _goes_on(data, length) else ""
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    bit_rate, sample_rate = data[2] >> 4, data[2] >> 2 & 3
    if data[1] < 0xE0 or version == 1 or layer != 1 or bit_rate in (0, 15) or sample_rate == 3:
        return ""
    is_mpeg1 = version == 3
    kbits = (_KBITS_MPEG1 if is_mpeg1 else _KBITS_MPEG2)[bit_rate]
    hertz = _HERTZ[sample_rate] // (1 if is_mpeg1 else 2 if version == 2 else 4)
    length = (144 if is_mpeg1 else 72) * kbits * 1000 // hertz + (data[2] >> 1 & 1)
    return "audio/mpeg" if _goes_on(data, length) else ""


_KBITS_MPEG1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HERTZ = (44100, 48000, 32000)


def _goes_on(data: bytes, length: int) -> bool:
    """Return whether another frame of the same kind follows the first."""
    return data[length : length + 2] == data[:2]


def _safetensors(data: bytes, _ending: str) -> str:
    """Return whether it is one: ComfyUI's latents are such files too."""
    length = int.from_bytes(data[:8], "little")
    is_one = data[8:10] == b'{"' and 2 < length <= _SAFETENSORS_HEADER_LIMIT
    return "application/x-safetensors" if is_one else ""


def _text(data: bytes, ending: str) -> str:
    if not data or _CONTROLS.search(data) or not _is_utf8(data):
        return ""
    if _is_json(data):
        return "model/gltf+json" if ending == ".gltf" else "application/json"
    if ending == ".stl" and data.startswith(b"solid"):
        return "model/stl"
    return _TEXTS.get(ending, "text/plain")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as problem:  # where it was cut, a letter may be too
        is_cut = len(data) == BEGINNING_BYTES and problem.start > len(data) - 4
        return is_cut and "unexpected end" in problem.reason
    return True


def _is_json(data: bytes) -> bool:
    """Return whether it is an object or a list; of a cut text only how it begins is known."""
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if len(data) == BEGINNING_BYTES:
        return re.match(rb'\{\s*"|\[\s*[\[{"\d-]', text) is not None
    try:
        return text[:1] in (b"{", b"[") and read_json(text) is not None
    except NotJson:
        return False


def _stl(data: bytes, ending: str) -> str:
    """Return whether it can be one: 80 bytes of anything, a number, and triangles."""
    if ending != ".stl" or len(data) < _STL_HEADER_BYTES:
        return ""
    triangles = int.from_bytes(data[80:84], "little")
    whole = _STL_HEADER_BYTES + triangles * _STL_TRIANGLE_BYTES
    return "model/stl" if min(whole, BEGINNING_BYTES) <= len(data) else ""


_LOOKS: tuple[Callable[[bytes, str], str], ...] = (
    *(_signature, _riff, _iso_media, _bitmap, _matroska, _ogg, _audio_frames, _safetensors),
    *(_text, _stl),
)
