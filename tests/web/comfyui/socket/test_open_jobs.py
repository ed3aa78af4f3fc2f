"""Which counts of open jobs an event changes."""

from __future__ import annotations

from msgspec.structs import replace

from everfold.streams.events.event import Canceled, Event
from everfold.streams.events.record import Recorded
from everfold.web.comfyui.socket.open_jobs import OpenJobs
from tests.support.histories import SUBMITTED

OF_ADA = replace(SUBMITTED, user="ada")


def record(event: Event, job_id: str = "j") -> Recorded:
    return Recorded("1-0", job_id, 1, 0, "0-0", event, b"{}")


def test_a_job_that_the_list_had_already_changes_no_count() -> None:
    jobs = OpenJobs()
    jobs.load(None, ["j"])
    jobs.load("ada", [])

    assert jobs.note(record(OF_ADA)) == ["ada"]
    assert (jobs.count(None), jobs.count("ada")) == (1, 1)
    assert jobs.note(record(OF_ADA)) == []
    assert jobs.note(record(Canceled())) == [None, "ada"]
    assert (jobs.count(None), jobs.count("ada")) == (0, 0)


def test_what_a_list_does_not_know_yet_is_told() -> None:
    jobs = OpenJobs()
    for job_id in ("new", "listed", "ended"):
        jobs.note(record(OF_ADA, job_id))
    jobs.note(record(Canceled(), "ended"))

    assert jobs.load("ada", ["listed", "ended"]) == {"new": (1, "1-0"), "ended": (1, "1-0")}
    assert jobs.count("ada") == 2
    assert jobs.load("bob", []) == {}
    jobs.note(record(OF_ADA, "ended"))
    assert jobs.load(None, ["ended"]).keys() == {"new", "listed"}
    assert jobs.count(None) == 3
