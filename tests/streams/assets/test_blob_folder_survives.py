"""A folder of blobs when writers die, work side by side, and when the disk is full."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.blob_store import CHUNK_BYTES
from tests.streams.assets.blob_program import content
from tests.streams.assets.folders import (
    assert_whole,
    parts,
)
from tests.support.programs.programs import ROOT, Program, StartProgram
from tests.support.sources import hash_of

pytestmark = pytest.mark.anyio

PROGRAM = "tests.streams.assets.blob_program"


# Processes that die, and that work side by side.


async def ended(program: Program) -> list[str]:
    await program.end(60)
    return program.lines


async def test_a_writer_is_killed_at_each_of_its_system_calls(
    root: Path, start_program: StartProgram
) -> None:
    store, told = BlobFolder(root), set[str]()
    for at in range(1, 100):
        # The same bytes each time, and others each time.
        program = start_program("-m", PROGRAM, "die", str(root), str(at), "1", str(2 + at % 7))
        lines = await ended(program)
        told |= {line.removeprefix("stored ") for line in lines if line.startswith("stored")}
        assert told <= assert_whole(root)
        if "ended" in lines:
            break
        assert program.exit_code == -signal.SIGKILL
    assert at > 20
    left = len(parts(root))
    assert await store.sweep_parts(3600) == 0
    assert await store.sweep_parts(0) == left
    assert left > 0 == len(parts(root))


async def test_a_writer_is_killed_at_any_time(root: Path, start_program: StartProgram) -> None:
    seeds = [str(seed) for seed in range(1, 12)]
    for _ in range(6):
        program = start_program("-m", PROGRAM, "put", str(root), *seeds)
        await program.line("stored", after=random.randrange(8))
        await anyio.sleep(random.random() / 50)
        program.kill()
        whole = [
            line for line in program.lines if re.fullmatch(r"stored blake3:[0-9a-f]{64}", line)
        ]
        told = {line.removeprefix("stored ") for line in whole}  # the last line may be cut
        assert told <= assert_whole(root)
    await BlobFolder(root).sweep_parts(0)
    assert parts(root) == []


async def test_the_parts_of_a_living_writer_stay(
    store: BlobFolder, root: Path, start_program: StartProgram
) -> None:
    program = start_program("-m", PROGRAM, "trickle", str(root))
    await program.line("piece")
    for path in (root / "parts").iterdir():
        os.utime(path, (1, 1))
    assert await store.sweep_parts(0) == 0
    program.kill()
    assert await store.sweep_parts(0) == 1
    assert parts(root) == []


async def test_several_processes_store_the_same_and_other_bytes_at_once(
    root: Path, start_program: StartProgram
) -> None:
    programs = [
        start_program("-m", PROGRAM, "put", str(root), *[str(n) for n in (1, 2, 3, seed, 1, 2, 3)])
        for seed in (4, 5, 6)
    ]
    for program in programs:
        assert len(await ended(program)) == 7, program
    assert assert_whole(root) == {hash_of(content(seed)) for seed in range(1, 7)}
    assert parts(root) == []


# What disks do not take.


async def test_a_file_that_the_system_finds_too_large(
    root: Path, start_program: StartProgram
) -> None:
    program = start_program("-m", PROGRAM, "fail", str(root), str(CHUNK_BYTES * 10))
    stored, refused, left, again = await ended(program)

    assert refused.startswith(f"AssetsUnavailable the store of assets {root} cannot be used: its")
    assert "allows no file of this size (File too large)" in refused
    assert left == "in parts"
    assert {stored, again} == {f"stored {name}" for name in assert_whole(root)}


def mounted(root: Path, *options: str) -> list[str]:
    """Run the program where `root` is a small disk of its own, and return its lines."""
    root.mkdir(mode=0o700)
    aside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount = f"mount -t tmpfs -o size=6m,mode=700 tmpfs '{root}'"
    try:
        subprocess.run([*aside, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    steps = "; ".join((mount, *options, f"{sys.executable} -m {PROGRAM} fail '{root}' 0"))
    done = subprocess.run([*aside, steps], capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.splitlines()


def test_a_full_disk(root: Path) -> None:
    stored, refused, left, again = mounted(root)

    assert "AssetsUnavailable" in refused
    assert "its disk is full (No space left on device)" in refused
    assert left == "in parts"
    assert [stored, again] == [f"stored {hash_of(content(seed))}" for seed in (1, 2)]


def test_a_disk_that_is_read_only(root: Path) -> None:
    path = str(root)
    lines = mounted(root, f"mkdir -m 700 '{path}/parts'", f"mount -o remount,ro '{path}'")

    assert "its disk is read-only (Read-only file system)" in lines[0]


@pytest.mark.parametrize("chunk_bytes", [4096, 64 * CHUNK_BYTES])
async def test_memory_is_bounded(root: Path, start_program: StartProgram, chunk_bytes: int) -> None:
    program = start_program("-m", PROGRAM, "measure", str(root), "512", str(chunk_bytes))
    [line] = await ended(program)
    _, count, _, took = line.split()

    assert int(count) == 512 * 2**20
    assert int(took) < 32
