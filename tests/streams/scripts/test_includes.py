"""Scripts are put together from their pieces when they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script, assemble


def write(folder: Path, **files: str) -> Path:
    """Write a folder of scripts; a name that begins with `piece_` is a piece."""
    (folder / "include").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        place = folder / "include" if name.startswith("piece_") else folder
        (place / f"{name}.lua").write_text(text)
    return folder


def include(*names: str) -> str:
    return "".join(f'--- @include "{name}"\n' for name in names)


def test_a_piece_stands_where_its_line_was(tmp_path: Path) -> None:
    folder = write(tmp_path, main="#!lua\n" + include("piece_a") + "return a()\n", piece_a="A\n\n")
    assert assemble("main", [folder]) == "#!lua\nA\nreturn a()\n"


def test_pieces_may_include_pieces_and_each_is_there_once_before_its_first_use(
    tmp_path: Path,
) -> None:
    folder = write(
        tmp_path,
        main=include("piece_b", "piece_c", "piece_a") + "END",
        piece_a="A",
        piece_b=include("piece_a") + "B",
        piece_c=include("piece_a", "piece_b") + "C",
    )
    assert assemble("main", [folder]).split() == ["A", "B", "C", "END"]


def test_a_package_s_own_piece_comes_before_the_shared_one(tmp_path: Path) -> None:
    own = write(tmp_path / "own", main=include("piece_a", "piece_b"), piece_a="OWN")
    shared = write(tmp_path / "shared", piece_a="SHARED", piece_b="B")
    assert assemble("main", [own, shared]).split() == ["OWN", "B"]


def test_a_missing_piece_is_named_with_the_file_that_wants_it(tmp_path: Path) -> None:
    folder = write(tmp_path, main=include("piece_a"), piece_a=include("piece_b"), lost=include("x"))
    with pytest.raises(ValueError, match=r"piece_a\.lua: no piece 'piece_b'"):
        assemble("main", [folder])
    with pytest.raises(ValueError, match=r"lost\.lua: no piece 'x'"):
        assemble("lost", [folder])


@pytest.mark.parametrize("other", ["piece_a", "piece_b"])
def test_pieces_that_include_each_other_are_named(tmp_path: Path, other: str) -> None:
    folder = write(
        tmp_path, main=include("piece_a"), piece_a=include(other), piece_b=include("piece_a")
    )
    with pytest.raises(ValueError, match=f"include each other: piece_a, .*{other}"):
        assemble("main", [folder])


def test_a_line_that_only_looks_like_one_is_left_as_it_is(tmp_path: Path) -> None:
    text = '-- --- @include "a"\nlocal x = \'--- @include "a"\'\n  --- @include "a"\n'
    assert assemble("main", [write(tmp_path, main=text)]) == text


@pytest.mark.anyio
async def test_a_script_is_addressed_by_its_assembled_text(redis_url: str, namespace: str) -> None:
    script = Script("everfold.projector", "acquire_partition")
    assert "@include" not in script.source
    async with Log.open(redis_url, namespace=namespace, partitions=1) as log:
        keys = (log.keys.projector(0),)
        assert (await script.run(log.redis, keys, ("me", 1000)))[0] == b"acquired"
        assert await command(log.redis.at(keys[0]), "SCRIPT EXISTS", script.sha) == [1]
