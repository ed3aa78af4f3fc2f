# An export file that is changed in any place is refused before anything is written; or it is
# imported, and then the namespace verifies and its readers read it.

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st

from everfold import Everfold
from everfold.archives.export_file import Checked, check_export
from everfold.commands.session import Session
from everfold.commands.stream.export_file import import_export
from everfold.projector.reading.verify import verify
from everfold.streams.errors import ArchiveDamaged, CorruptLog, Unknown
from everfold.streams.leases.producer import Producer
from everfold.streams.retention.history import all_history
from tests.everfold.exports.test_hostile_exports import event, graph
from tests.fuzz.cases import fuzz
from tests.fuzz.mutations import VALUES, changed, dump, spoiled
from tests.support import servers

GRAPH = '{"1":{"class_type":"A","inputs":{}}}'
SHA256 = hashlib.sha256(GRAPH.encode()).hexdigest()
SUBMIT = json.loads(event("J-1", workflow=SHA256))


def line(number: int, kind: str, **fields: object) -> dict[str, object]:
    """Return the line of the job's event of this number."""
    payload = {"type": f"job.{kind}", "id": f"e{number}", "actor": "r", **fields}
    at, before = f"{4 + number}-0", f"{3 + number}-0"
    return {"i": at, "j": "J-1", "s": number, "e": 1, "p": before, "d": payload}


ATTEMPT = {"attempt": 1, "backend": "b", "boot": "m", "prompt_id": "p", "client_id": "c"}
LINES: Sequence[dict[str, object]] = (
    {"parcel": "everfold", "namespace": "n", "partitions": 1, "format": 1},
    {"parcel": "partition", "number": 0},
    SUBMIT,
    line(2, "claimed", owner="r"),
    line(3, "submitting", **ATTEMPT),
    line(4, "started", attempt=1),
    line(5, "succeeded", attempt=1, outputs={}),
    json.loads(graph(GRAPH)),
)


def mutants() -> st.SearchStrategy[bytes]:
    """Return the lines of a file, most of them as they should be."""
    each = [
        st.one_of(st.just(dump(one)), st.just(dump(one)), changed([one], VALUES).map(dump))
        for one in LINES
    ]
    whole = st.tuples(*each).map(list)
    shortened = whole.flatmap(lambda lines: st.integers(0, 8).map(lambda n: cut(lines, n)))
    moved = whole.flatmap(st.permutations)
    return (shortened | shortened | shortened | moved).map(forged)


def cut(lines: list[bytes], number: int) -> list[bytes]:
    """Return the lines without one of the last events, or with all."""
    return [text for n, text in enumerate(lines) if n != number or number < 3]


def forged(lines: Sequence[bytes]) -> bytes:
    """Return the file of these lines, with the checksum that belongs to them."""
    text = b"".join(one + b"\n" for one in lines)
    events = sum(not one.startswith(b'{"parcel"') for one in lines)
    end = {"parcel": "end", "events": events, "sha256": hashlib.sha256(text).hexdigest()}
    return gzip.compress(text + dump(end) + b"\n", 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "all.jsonl.gz"


@fuzz(content=mutants() | mutants() | spoiled(mutants()), allow_broken=st.booleans())
def test_an_export_is_refused_whole_or_imported_sound(
    portal: BlockingPortal, redis_server: str, file: Path, content: bytes, allow_broken: bool
) -> None:
    file.write_bytes(content)
    session = Session(namespace=f"fuzz-{uuid4().hex[:12]}", redis_url=redis_server)
    try:
        portal.call(imported, file, session, allow_broken)
    finally:
        servers.delete_namespace(redis_server, session.namespace)


async def imported(file: Path, session: Session, allow_broken: bool) -> None:
    try:
        checked = check_export(file, allow_broken=allow_broken)
    except ArchiveDamaged:
        return  # `import_export` checks the whole file by this call, before it connects
    if checked.header.partitions > 8:
        return  # a right one, which only takes longer
    assert await import_export(file, allow_broken=allow_broken, session=session) == 0
    async with session.open() as everfold:
        await assert_sound(everfold, checked, allow_broken)


async def assert_sound(everfold: Everfold, checked: Checked, allow_broken: bool) -> None:
    log = everfold.log
    found = [record async for record in all_history(log)]
    assert len(found) == checked.end.events or checked.begun_again
    assert (await verify(log)).is_sound or allow_broken
    for job_id in {record.job_id for record in found}:
        with contextlib.suppress(CorruptLog, Unknown):
            assert (await everfold.get(job_id)).job_id == job_id
        assert await everfold.events(job_id)
    await everfold.list()
    await Producer(log, "r2").claim(most=10)
    assert (await everfold.submit(json.loads(GRAPH))).created
