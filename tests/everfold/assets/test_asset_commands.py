"""`everfold assets`: what people see and programs read of stored files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold, ended, objects
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio


PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x20\x00\x00\x00\x10\x08\x02\x00\x00\x00"
    + b"\x00" * 2000
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    return path


@pytest.fixture
async def place(tmp_path: Path, server: OwnServer) -> AsyncIterator[str]:
    """Where the assets are; the namespace exists."""
    async with Log.open(server.url):
        yield str(tmp_path / "store")


async def test_a_file_is_put_listed_shown_got_and_removed(
    everfold: Everfold, picture: Path, place: str, tmp_path: Path
) -> None:
    def run(*words: str) -> list[str]:
        return ["assets", *words, "--assets", place]

    lines = await ended(everfold(*run("put", str(picture), "--user", "ada")))
    reference, size, kind, _ = lines[0].split("  ")
    assert (size, kind) == ("2.0 kB", "image/png")
    asset = reference.removeprefix("everfold:")
    (listed,) = await objects(everfold(*run("ls", "--user", "ada", "--json")))
    assert (listed["id"], listed["name"], listed["width"]) == (asset, "photo.png", 32)
    shown = await ended(everfold(*run("show", asset)))
    assert any("32 x 16" in line for line in shown)
    await ended(everfold(*run("get", asset, "--to", str(tmp_path / "copy.png"))))
    assert (tmp_path / "copy.png").read_bytes() == PNG
    (tmp_path / "folder").mkdir()
    await ended(everfold(*run("get", reference, "--to", str(tmp_path / "folder"))))
    assert (tmp_path / "folder" / "photo.png").read_bytes() == PNG
    assert await ended(everfold(*run("rm", asset))) == [f"{asset}: removed"]
    assert await ended(everfold(*run("rm", asset)), 3) == [f"{asset}: there is no such asset"]
    await ended(everfold(*run("show", asset)), 3)


async def test_gc_removes_what_nobody_needs_and_says_so_first(
    everfold: Everfold, picture: Path, place: str
) -> None:
    (put,) = await objects(everfold("assets", "put", str(picture), "--assets", place, "--json"))
    await ended(everfold("assets", "rm", str(put["id"]), "--assets", place))
    age(Path(place))
    gc = ("assets", "gc", "--assets", place, "--json")
    (would,) = await objects(everfold(*gc, "--dry-run"))
    assert (would["blobs"], would["is_dry_run"]) == (1, True)
    (swept,) = await objects(everfold(*gc))
    assert (swept["blobs"], swept["size_bytes"]) == (1, len(PNG))
    assert not files(Path(place))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def age(folder: Path) -> None:
    for path in files(folder):
        os.utime(path, (time.time() - 86_400,) * 2)


def spoil(folder: Path) -> None:
    for path in files(folder):
        path.chmod(0o600)
        path.write_bytes(b"x" * path.stat().st_size)


async def test_verify_finds_changed_bytes_and_get_never_writes_them(
    everfold: Everfold, picture: Path, place: str, tmp_path: Path
) -> None:
    (put,) = await objects(everfold("assets", "put", str(picture), "--assets", place, "--json"))
    assert await ended(everfold("assets", "verify", "--assets", place)) == ["all as it should be"]
    spoil(Path(place))
    lines = await ended(everfold("assets", "verify", "--assets", place), 1)
    assert lines[0].startswith("damaged: ")
    assert lines[-1].startswith("1 problem in ")
    copy = tmp_path / "copy.png"
    program = everfold("assets", "get", str(put["id"]), "--to", str(copy), "--assets", place)
    await ended(program, 1)
    assert "have changed" in "\n".join(program.error_lines)
    assert not copy.exists()
    assert not [path for path in files(tmp_path) if "part" in path.name]


def same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


async def test_get_writes_over_no_other_file(
    everfold: Everfold, picture: Path, place: str, tmp_path: Path
) -> None:
    (put,) = await objects(everfold("assets", "put", str(picture), "--assets", place, "--json"))
    mine = tmp_path / "mine.png"
    words = ("assets", "get", str(put["id"]), "--to", str(mine), "--assets", place)
    for _ in range(2):  # the second time it is there
        await ended(everfold(*words))
        assert same_bytes(mine, picture)
    mine.write_bytes(b"my own")
    program = everfold(*words)
    await ended(program, 2)
    assert "stays as it is" in "\n".join(program.error_lines)
    assert mine.read_bytes() == b"my own"


async def test_a_quota_is_a_size_and_refuses_what_is_beyond(
    everfold: Everfold, picture: Path, place: str
) -> None:
    set_ = await ended(everfold("limits", "set", "assets", "user", "ada", "1kB"))
    assert set_ == ["assets of user ada: 1.0 kB"]
    assert "1.0 kB" in "\n".join(await ended(everfold("limits", "ls")))
    program = everfold("assets", "put", str(picture), "--user", "ada", "--assets", place)
    await ended(program, 2)
    assert "quota" in "\n".join(program.error_lines)
    await ended(everfold("assets", "put", str(picture), "--user", "bob", "--assets", place))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["put", "/nowhere/x.png"], 2, "/nowhere/x.png"),
        (["put", "/dev/zero"], 2, "no regular file"),
        (["get", "zz", "--to", "x"], 2, "asset 'zz'"),
        (["show", "00000000-0000-0000-0000-000000000000"], 3, "no asset"),
        (["ls", "--cursor", "x"], 2, "cursor"),
        (["ls", "--assets", "ftp://x/y"], 2, "ftp://x/y"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_sentence(
    everfold: Everfold, place: str, words: list[str], code: int, said: str
) -> None:
    program = everfold("assets", *words, EVERFOLD_ASSETS=place)
    await ended(program, code)
    assert said in "\n".join(program.error_lines), program
    assert json.dumps(program.lines) == "[]"
