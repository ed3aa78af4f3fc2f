"""Of a picture there is a small one, upright and of its pixels alone; of all else there is none."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from everfold.assets import shrinking

SIZE = (1000, 600)
ORIENTATION = 0x0112


def saved(folder: Path, image: Image.Image, kind: str, **options: object) -> Path:
    path = folder / f"picture.{kind}"
    image.save(path, kind, **options)
    return path


def shrink(path: Path, media_type: str) -> bytes:
    with path.open("rb") as file:
        return shrinking.shrink(file, media_type)


def opened(made: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(made))
    image.load()
    assert image.format == "WEBP"
    return image


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "I;16", "CMYK"])
def test_each_kind_of_pixels_has_a_thumbnail(tmp_path: Path, kind: str, mode: str) -> None:
    try:
        path = saved(tmp_path, Image.new(mode, SIZE), kind)
    except (OSError, ValueError):  # this format has no such pixels
        return

    assert opened(shrink(path, f"image/{kind}")).size == (320, 192)


def test_a_small_picture_is_not_made_larger(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (20, 10)), "png")

    assert opened(shrink(path, "image/png")).size == (20, 10)


def test_it_stands_upright_and_says_nothing_of_the_picture(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", SIZE, "blue"), Image.Exif()
    image.paste("red", (0, 0, 500, 600))
    exif[ORIENTATION], exif[0x010E] = 6, "secret"
    made = shrink(saved(tmp_path, image, "jpeg", exif=exif), "image/jpeg")

    shown = opened(made).convert("RGB")
    assert shown.size == (192, 320)
    top = shown.getpixel((96, 20))
    assert isinstance(top, tuple)
    assert top[0] > 200
    assert b"secret" not in made
    assert not opened(made).getexif()


def test_transparency_and_deep_grey_stay(tmp_path: Path) -> None:
    clear = shrink(saved(tmp_path, Image.new("RGBA", SIZE, (9, 9, 9, 0)), "png"), "image/png")
    assert opened(clear).getchannel("A").getpixel((5, 5)) == 0

    deep = Image.new("I;16", SIZE, 40_000)
    grey = opened(shrink(saved(tmp_path, deep, "png"), "image/png")).convert("L")
    assert abs(grey.tobytes()[0] - 40_000 // 256) < 4


def test_an_animation_has_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", SIZE, color) for color in ("red", "blue")]
    path = saved(tmp_path, frames[0], "webp", save_all=True, append_images=frames[1:])

    shown = opened(shrink(path, "image/webp")).convert("RGB").getpixel((5, 5))
    assert isinstance(shown, tuple)
    assert shown[0] > 200


def test_what_says_that_it_is_too_large_is_not_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">2I5B", 9000, 9000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(9000 * (1 + 9000 // 8)))
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )

    with Image.open(bomb) as file:
        assert file.size == (9000, 9000)
    assert shrink(bomb, "image/png") == b""


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/tiff", "text/plain"])
def test_what_is_no_picture_has_none(tmp_path: Path, media_type: str) -> None:
    path = saved(tmp_path, Image.new("RGB", SIZE), "webp")

    assert shrink(path, media_type) == b""
    path.write_bytes(b"no picture at all")
    assert shrink(path, media_type) == b""
    path.write_bytes(b"")
    assert shrink(path, media_type) == b""


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_that_ends_early_has_none(tmp_path: Path, kind: str) -> None:
    noise = Image.effect_noise(SIZE, 90).convert("RGB")
    path = saved(tmp_path, noise, kind)
    path.write_bytes(path.read_bytes()[:5000])

    assert shrink(path, f"image/{kind}") == b""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound memory otherwise")
def test_the_process_that_decodes_has_bounded_memory() -> None:
    program = (
        "from everfold.assets import shrinking\n"
        "shrinking.limit_process()\n"
        "try: bytearray(shrinking.MEMORY_LIMIT_BYTES)\n"
        "except MemoryError: print('bounded')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "bounded\n"
