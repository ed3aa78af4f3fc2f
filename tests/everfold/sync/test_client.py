"""The client for programs without an event loop, against a real server."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from everfold import (
    ClientClosed,
    InvalidName,
    JobUnknown,
    Refused,
    ServerUnreachable,
    Unreadable,
    sync,
)
from everfold import Everfold as AsyncEverfold
from tests.everfold.running import make_namespace

GRAPH: dict[str, object] = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
def everfold(redis_url: str, namespace: str, tmp_path: Path) -> Iterator[sync.Everfold]:
    asyncio.run(make_namespace(redis_url, namespace))
    with sync.connect(redis_url, namespace=namespace, assets=tmp_path / "assets") as everfold:
        yield everfold


class Outcome(BaseException):
    """As those with which frameworks for tests end one."""


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "everfold-sync"]


def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_a_job_is_submitted_listed_watched_and_canceled(everfold: sync.Everfold) -> None:
    made = everfold.submit(GRAPH, user="ada", batch="monday")

    assert everfold.get(made.job_id).user == "ada"
    assert everfold.graph(made.job_id) == GRAPH
    assert [job.job_id for job in everfold.list(user="ada").jobs] == [made.job_id]
    assert everfold.batch("monday").progress().total == 1
    assert [job.job_id for job in everfold.batch("monday").jobs()] == [made.job_id]
    assert everfold.cancel(made.job_id, "enough").status == "canceled"
    states = [job.status for job in everfold.watch(made.job_id)]
    assert (states[0], states[-1]) == ("queued", "canceled")
    assert everfold.wait(made.job_id).status == "canceled"
    assert len(everfold.events(made.job_id)) == len(states)


def test_errors_are_those_of_the_asyncio_client(everfold: sync.Everfold) -> None:
    with pytest.raises(JobUnknown):
        everfold.get("nothing")
    with pytest.raises(JobUnknown):
        next(everfold.watch("nothing"))
    with pytest.raises(TimeoutError):
        everfold.wait(everfold.submit(GRAPH).job_id, timeout_s=0.01)
    with pytest.raises(InvalidName):
        everfold.batch("a b\n")
    with pytest.raises(InvalidName):
        everfold.acting_as("\n")


def test_files_are_stored_and_read(everfold: sync.Everfold) -> None:
    stored = everfold.assets.put(b"12345", name="a.txt", owner="ada")

    with everfold.assets.open(stored.asset.hash, 1, 4) as chunks:
        assert b"".join(chunks) == b"234"
    assert everfold.assets.get(stored.asset.id) == stored.asset
    assert "/assets/" in everfold.assets.url


def test_events_of_all_jobs_are_followed(everfold: sync.Everfold) -> None:
    with everfold.follow() as batches:
        made = everfold.submit(GRAPH)
        assert next(batches)[0].job_id == made.job_id


def test_another_actor_is_noted(everfold: sync.Everfold) -> None:
    job_id = everfold.submit(GRAPH).job_id
    everfold.acting_as("ada").cancel(job_id)

    events = [record.event for record in everfold.events(job_id)]
    actors = [event.actor for event in events if not isinstance(event, Unreadable)]
    assert actors[0] == "client"
    assert set(actors[1:]) == {"ada"}


def test_run_gives_the_asyncio_client(everfold: sync.Everfold) -> None:
    async def both(client: AsyncEverfold) -> list[str]:
        made = [await client.submit(GRAPH), await client.submit(GRAPH)]
        return [one.job_id for one in made]

    assert len(set(everfold.run(both))) == 2


def test_a_call_inside_run_is_refused_and_does_not_wait_for_itself(
    everfold: sync.Everfold,
) -> None:
    async def nested(client: AsyncEverfold) -> None:
        everfold.queues()

    with pytest.raises(Refused, match="wait for itself"):
        everfold.run(nested)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, Outcome])
def test_an_error_that_ends_programs_is_its_callers_alone(
    everfold: sync.Everfold, kind: type[BaseException]
) -> None:
    async def fail(_: AsyncEverfold) -> None:
        raise kind("enough")

    (before,) = threads()

    with pytest.raises(kind, match="enough"):
        everfold.run(fail)

    assert everfold.list().jobs == []
    assert threads() == [before]


def test_a_call_that_an_ending_loop_does_not_run_is_not_waited_for(
    everfold: sync.Everfold,
) -> None:
    thread = everfold._connection.thread()
    late = threading.Thread(target=lambda: _closed(lambda: thread.call(anyio.sleep_forever)))

    async def last_of_all() -> AsyncIterator[None]:
        try:
            yield
        finally:  # when the loop has canceled all that runs, and is about to close
            late.start()
            late.join(0.3)

    kept = last_of_all()
    everfold.run(lambda _: anext(kept))
    everfold.close()

    late.join(5)
    assert not late.is_alive()


def _closed(call: Callable[[], object]) -> None:
    with pytest.raises(ClientClosed):
        call()


def test_many_threads_call_at_once(redis_url: str, namespace: str) -> None:
    everfold = sync.connect(redis_url, namespace=namespace)
    begin = threading.Barrier(16)

    def work(number: int) -> str:
        begin.wait()  # the first calls of all come together
        made = everfold.submit(GRAPH, user=f"user{number}")
        return everfold.get(made.job_id).user

    before = len(threads())
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == [f"user{number}" for number in range(16)]
    assert len(threads()) == before + 1
    everfold.close()
    assert len(threads()) == before


def test_nothing_is_connected_before_the_first_call() -> None:
    before = threads()
    everfold = sync.connect("redis://127.0.0.1:1")

    assert threads() == before
    with pytest.raises(ServerUnreachable):
        everfold.queues()
    assert threads() == before


def test_a_client_whose_first_call_failed_works_later(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everfold = sync.connect(namespace=namespace)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    with pytest.raises(ServerUnreachable):
        everfold.submit(GRAPH)
    monkeypatch.setenv("REDIS_URL", redis_url)
    assert everfold.submit(GRAPH).created
    everfold.close()


def test_a_closed_client_says_so(everfold: sync.Everfold) -> None:
    everfold.close()
    everfold.close()

    with pytest.raises(ClientClosed):
        everfold.submit(GRAPH)


def test_calls_that_wait_end_when_another_thread_closes(everfold: sync.Everfold) -> None:
    job_id = everfold.submit(GRAPH).job_id
    waiting, watching = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    wait = waiting.submit(everfold.wait, job_id)
    states = everfold.watch(job_id)
    next(states)
    watch = watching.submit(next, states)
    until(lambda: wait.running() and watch.running())
    everfold.close()

    assert isinstance(wait.exception(10), ClientClosed)
    assert isinstance(watch.exception(10), ClientClosed)


def test_a_watch_that_is_left_ends(everfold: sync.Everfold) -> None:
    job_id = everfold.submit(GRAPH).job_id
    for _ in everfold.watch(job_id):
        break

    async def others(_: AsyncEverfold) -> list[str]:
        names = [str(task.get_coro()) for task in asyncio.all_tasks()]
        return [name for name in names if "Running.run" in name]

    gc.collect()
    assert len(everfold.run(others)) == 1  # the one that asks


def test_it_works_where_an_event_loop_runs(everfold: sync.Everfold) -> None:
    async def view() -> str:
        return everfold.get(everfold.submit(GRAPH).job_id).status

    assert asyncio.run(view()) == "queued"


def test_a_client_that_nobody_has_any_more_is_closed(redis_url: str, namespace: str) -> None:
    before = len(threads())
    everfold = sync.connect(redis_url, namespace=namespace)
    everfold.submit(GRAPH)
    assert len(threads()) == before + 1
    del everfold
    gc.collect()
    until(lambda: len(threads()) == before)
