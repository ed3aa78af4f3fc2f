"""docs/ARCHITECTURE.md says what the code does: every key, and a test for every failure."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import OPEN_STATUSES, STATUSES, Job
from everfold.projector.job.words import Status
from everfold.streams.events.event import Event
from everfold.streams.events.record import Recorded
from everfold.streams.redis.keys import Keyspace
from tests.architecture.test_imports import ROOMS
from tests.streams.events.golden import STATED

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
SAMPLE = {
    "partition": 0,
    "job_id": "J",
    "queue": "Q",
    "priority": "high",
    "sha256": "S",
    "content_hash": "S",
    "digest": "S",
    "submit_id": "I",
    "name": "N",
    "line": "L",
    "scope": "user",
    "owner": "O",
    "user": "U",
    "place": "P",
    "what": "W",
}


def keys() -> dict[str, str]:
    """Return every key of a sample namespace, and the type its docstring states."""
    space, found = Keyspace("ns", 1), {}
    for place in (
        space,
        space.jobs(0),
        space.states(0, "N"),
        space.subscription(0, "N"),
        space.assets(0),
    ):
        for _, method in inspect.getmembers(place, inspect.ismethod):
            if kind := re.match(r"[A-Z]{3,}\b", inspect.getdoc(method) or ""):
                wanted = inspect.signature(method).parameters
                key = method(*(SAMPLE[parameter] for parameter in wanted))
                found[key] = kind[0].lower()
    return found


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]*<ns>[^`]*)` \| (\w+) \|", TEXT, re.MULTILINE)
    spelled = {"<ns>": "ns", ":p}": ":0}", "<job>": "J", "<queue>": "Q"}
    spelled |= {"<priority>": "high", "<sha256>": "S", "<name>": "N", "<submit id>": "I"}
    spelled |= {
        "<line>": "L",
        "<scope>": "user",
        "<owner>": "O",
        "<place>": "P",
        "<user>": "U",
        "<what>": "W",
    }
    found = {}
    for key, kind in rows:
        for written, sample in spelled.items():
            key = key.replace(written, sample)
        found[key] = kind
    return found


def test_the_key_table_names_every_key_with_its_type_and_no_other() -> None:
    assert documented() == keys()


def test_the_rooms_stand_in_the_order_in_which_they_may_import() -> None:
    in_order = [f"{package}/{room}" for package, rooms in ROOMS.items() for room in rooms.split()]
    assert re.findall(r"^\| `(\w+/\w+)` \|", TEXT, re.MULTILINE) == in_order


def test_the_drawing_of_the_rooms_has_the_same_order() -> None:
    lines = dict(re.findall(r"^ (\w+)/ +(.+ ► .+)$", TEXT, re.MULTILINE))
    drawn = {package: line.split(" ► ")[::-1] for package, line in lines.items()}
    assert drawn == {package: rooms.split() for package, rooms in ROOMS.items()}


def changes() -> set[tuple[str, str, str]]:
    """Return every change of a status: before, the name of the event, after."""
    found = set[tuple[str, str, str]]()
    for event in STATED.values():
        name = str(event.__struct_config__.tag).removeprefix("job.")
        for status in STATUSES:
            after = evolve(_job(status), _recorded(event)).status
            if after != status:
                found.add((status, name, after))
    return found


def _job(status: Status) -> Job:
    is_canceling = status == "canceling"
    return Job(
        job_id="j", seq=1, status=status, attempt=1, cancel_requested_at_ms=int(is_canceling)
    )


def _recorded(event: Event) -> Recorded:
    return Recorded(
        entry_id="2-0", job_id="j", seq=2, epoch=1, previous="1-0", event=event, payload=b""
    )


def test_the_status_table_says_what_each_event_does() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", TEXT, re.MULTILINE)
    told = {status: (_quoted(by), _quoted(to)) for status, by, to in rows}

    real = changes()
    assert tuple(told) == STATUSES
    for status, (entered_by, following) in told.items():
        first = {"submitted"} if status == Job().status else set()
        assert entered_by == {event for _, event, after in real if after == status} | first
        assert following == {after for before, _, after in real if before == status}, status
    assert {before for before, _, _ in real} == set(OPEN_STATUSES)


def _quoted(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_every_test_that_the_failure_table_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 35
    for path, test in named:
        assert f"def {test}(" in (ROOT / "tests" / path).read_text(), f"{path}::{test}"


def test_every_file_that_the_readme_links_to_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", readme) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
