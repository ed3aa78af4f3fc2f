"""The story, the lanes, the graph and the proof of one job."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from everfold import Everfold
from everfold.archives.opening import open_store, remember_archive
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.redis.redis_errors import command
from everfold.web.own.story.graph import drawn
from tests.support.programs.stack import Stack, sleeper
from tests.web.own.test_scopes import signed

pytestmark = pytest.mark.anyio

JOBS = "/everfold/v1/jobs"


async def test_a_runner_that_was_killed_is_one_picture(
    client: httpx.AsyncClient, stack: Stack
) -> None:
    comfy = await stack.comfy()
    first = await stack.runner(comfy)
    job_id = await stack.submit(4)
    await stack.until(job_id, "running")
    first.kill()
    await stack.runner(comfy)
    await stack.until(job_id, "succeeded")

    story = (await client.get(f"{JOBS}/{job_id}/story")).json()

    lines, stretches, leases = story["lines"], story["stretches"], story["leases"]
    assert [line["seq"] for line in lines] == list(range(1, story["events"] + 1))
    assert [one["type"] for one in lines][:2] == ["job.submitted", "job.claimed"]
    assert "takes over from runner-2" in next(o["sentence"] for o in lines if o["mark"])
    assert [(one["owner"], one["taken_from"]) for one in leases] == [
        ("runner-2", ""),
        ("runner-3", "runner-2"),
    ]
    assert leases[0]["epoch"] < leases[1]["epoch"]
    states = [one["state"] for one in stretches]
    assert states[:2] == ["waiting", "claimed"]
    assert "recovered" in states
    assert all(a["until_ms"] == b["from_ms"] for a, b in pairwise(stretches))
    assert {one["backend"] for one in stretches if one["state"] == "running"} == {comfy.url}
    assert {one["attempt"] for one in stretches} <= {0, 1}
    assert story["status"] == "succeeded"


async def test_a_job_is_proven_and_a_changed_state_is_found(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    await stack.projector()
    job_id = (await everfold.submit(sleeper(1))).job_id
    await everfold.cancel(job_id)
    good = (await client.get(f"{JOBS}/{job_id}/proof")).json()

    head = everfold.log.keys.head(job_id)
    await command(everfold.log.redis, "HSET", head, "seq", 99)
    bad = (await client.get(f"{JOBS}/{job_id}/proof")).json()

    assert (good["verdict"], good["events"]) == ("proven", 3)
    assert good["sentences"][-1] == "Nothing of it is archived."
    assert bad["verdict"] == "differs"
    assert [one["where"] for one in bad["differences"]] == ["head"]


async def test_the_archive_of_a_job_is_proven_too(
    client: httpx.AsyncClient, everfold: Everfold, tmp_path: Path
) -> None:
    log = everfold.log
    job_id = (await everfold.submit(sleeper(1))).job_id
    await everfold.cancel(job_id)
    archive = Archive(open_store(str(tmp_path / "archive")))
    await remember_archive(log, archive)
    await Archiver(log, archive).run(everything=True)

    good = (await client.get(f"{JOBS}/{job_id}/proof")).json()
    segment = tmp_path / "archive" / good["segments"][0]["name"]
    segment.chmod(0o600)
    segment.write_bytes(b"nothing")
    bad = (await client.get(f"{JOBS}/{job_id}/proof")).json()

    assert good["verdict"] == "proven"
    assert [(one["first_seq"], one["last_seq"]) for one in good["segments"]] == [(1, 3)]
    assert (bad["verdict"], good["head"] != "") == ("differs", True)
    assert "SHA-256" in bad["archive_fault"]


async def test_a_graph_is_drawn_with_what_may_be_changed(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    graph = {
        "1": {"class_type": "A", "inputs": {"seed": 7, "name": "x"}, "_meta": {"title": "Mine"}},
        "2": {"class_type": "B", "inputs": {"from": ["1", 0], "on": True, "pair": ["9", 0]}},
    }
    job_id = (await everfold.submit(graph)).job_id

    told = (await client.get(f"{JOBS}/{job_id}/graph")).json()

    assert [(one["id"], one["title"]) for one in told["nodes"]] == [("1", "Mine"), ("2", "B")]
    assert told["edges"] == [{"from_node": "1", "slot": 0, "to_node": "2", "input": "from"}]
    assert [(one["name"], one["type"]) for one in told["inputs"]] == [
        ("1.name", "text"), ("1.seed", "whole number"), ("2.on", "flag"), ("2.pair", "json"),
    ]  # fmt: skip


def test_choices_and_bounds_come_from_the_servers() -> None:
    described = {
        "A": b'{"input": {"required": {"seed": ["INT", {"min": 0, "max": 9}], "m": [["a", "b"]]}}}',
        "B": b"nonsense",
    }
    graph: dict[str, object] = {
        "1": {"class_type": "A", "inputs": {"seed": 1, "m": "a"}},
        "2": {"class_type": "B", "inputs": {"x": 1}},
        "3": "no node",
    }
    told = drawn("job", graph, described, frozenset({"A"}))

    assert [(one.least, one.most, one.choices) for one in told.inputs] == [
        (0, 9, ()), (None, None, ("a", "b")), (None, None, ()),
    ]  # fmt: skip
    assert [one.is_output for one in told.nodes] == [True, False]


async def test_a_story_is_saved_as_one_page(
    client: httpx.AsyncClient, everfold: Everfold, stack: Stack
) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy, titles={comfy.url: "studio-a"})
    job_id = await stack.submit(0.3)
    await stack.until(job_id, "succeeded")

    page = await client.get(f"{JOBS}/{job_id}/story.html")
    story = (await client.get(f"{JOBS}/{job_id}/story")).json()

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-disposition"].startswith("attachment; filename*=UTF-8''job-")
    assert "sandbox" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "takes the job" in page.text
    # Servers have the names that people gave them, and no addresses.
    sentences = [line["sentence"] for line in story["lines"]]
    assert "attempt 1: will be sent to studio-a" in sentences
    assert story["titles"] == {comfy.url: "studio-a"}
    assert sentences[-1].split(",")[0] == "succeeded with 1 output"
    assert "will be sent to studio-a" in page.text
    assert comfy.url not in page.text.partition("<h2>Events</h2>")[0]


async def test_others_do_not_see_them(client: httpx.AsyncClient, everfold: Everfold) -> None:
    _, headers = await signed(client, everfold, user="ada")
    other = (await everfold.submit(sleeper(1), user="bob")).job_id
    for what in ("story", "story.html", "proof", "graph", "preview"):
        for job_id in (other, "nobody", "a" * 300):
            answer = await client.get(f"{JOBS}/{job_id}/{what}", headers=headers)
            assert answer.status_code == 404, (what, job_id)
