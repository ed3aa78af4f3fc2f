"""Export files and archives that somebody has forged: refused before anything is written."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from everfold.streams.redis.keys import Keyspace
from tests.projector.jobs import make_jobs

pytestmark = pytest.mark.anyio

HEADER = '{"parcel":"everfold","namespace":"n","partitions":4,"format":1}'
PARTITION = '{"parcel":"partition","number":1}'
OTHER = '{"parcel":"partition","number":2}'
JOB, SECOND = [f"j{n}" for n in range(99) if Keyspace("", 4).partition_of(f"j{n}") == 1][:2]
GRAPH = '{"1":{"class_type":"A","inputs":{}}}'

Line = str | bytes
Fields = Mapping[str, object]


def event(job: str = JOB, at: str = "5-0", *, line: Fields | None = None, **fields: object) -> str:
    """Return the line of a submit; `fields` are others of the event."""
    made = Submitted(
        id="e", actor="a", kind="k", user="u", workflow="0" * 64, queue="default",
        priority="normal", metadata={}, policy=Policy(),
    )  # fmt: skip
    payload = {**msgspec.to_builtins(made), **fields}
    return json.dumps({"i": at, "j": job, "s": 1, "e": 0, "p": "0-0", "d": payload, **(line or {})})


def later(kind: str = "claimed", *, line: Fields | None = None, **fields: object) -> str:
    """Return the line of the job's second event."""
    payload = {"type": f"job.{kind}", "id": "e2", "actor": "a", "owner": "r", **fields}
    return json.dumps(
        {"i": "6-0", "j": JOB, "s": 2, "e": 1, "p": "5-0", "d": payload, **(line or {})}
    )


def raw(*fields: bytes, at: str = "5-0") -> str:
    """Return a line with the entry's fields as they are."""
    return json.dumps({"i": at, "x": [base64.b64encode(field).decode() for field in fields]})


def fields(**changed: bytes) -> list[bytes]:
    """Return the fields of a submit as the log has them, some of them changed."""
    payload = json.dumps(json.loads(event())["d"]).encode()
    values = {"j": JOB.encode(), "s": b"1", "e": b"0", "p": b"0-0", "d": payload} | changed
    return [part for name, value in values.items() for part in (name.encode(), value)]


def graph(text: str, sha256: str | None = None) -> str:
    digest = sha256 or hashlib.sha256(text.encode()).hexdigest()
    line = {"parcel": "workflow", "sha256": digest, "graph": text}
    return json.dumps(line, separators=(",", ":"))


def forged(path: Path, *lines: Line) -> Path:
    """Write lines with the checksum that belongs to them."""
    text = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
    events = sum(not line.startswith(b'{"parcel"') for line in text.splitlines())
    end = {"parcel": "end", "events": events, "sha256": hashlib.sha256(text).hexdigest()}
    end_line = json.dumps(end, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(text + end_line + b"\n"))
    return path


RECOVERED: dict[str, Any] = {"previous_owner": "", "crashes": 10**17, "idle_ms": 1, "reason": ""}
RETRIED: dict[str, Any] = {
    "attempt": 1,
    "failure": {"code": "c", "message": "m"},
    "not_before_ms": 10**16,
}
AFTER_END = later(line={"i": "7-0", "p": "6-0", "s": 3})
INPUT: dict[str, Any] = {
    "asset": "0e8b4b0c-9a44-5e0e-8c8a-3b0f3c9d4e5f",
    "hash": "blake3:" + "ab" * 32,
    "size_bytes": 3,
    "media_type": "image/png",
    "name": "photo.png",
}
RIGHT = [
    (HEADER, PARTITION, event()),
    (HEADER, PARTITION, event(inputs={"1.a": INPUT})),
    (HEADER, PARTITION, event(), later(), event(SECOND, "6-1"), graph(GRAPH), OTHER),
    (HEADER, PARTITION, event(), later("of_a_later_version")),
    (HEADER, PARTITION, event(run_at_ms=4_000_000_000_000)),
]


@pytest.mark.parametrize("lines", RIGHT)
def test_a_file_that_is_right_is_accepted(lines: tuple[str, ...], tmp_path: Path) -> None:
    end = check_export(forged(tmp_path / "f", *lines)).end
    assert end.events >= 1


