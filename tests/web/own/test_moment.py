"""The farm at a moment of its past: the fold, its check points, and the route."""

from __future__ import annotations

import random
from pathlib import Path

import httpx
import pytest

from everfold import Everfold
from everfold.archives.opening import open_store, remember_archive
from everfold.projector.job.evolve import evolve
from everfold.projector.job.job import Job
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.events.event import (
    Canceled,
    CancelRequested,
    Claimed,
    Event,
    Lost,
    Progressed,
    Recovered,
    Released,
    Started,
    Submitting,
    Succeeded,
)  # fmt: skip
from everfold.streams.events.record import Recorded
from everfold.streams.redis.server import server_time_ms
from everfold.web.own.moment import moments
from everfold.web.own.moment.moment_fold import MomentFold
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually
from tests.web.farm.test_farm_state import submitted
from tests.web.own.test_scopes import signed

pytestmark = pytest.mark.anyio

MOMENT = "/everfold/v1/moment"


def a_life(chance: random.Random) -> list[Event]:
    """Return a job's events, in an order that may be."""
    found: list[Event] = [submitted()]
    for attempt in range(1, chance.randint(1, 3) + 1):
        found.append(Claimed(owner=f"r{attempt}"))
        found.append(
            Submitting(attempt=attempt, backend="http://a", boot="", prompt_id="", client_id="")
        )
        found.append(Started(attempt=attempt))
        found.append(Progressed(attempt=attempt, value=0.1, nodes_done=0, nodes_total=1))
        if chance.random() < 0.5:
            found.append(
                Recovered(
                    owner="other", previous_owner="r", crashes=1, idle_ms=1, reason="lease_expired"
                )
            )
        if chance.random() < 0.3:
            found.append(CancelRequested())
        found.append(Lost(attempt=attempt, backend="http://a", cause="backend_restarted"))
        found.append(Released(reason="drain"))
    found.append(chance.choice((Canceled(), Succeeded(attempt=1, outputs={}))))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_it_folds_to_what_the_whole_fold_says(seed: int) -> None:
    fold, job = MomentFold(), Job()
    for seq, event in enumerate(a_life(random.Random(seed)), 1):
        record = Recorded(f"{seq}-0", "job", seq, 1, "0-0", event, b"{}")
        fold.note(record)
        job = evolve(job, record)
        then = fold.jobs.get("job")
        assert (then is None) == job.is_terminal
        if then is not None:
            backend = job.backend if job.may_be_alive else ""
            assert (then.status, then.owner, then.backend, then.attempt) == (
                job.status, job.owner, backend, job.attempt,
            )  # fmt: skip
    assert sum(fold.ended.values()) == 1


async def later(everfold: Everfold) -> int:
    """Return the server's time, once it is another millisecond."""
    now_ms = await server_time_ms(everfold.log.redis)

    async def is_later() -> bool:
        return await server_time_ms(everfold.log.redis) > now_ms + 2

    await eventually(is_later)
    return now_ms


async def test_it_shows_what_waited_and_ran_and_what_changed(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    gone = (await everfold.submit(sleeper(1), user="ada")).job_id
    kept = (await everfold.submit(sleeper(1), user="bob")).job_id
    first_ms = await later(everfold)
    await everfold.cancel(gone)
    came = (await everfold.submit(sleeper(2))).job_id
    comfy = await stack.comfy()
    await stack.runner(comfy)
    await stack.until(kept, "running")
    second_ms = await later(everfold)

    told = (await client.get(MOMENT, params={"time": first_ms, "until": second_ms})).json()

    assert (told["is_complete"], told["known_from_ms"]) == (True, 0)
    assert [(q["name"], q["waiting"], q["held"]) for q in told["then"]["queues"]] == [
        ("default", 2, 0)
    ]
    assert [one["job_id"] for one in told["then"]["waiting"]] == [gone, kept]
    assert kept in {one["job_id"] for one in told["until"]["held"]}
    assert told["until"]["runners"][0]["name"].startswith("runner-")
    assert [one["name"] for one in told["until"]["backends"]] == [comfy.url]
    changes = told["changes"]
    assert (changes["submitted"], changes["ended"]) == (1, {"canceled": 1})
    assert [one["job_id"] for one in changes["came"]] == [came]
    assert changes["gone"] == [{"job_id": gone, "status": "canceled"}]
    assert [one["job_id"] for one in changes["moved"]] == [kept]


async def test_a_second_look_goes_on_from_a_check_point(
    client: httpx.AsyncClient, everfold: Everfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [(await everfold.submit(sleeper(1))).job_id for _ in range(5)]
    now_ms = await later(everfold)
    first = (await client.get(MOMENT, params={"time": now_ms})).json()
    with monkeypatch.context() as patched:
        patched.setattr(moments, "history_pages", _nothing)
        again = (await client.get(MOMENT, params={"time": now_ms})).json()
    before = (await client.get(MOMENT, params={"time": 1})).json()

    assert again == first
    assert first["then"]["submitted"] == len(jobs)
    assert before["then"]["queues"] == []


def _nothing(*_: object, **__: object) -> None:
    raise AssertionError("the log was read again")


async def test_what_is_archived_and_trimmed_counts_and_else_it_says_from_when_on_it_knows(
    client: httpx.AsyncClient, everfold: Everfold, tmp_path: Path
) -> None:
    log = everfold.log
    job_id = (await everfold.submit(sleeper(1))).job_id
    await everfold.cancel(job_id)
    archive = Archive(open_store(str(tmp_path / "archive")))
    await remember_archive(log, archive)
    await Archiver(log, archive).run(everything=True)
    partition = log.keys.partition_of(job_id)
    now_ms = await later(everfold)
    told = (await client.get(MOMENT, params={"time": now_ms})).json()

    assert told["then"]["ended"] == {"canceled": 1}
    assert partition in range(log.keys.partitions)
    assert told["known_from_ms"] > 0


@pytest.mark.parametrize(
    "query", ["", "?time=yesterday", "?time=5&until=4", "?time=-1", "?time=1&time=2", "?moment=1"]
)
async def test_a_moment_that_is_none_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(MOMENT + query)).status_code == 422


async def test_it_is_for_those_who_see_all(client: httpx.AsyncClient, everfold: Everfold) -> None:
    _, headers = await signed(client, everfold, user="ada")

    assert (await client.get(f"{MOMENT}?time=1", headers=headers)).status_code == 403
