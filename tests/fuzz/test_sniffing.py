# Whatever bytes a file begins with, what they are is told, within the known types.

from __future__ import annotations

import io

from hypothesis import strategies as st
from PIL import Image

from everfold.streams.assets.sniffing.media_types import MEDIA_TYPES, describe
from tests.fuzz.cases import fuzz


def _picture(kind: str) -> bytes:
    made = io.BytesIO()
    Image.new("P" if kind == "GIF" else "RGB", (9, 7)).save(made, kind)
    return made.getvalue()


BEGINNINGS = [
    *(_picture(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")),
    *(b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f", b"RIFF\0\0\0\0WEBPVP8X", b"\0\0\0\x18ftypavif"),
    *(b"\xff\xfb\x90\0", b"\xff\xf1\x50\x80", b"\x1a\x45\xdf\xa3", b"OggS", b"BM", b"\xff\xd8\xff"),
    *(b"\x10\0\0\0\0\0\0\0{\"", b"[" * 3000, b'{"a":' * 3000, b"ispe" * 20, b"glTF\x02", b""),
]  # fmt: skip


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(BEGINNINGS)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(data[: draw(st.integers(0, 70_000))] + draw(st.binary(max_size=40)))


@fuzz(data=_files(), name=st.text(max_size=12) | st.sampled_from(["a.stl", "a.obj", "a.html"]))
def test_sniffing(data: bytes, name: str) -> None:
    found = describe(data, name)

    assert found.media_type in MEDIA_TYPES
    assert 0 <= found.width < 2**31
    assert 0 <= found.height < 2**31
    assert (found.width == 0) == (found.height == 0)