FORGED: list[tuple[tuple[Line, ...], str]] = [
    ((HEADER.replace('t":1', 't":99'),), "its format is 99"),
    ((HEADER.replace('t":1', 't":0'),), "its format is 0"),
    ((HEADER.replace('t":1', 't":"1"'),), "damaged"),
    ((HEADER.replace('s":4', 's":0'),), "it names 0 partitions"),
    ((HEADER.replace('s":4', 's":999999999'),), "it names 999999999 partitions"),
    ((HEADER, HEADER.replace('s":4', 's":8'), PARTITION), "it is no export file"),
    ((PARTITION, HEADER), "it is no export file"),
    ((HEADER, '{"parcel":"partition","number":4}'), "partition 4 is not one"),
    ((HEADER, '{"parcel":"partition","number":999}'), "partition 999 is not one"),
    ((HEADER, '{"parcel":"partition","number":-1}'), "partition -1 is not one"),
    ((HEADER, '{"parcel":"partition","number":1e300}'), "damaged"),
    ((HEADER, PARTITION, PARTITION), "out of order"),
    ((HEADER, OTHER, PARTITION), "out of order"),
    ((HEADER, event()), "before its partition"),
    ((HEADER, OTHER, event()), "is not of partition 2"),
    ((HEADER, graph(GRAPH, "00")), "is another one"),
    ((HEADER, graph(GRAPH, "../../x")), "is another one"),
    ((HEADER, graph("[]")), "a workflow is an object"),
    ((HEADER, graph("no JSON")), "the workflow is not JSON"),
    ((HEADER, graph('{"1":{"class_type":"A"}}')), "has no `inputs`"),
    ((HEADER, graph('{"a":' * 5000 + "1" + "}" * 5000)), "the workflow is not JSON"),
    ((HEADER, '{"parcel":"workflow","sha256":"00","graph":"\\ud800"}'), "damaged"),
    ((HEADER, PARTITION, event(job="a\nb\x1b[2J")), "job id"),
    ((HEADER, PARTITION, event(job="")), "no event of a job"),
    ((HEADER, PARTITION, event(job="j" * 201)), "job id"),
    ((HEADER, PARTITION, event(queue="../x y")), "queue"),
    ((HEADER, PARTITION, event(priority="p:\x1b[31m")), "priority"),
    ((HEADER, PARTITION, event(user="u\x1b[2J")), "user"),
    ((HEADER, PARTITION, event(kind="k" * 201)), "kind"),
    ((HEADER, PARTITION, event(idempotency_key="\n")), "idempotency key"),
    ((HEADER, PARTITION, event(workflow="../../etc/passwd")), "is no SHA-256"),
    ((HEADER, PARTITION, event(id="\n")), "event id"),
    ((HEADER, PARTITION, event(inputs={"1.\x1b[2J": INPUT})), "control characters"),
    ((HEADER, PARTITION, event(inputs={"1.a": INPUT | {"asset": "../../etc"}})), "asset"),
    ((HEADER, PARTITION, event(inputs={"1.a": INPUT | {"hash": "blake3:../x"}})), "hash"),
    ((HEADER, PARTITION, event(inputs={"1.a": INPUT | {"size_bytes": -1}})), "has -1 bytes"),
    ((HEADER, PARTITION, event(inputs={"1.a": INPUT | {"size_bytes": 2**62}})), "bytes"),
    ((HEADER, PARTITION, event(inputs={"1.a": INPUT | {"name": "a\nb"}})), "control characters"),
    ((HEADER, PARTITION, event(inputs=dict.fromkeys(map(str, range(101)), INPUT))), "100 files"),
    ((HEADER, PARTITION, event(run_at_ms=10**30)), "run_at_ms is 1000000"),
    ((HEADER, PARTITION, event(run_at_ms=-1)), "run_at_ms is -1"),
    ((HEADER, PARTITION, event(), later("recovered", **RECOVERED)), "crashes is"),
    ((HEADER, PARTITION, event(), later("retried", **RETRIED)), "not_before_ms is"),
    ((HEADER, PARTITION, event(at=f"{2**63}-0")), "no usable id"),
    ((HEADER, PARTITION, event(at="4102444800000-0")), "an id that no log gives"),
    ((HEADER, PARTITION, event(at=f"5-{2**32}")), "an id that no log gives"),
    ((HEADER, PARTITION, event(at="0-0")), "an id that no log gives"),
    ((HEADER, PARTITION, event(at="../5")), "no usable id"),
    ((HEADER, PARTITION, event(at="05-0")), "no usable id"),
    ((HEADER, PARTITION, event(at="\N{ARABIC-INDIC DIGIT FIVE}-0")), "no usable id"),
    ((HEADER, PARTITION, event(at="*")), "no usable id"),
    ((HEADER, PARTITION, event(), event(SECOND)), "out of order"),
    ((HEADER, PARTITION, event(at="5-10"), event(SECOND, "5-9")), "out of order"),
    ((HEADER, PARTITION, event(), event(SECOND, "4-0")), "out of order"),
    ((HEADER, PARTITION, event(line={"s": 0})), "begin with its submit"),
    ((HEADER, PARTITION, event(line={"s": 2})), "begin with its submit"),
    ((HEADER, PARTITION, event(line={"s": 2**53})), "too large"),
    ((HEADER, PARTITION, event(line={"s": 2**63})), "no numbers"),
    ((HEADER, PARTITION, event(line={"s": -1})), "no numbers"),
    ((HEADER, PARTITION, event(line={"e": 2**53})), "too large"),
    ((HEADER, PARTITION, event(line={"p": "1-0"})), "does not follow event 0"),
    ((HEADER, PARTITION, event(), later(line={"p": "4-0"})), "does not follow event 1"),
    ((HEADER, PARTITION, event(), later(line={"s": 3})), "does not follow event 1"),
    ((HEADER, PARTITION, event(line={"e": 2}), later()), "does not follow event 1"),
    ((HEADER, PARTITION, event(), event(at="6-0")), "does not follow event 1"),
    ((HEADER, PARTITION, later()), "begin with its submit"),
    ((HEADER, PARTITION, event(type="job.claimed", owner="r")), "begin with its submit"),
    ((HEADER, PARTITION, event(), later("canceled"), AFTER_END), "has ended before"),
    ((HEADER, PARTITION, raw(b"j", b"j")), "no event of a job"),
    # More fields than an event has, as of a second job; or fewer, so that the next one fills up.
    ((HEADER, PARTITION, raw(*fields(), b"j", b"other")), "no event of a job"),
    ((HEADER, PARTITION, raw(*fields()[:-1])), "no event of a job"),
    ((HEADER, PARTITION, raw(*fields()[2:], *fields()[:2])), "no event of a job"),
    ((HEADER, PARTITION, raw(*fields(s=b"01"))), "no numbers"),
    ((HEADER, PARTITION, raw(*fields(s="\N{ARABIC-INDIC DIGIT ONE}".encode()))), "no numbers"),
    ((HEADER, PARTITION, raw(*fields(s=b" 1 "))), "no numbers"),
    ((HEADER, PARTITION, raw(*fields(j=b"\xff"))), "no event of a job"),
    ((HEADER, PARTITION, raw(*fields(p=b"\xff"))), "no usable id"),
    ((HEADER, PARTITION, '{"i":"5-0"}'), "no usable id"),
    ((HEADER, PARTITION, '{"i":"5-0","x":[]}'), "no event of a job"),
    ((HEADER, PARTITION, '{"i":"5-0","x":["!"]}'), "no e"),
    ((HEADER, PARTITION, '{"i":5,"x":[]}'), "a line is no entry"),
    ((HEADER, PARTITION, ""), "a line is no entry"),
    ((HEADER, PARTITION, b"\xff\xfe"), "a line is no entry"),
    ((HEADER, PARTITION, "[" * 5000 + "]" * 5000), "a line is no entry"),
    ((HEADER, PARTITION, '{"parcel":' + "[" * 5000 + "]" * 5000 + "}"), "damaged"),
    ((HEADER, PARTITION, "x" * (LINE_LIMIT_BYTES + 1)), "a line of more than"),
]


@pytest.mark.parametrize(("lines", "why"), FORGED, ids=range(len(FORGED)))
def test_a_forged_file_is_refused_with_what_is_wrong(
    lines: tuple[Line, ...], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveDamaged, match=why):
        check_export(forged(tmp_path / "f", *lines))


def test_an_id_is_used_again_only_after_its_end(tmp_path: Path) -> None:
    ended, again = later("succeeded", attempt=1, outputs={}), event(at="7-0")
    checked = check_export(forged(tmp_path / "f", HEADER, PARTITION, event(), ended, again))
    assert checked.begun_again == {JOB: "7-0"}
    open_one = forged(tmp_path / "g", HEADER, PARTITION, event(), later(), again)
    with pytest.raises(ArchiveDamaged, match="does not follow event 2"):
        check_export(open_one)


def test_a_job_with_a_hole_is_accepted_where_that_is_allowed(tmp_path: Path) -> None:
    file = forged(tmp_path / "f", HEADER, PARTITION, event(), later(line={"p": "4-0"}))
    end = check_export(file, allow_broken=True).end
    assert end.events == 2


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
