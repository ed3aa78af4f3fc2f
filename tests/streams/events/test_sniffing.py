"""What bytes are is told from the bytes, and nothing that a browser runs is ever the answer."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from everfold.streams.assets.blob_store import BEGINNING_BYTES
from everfold.streams.assets.sniffing.media_types import MEDIA_TYPES, UNKNOWN, Described, describe


def picture(kind: str, mode: str = "RGB", **options: object) -> bytes:
    made = io.BytesIO()
    Image.new(mode, (37, 21)).save(made, kind, **options)
    return made.getvalue()


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    return box(b"ftyp", major, b"\0\0\0\0", *compatible)


def mp3_frames() -> bytes:
    return (b"\xff\xfb\x90\x00" + bytes(413)) * 3  # 128 kbit/s at 44100 Hz: 417 bytes each


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(16)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (picture("PNG"), "image/png"),
        (picture("JPEG"), "image/jpeg"),
        (picture("JPEG", progressive=True, exif=b"Exif\0\0" + bytes(9000)), "image/jpeg"),
        (picture("WEBP"), "image/webp"),
        (picture("WEBP", lossless=True), "image/webp"),
        (picture("WEBP", mode="RGBA", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"), "image/webp"),
        (picture("GIF", mode="P"), "image/gif"),
        (picture("BMP"), "image/bmp"),
        (
            b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 37, 21, 1, 24),
            "image/bmp",
        ),
        (
            b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 37, -21, 1, 24),
            "image/bmp",
        ),
        (
            ftyp(b"avif", b"mif1")
            + box(b"meta", bytes(4), box(b"ispe", bytes(4), struct.pack(">II", 37, 21))),
            "image/avif",
        ),
        (
            ftyp(b"heic", b"mif1")
            + box(b"ispe", bytes(4), struct.pack(">II", 16, 16))
            + box(b"ispe", bytes(4), struct.pack(">II", 37, 21)),
            "image/heic",
        ),
    ],
)
def test_a_picture_tells_its_type_and_its_pixels(data: bytes, media_type: str) -> None:
    assert describe(data) == Described(media_type, 37, 21)
    assert describe(data, "page.html") == Described(media_type, 37, 21)


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (picture("TIFF"), "", "image/tiff"),
        (ftyp(b"mif1", b"avif", b"miaf"), "", "image/avif"),
        (ftyp(b"isom", b"iso2", b"avc1", b"mp41"), "", "video/mp4"),
        (ftyp(b"XAVC", b"mp42"), "", "video/mp4"),
        (ftyp(b"qt  "), "", "video/quicktime"),
        (box(b"wide") + box(b"mdat", bytes(20)), "", "video/quicktime"),
        (ftyp(b"M4A ", b"mp42"), "", "audio/mp4"),
        (ftyp(b"crx "), "", UNKNOWN),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "", "video/webm"),
        (b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska", "", "video/x-matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "", "video/x-msvideo"),
        (b"RIFF\0\0\0\0WAVEfmt ", "", "audio/wav"),
        (b"ID3\x04\0\0\0\0\0\0", "", "audio/mpeg"),
        (mp3_frames(), "", "audio/mpeg"),
        (b"\xff\xfb\x90\x00" + bytes(1000), "", UNKNOWN),
        ((b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)) * 3, "", "audio/aac"),
        (b"fLaC\0\0\0\x22", "", "audio/flac"),
        (b"OggS\0\x02" + bytes(22) + b"\x01\x13OpusHead", "", "audio/ogg"),
        (b"OggS\0\x02" + bytes(22) + b"\x01\x2a\x80theora", "", "video/ogg"),
        (b"glTF\x02\0\0\0\x10\0\0\0", "", "model/gltf-binary"),
        (b'{"asset": {"version": "2.0"}}', "scene.gltf", "model/gltf+json"),
        (b"ply\nformat ascii 1.0\n", "", "model/ply"),
        (b"# made\nv 0 0 0\n", "mesh.OBJ", "model/obj"),
        (b"solid box\nfacet normal 0 0 0\n", "box.stl", "model/stl"),
        (bytes(80) + struct.pack("<I", 2) + bytes(100), "box.stl", "model/stl"),
        (bytes(80) + struct.pack("<I", 3) + bytes(100), "box.stl", UNKNOWN),
        (bytes(80) + struct.pack("<I", 2) + bytes(100), "box", UNKNOWN),
        (
            safetensors(b'{"latent_tensor":{"dtype":"F32"}}'),
            "a.latent",
            "application/x-safetensors",
        ),
        (b'{"a": [1, 2]}', "", "application/json"),
        (b'\xef\xbb\xbf [{"a": 1}]\n', "", "application/json"),
        (b'{"a": "' + b"x" * BEGINNING_BYTES, "", "application/json"),
        (b'{"a": ', "a.json", "text/plain"),
        (b"{a red hat}" * 10_000, "", "text/plain"),
        ("Ein Hund läuft.\n".encode(), "", "text/plain"),
        (b"x" + "ü".encode() * BEGINNING_BYTES, "", "text/plain"),
        ("ü".encode()[:1], "", UNKNOWN),
        ("Ein Hund".encode("utf-16"), "", UNKNOWN),
        (b"PK\x03\x04\x14\0", "", "application/zip"),
        (b"\0\x01\x02\x03", "a.png", UNKNOWN),
        (b"%PDF-1.7\n\xe2\xe3\xcf\xd3\n", "", UNKNOWN),
        (b"", "a.html", UNKNOWN),
    ],
)
def test_a_file_tells_its_type(data: bytes, name: str, media_type: str) -> None:
    assert describe(data, name) == Described(media_type)


@pytest.mark.parametrize(
    "text",
    [
        b"<html><script>alert(1)</script></html>",
        b"<!DOCTYPE html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        b'<?xml version="1.0"?><svg/>',
        b"\xef\xbb\xbf<svg/>",
        b"alert(document.cookie)",
        b"body { color: red }",
    ],
)
@pytest.mark.parametrize("name", ["", "a.svg", "a.html", "a.js", "a.png", "a.xhtml", "a.stl"])
def test_what_a_browser_would_run_is_text(text: bytes, name: str) -> None:
    assert describe(text, name) == Described("text/plain")


def test_no_type_that_a_browser_runs_can_be_the_answer() -> None:
    bad = ("html", "svg", "xml", "script", "css", "pdf", "wasm", "flash")
    assert [kind for kind in MEDIA_TYPES if any(word in kind for word in bad)] == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_that_ends_early_has_no_pixels(kind: str) -> None:
    whole = picture(kind)
    for length in range(len(whole)):
        found = describe(whole[:length])
        assert (found.width, found.height) in ((0, 0), (37, 21))


def test_pixels_that_cannot_be_are_not_told() -> None:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    assert describe(head + struct.pack(">II", 2**32 - 1, 5)) == Described("image/png")
    assert describe(head + struct.pack(">II", 0, 5)) == Described("image/png")


def test_only_the_beginning_is_looked_at() -> None:
    segments = b"\xff\xe2\xff\xff" + bytes(65533)
    late = b"\xff\xd8" + segments * 2 + picture("JPEG")[2:]
    assert describe(late) == Described("image/jpeg")
