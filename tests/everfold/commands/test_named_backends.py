"""A backend with a name: people use the name, and its jobs are found by address and identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everfold.client import Everfold
from everfold.streams.appending.log import Log
from everfold.streams.errors import BackendUnknown, InvalidName
from everfold.streams.leases.backends import (
    BackendEntry,
    backend_entries,
    mark_of,
    note_backends,
    retired_backends,
)
from tests.everfold.running import Everfold as Command
from tests.everfold.running import ended, objects
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
def stack(log: Log, start_program: StartProgram, tmp_path: Path) -> Stack:
    return Stack(log, start_program, tmp_path)


A, B = "http://a:8188", "http://b:8188"


async def test_a_name_is_shown_and_taken_by_every_command(
    everfold: Command, log: Log, stack: Stack
) -> None:
    comfy = await stack.comfy()
    environ = {
        "EVERFOLD_BACKENDS_GPU1_LABELS": "gpu:24gb",
        "EVERFOLD_BACKENDS_GPU1_SLOTS": "1",
        "EVERFOLD_LOG": "INFO",
    }
    runner = everfold("runner", "--comfyui", f"gpu1={comfy.url}", **environ)
    await runner.line("serves", within_s=20)
    job_id = (await log.submit(sleeper(0.1))).job_id
    await ended(everfold("jobs", "wait", job_id))

    async def identified() -> bool:
        return all(entry.server for entry in await backend_entries(log))

    await eventually(identified, 10)
    [row] = await objects(everfold("backends", "ls", "--json"))
    shown = (row["name"], row["title"], row["labels"], row["slots"])
    assert shown == (comfy.url, "gpu1", ["gpu:24gb"], 1)
    [head, line] = await ended(everfold("backends", "ls"))
    assert head.split()[:2] == ["backend", "address"]
    assert line.split()[:2] == ["gpu1", comfy.url]
    lines = await ended(everfold("jobs", "show", job_id))
    assert [one.split() for one in lines if one.startswith("backend")] == [
        ["backend", "gpu1", comfy.url]
    ]
    await ended(everfold("backends", "retire", "gpu1"))

    async def retired() -> bool:
        return any(entry.why for entry in await backend_entries(log))

    await eventually(retired, 10)
    assert list(await retired_backends(log)) == [row["server"]]
    await ended(everfold("backends", "return", "gpu1"))
    assert await retired_backends(log) == {}
    [act, _] = await objects(everfold("audit", "acts", "--json"))
    assert act["subject"] == "gpu1"


async def test_a_job_of_a_named_backend_is_taken_over_by_a_runner_that_has_its_address_alone(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(titles={comfy.url: "gpu1"}, backends=[comfy.url])
    job_id = await stack.submit(seconds=3)
    running = await stack.until(job_id, "running")
    assert running.backend == comfy.url
    first.kill()
    await stack.runner(backends=[comfy.url.replace("127.0.0.1", "localhost")])
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, len(await comfy.executions())) == (1, 1)


async def test_a_runner_without_a_name_for_an_address_leaves_that_of_another_runner(
    stack: Stack,
) -> None:
    comfy = await stack.comfy()
    await stack.runner(titles={comfy.url: "gpu1"}, backends=[comfy.url])
    other = await stack.runner(backends=[comfy.url])
    name = str(json.loads(other.arguments[-1])["name"])

    async def written_by_both() -> bool:
        (entry,) = await backend_entries(stack.log)
        assert entry.title == "gpu1"
        return entry.by == name

    await eventually(written_by_both, 10)


def entry(name: str, server: str = "", title: str = "", seen_ms: int = 1) -> BackendEntry:
    return BackendEntry(name=name, server=server, title=title, seen_ms=seen_ms)


def test_a_backend_is_marked_by_its_address_or_by_its_server() -> None:
    entries = [entry(A, "s1", "gpu1"), entry(B, "s2"), entry("http://c:1")]
    assert mark_of(entries, A) == A
    assert mark_of(entries, "http://me:pw@a:8188/") == A
    assert mark_of(entries, "s2") == "s2"
    assert mark_of(entries, "gpu1") == "s1"
    assert mark_of(entries, "b:8188") == "s2"
    assert mark_of(entries, "c:1") == "http://c:1"
    with pytest.raises(BackendUnknown, match=r"no backend 'gpu2'; did you mean gpu1\?"):
        mark_of(entries, "gpu2")
    for name in ("", "://"):
        with pytest.raises(BackendUnknown):
            mark_of(entries, name)


def test_a_name_of_two_servers_is_not_guessed_and_one_that_was_replaced_does_not_count() -> None:
    with pytest.raises(InvalidName, match="several servers have this name; use one of s1, s2"):
        mark_of([entry(A, "s1", "gpu1"), entry(B, "s2", "gpu1")], "gpu1")
    assert mark_of([entry(A, "s1", "gpu1"), entry(B, "s1", "gpu1")], "gpu1") == "s1"
    replaced = [entry(A, "old", "gpu1"), entry(A, "new", "gpu1", seen_ms=3_600_000)]
    assert mark_of(replaced, "gpu1") == "new"


async def test_a_backend_that_was_retired_by_its_address_is_returned_by_its_name(log: Log) -> None:
    await note_backends(log, [BackendEntry(name=A, server="s1", title="gpu1", seen_ms=1)])
    async with Everfold.connect(log.url.reveal()) as everfold:
        for name in (A, "s1", "gpu1", "a:8188"):
            await everfold.retire_backend(name)
            assert await everfold.return_backend("gpu1")
            assert not await everfold.return_backend("gpu1")
