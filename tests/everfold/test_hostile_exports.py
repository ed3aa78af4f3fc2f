"""Export files and archives that somebody has forged: refused before anything is written."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from everfold.archives.export_file import check_export
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.check import check_archive
from everfold.streams.archive.folder import Folder
from everfold.streams.archive.segment import LINE_LIMIT_BYTES, read_segment
from everfold.streams.errors import ArchiveDamaged
from everfold.streams.events.event import Policy, Submitted
from tests.projector.jobs import make_jobs

pytestmark = pytest.mark.anyio

HEADER = '{"parcel":"everfold","namespace":"n","partitions":4,"format":1}'
PARTITION = '{"parcel":"partition","number":1}'


def event(job: str = "j", at: str = "5-0", queue: str = "default", priority: str = "normal") -> str:
    made = Submitted(
        id="e", actor="a", kind="k", user="u", workflow="0" * 64, queue=queue, priority=priority,
        metadata={}, policy=Policy(),
    )  # fmt: skip
    submitted = msgspec.to_builtins(made)
    return json.dumps({"i": at, "j": job, "s": 1, "e": 0, "p": "0-0", "d": submitted})


def forged(path: Path, *lines: str) -> Path:
    """Write lines with the checksum that belongs to them."""
    text = "".join(f"{line}\n" for line in lines)
    events = sum(not line.startswith('{"parcel"') for line in lines)
    end = {"parcel": "end", "events": events, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    end_line = json.dumps(end, separators=(",", ":"))
    path.write_bytes(gzip.compress(f"{text}{end_line}\n".encode()))
    return path


def test_a_file_that_is_right_is_accepted(tmp_path: Path) -> None:
    _, end = check_export(forged(tmp_path / "f", HEADER, PARTITION, event()))
    assert end.events == 1


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((HEADER.replace('t":1', 't":99'),), "its format is 99"),
        ((HEADER.replace('s":4', 's":0'),), "it names 0 partitions"),
        ((HEADER.replace('s":4', 's":999999999'),), "it names 999999999 partitions"),
        ((HEADER, '{"parcel":"partition","number":4}'), "partition 4 is not one"),
        ((HEADER, '{"parcel":"partition","number":999}'), "partition 999 is not one"),
        ((HEADER, '{"parcel":"partition","number":-1}'), "partition -1 is not one"),
        ((HEADER, PARTITION, PARTITION), "out of order"),
        ((HEADER, event()), "no partition"),
        ((HEADER, '{"parcel":"workflow","sha256":"00","graph":"{}"}'), "is another one"),
        ((HEADER, PARTITION, event(job="a\nb\x1b[2J")), "job id"),
        ((HEADER, PARTITION, event(queue="../x y")), "queue"),
        ((HEADER, PARTITION, event(priority="p:\x1b[31m")), "priority"),
        ((HEADER, PARTITION, event(at=f"{2**64 - 1}-0")), "an id that no log gives"),
        ((HEADER, PARTITION, event(at="0-0")), "an id that no log gives"),
        ((HEADER, PARTITION, event(at="../5")), "no usable id"),
        ((HEADER, PARTITION, '{"i":"5-0","x":["ag==","ag=="]}'), "no event of a job"),
        ((HEADER, PARTITION, '{"i":"5-0","x":["!"]}'), "no e"),
        ((HEADER, PARTITION, "[" * 5000 + "]" * 5000), "a line is no entry"),
        ((HEADER, PARTITION, '{"parcel":' + "[" * 5000 + "]" * 5000 + "}"), "damaged"),
        ((HEADER, PARTITION, "x" * (LINE_LIMIT_BYTES + 1)), "a line of more than"),
    ],
)
def test_a_forged_file_is_refused_with_what_is_wrong(
    lines: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveDamaged, match=why):
        check_export(forged(tmp_path / "f", *lines))


async def archived(log: Log, place: Path) -> Archive:
    await make_jobs(log, 2)
    archive = Archive(Folder(str(place)))
    await Archiver(log, archive).run(everything=True)
    return Archive(Folder(str(place)))


@pytest.mark.parametrize("how", ["deleted", "replaced", "bomb", "garbage"])
async def test_a_graph_that_is_not_what_was_archived_is_found(
    how: str, log: Log, tmp_path: Path
) -> None:
    archive = await archived(log, tmp_path)
    [graph] = (tmp_path / "workflows").glob("*.json.gz")
    graph.unlink()
    if how != "deleted":
        bomb = b"0" * (LINE_LIMIT_BYTES + 1)
        content = {"replaced": gzip.compress(b"{}"), "bomb": gzip.compress(bomb)}
        graph.write_bytes(content.get(how, b"garbage"))
    told = [
        item
        for partition in range(log.keys.partitions)
        async for item in check_archive(log, archive, partition)
    ]
    assert any(graph.name in str(item) for item in told)


def test_a_segment_that_is_a_bomb_is_refused() -> None:
    with pytest.raises(ArchiveDamaged, match="a line of more than"):
        list(read_segment(gzip.compress(b"0" * (4 * LINE_LIMIT_BYTES))))
