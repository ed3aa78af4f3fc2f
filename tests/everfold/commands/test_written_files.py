"""Files that commands write: whole, for this user alone, and where they cannot be, one sentence."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

import pytest

from everfold.archives.export_file import ExportWriter, Header
from everfold.commands.new_file import new_file
from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold, ended
from tests.projector.jobs import make_jobs, work

pytestmark = pytest.mark.anyio

WRITERS = {
    "events.parquet": ("archive", "parquet"),
    "all.jsonl.gz": ("archive", "export"),
    "replayed.jsonl": ("audit", "replay", "--to"),
    "jobs.svg": ("audit", "timeline", "--svg"),
    "jobs.json": ("audit", "timeline", "--trace"),
}
AWAY = "/proc/nowhere/"
"""Nobody can make a folder there, nor a file."""

REFUSED = {
    **{(*words, AWAY + name): "cannot be written: " for name, words in WRITERS.items()},
    ("archive", "export", "/"): "/ cannot be written: ",
    ("archive", "run", "--everything", "--archive", AWAY): "No such file or directory",
    ("archive", "import", AWAY): "/proc/nowhere cannot be read: No such file or directory",
    ("archive", "import", "/"): "/ is no file",
    ("audit", "replay", "--to", "/nope"): "'/nope' is not usable",
    ("audit", "replay", "--to", AWAY): "is not usable",
    ("simulator", "--port", "0", "--output", AWAY): "cannot write to /proc/nowhere",
    ("demo", "--folder", AWAY): "/proc/nowhere: No such file or directory",
}


def test_a_pipe_gets_the_content_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), "rb") as reader:
        with new_file(pipe) as part:
            part.write_text("all of it")
        assert reader.read(9) == b"all of it"

    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


def test_a_standard_stream_by_its_name_is_written_into(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as stream, new_file(_name_of(stream)) as part:
        part.write_text("all of it")

    assert (tmp_path / "out").read_text() == "all of it"


def _name_of(stream: IO[bytes]) -> Path:
    return Path(f"/dev/fd/{stream.fileno()}")


def test_an_export_takes_the_place_of_no_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(OSError, match="it is no file"):
        ExportWriter(pipe, Header("everfold", 1))

    assert stat.S_ISFIFO(pipe.stat().st_mode)


async def archived_jobs(everfold: Everfold, log: Log, folder: Path) -> None:
    await make_jobs(log, 2)
    await work(log)
    await ended(everfold("archive", "run", "--everything", "--archive", str(folder)))


async def test_a_written_file_is_whole_and_for_its_user_alone(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await archived_jobs(everfold, log, tmp_path / "archive")
    place, victim = tmp_path / "place", tmp_path / "victim"
    place.mkdir()
    victim.write_text("mine")
    traps = [place / trap for name in WRITERS for trap in (name, f"{name}.part", f"tmp_{name}")]
    for trap in traps:
        trap.symlink_to(victim)
    running = {name: everfold(*words, str(place / name)) for name, words in WRITERS.items()}
    for name, program in running.items():
        await ended(program)
        written = (place / name).lstat()
        assert stat.S_ISREG(written.st_mode), name
        assert written.st_mode & 0o777 == 0o600, name
        assert written.st_size > 100, name
    assert victim.read_text() == "mine"
    assert set(place.iterdir()) == set(traps)


async def test_what_cannot_be_written_is_one_sentence(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    await archived_jobs(everfold, log, tmp_path / "archive")
    running = {line: everfold(*line) for line in REFUSED}
    for line, program in running.items():
        assert await program.end(within_s=60) in (1, 2, 4), program
        assert program.lines == [], program
        (sentence,) = program.error_lines
        assert REFUSED[line] in sentence, program
