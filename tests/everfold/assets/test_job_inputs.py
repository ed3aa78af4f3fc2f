"""Files given with a submit: checked before anything is stored, and named by the graph."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from everfold import Everfold
from everfold.assets.input_rules import InputRules
from everfold.assets.job_inputs import Given
from everfold.streams.appending.graph_assets import read_graph_assets
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.listing import list_assets
from everfold.streams.errors import (
    IdempotencyConflict,
    InputRefused,
    QuotaFull,
    Refused,
)
from everfold.streams.events.event import Failed, Failure
from everfold.streams.leases.producer import Producer
from everfold.streams.redis.redis_errors import command
from tests.everfold.assets.test_fetching import PICTURE, Site, site
from tests.projector.jobs import work

__all__ = ["site"]

pytestmark = pytest.mark.anyio

GRAPH: dict[str, dict[str, object]] = {
    "10": {"class_type": "LoadImage", "inputs": {"image": "example.png", "upload": None}},
    "12": {"class_type": "SaveImage", "inputs": {"images": ["10", 0], "width": 7}},
    "3:4": {"class_type": "LoadImageMask", "inputs": {"image": "m.png", "a.b": "x"}},
}


@pytest.fixture
async def everfold(redis_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[Everfold]:
    place = tmp_path / "assets"
    async with Everfold.connect(
        redis_url, namespace=namespace, partitions=4, assets=place
    ) as client:
        await client.log.make()
        yield client


async def sent_graph(everfold: Everfold, job_id: str) -> dict[str, dict[str, dict[str, object]]]:
    job = await everfold.get(job_id)
    stored = await everfold.log.workflow(job_id, job.workflow)
    assert stored is not None
    found: dict[str, dict[str, dict[str, object]]] = json.loads(stored)
    return found


async def stored(everfold: Everfold) -> list[Asset]:
    return (await list_assets(everfold.assets)).assets


async def test_each_kind_of_file_is_stored_for_the_user_and_named_by_the_graph(
    everfold: Everfold, tmp_path: Path, site: Site
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PICTURE)
    own = (await everfold.assets.put(b"own", name="own.png", owner="ada")).asset
    other = (await everfold.assets.put(b"other", name="o.png", owner="ada")).asset
    rules = InputRules(allow_private=True)
    given: dict[str, Given] = {
        "10.image": photo,
        "10.upload": f"{site.url}/from.png",
        "3:4.image": own,
        "3:4.a.b": b"bytes",
    }
    graph = {**GRAPH, "7": {"class_type": "X", "inputs": {"v2": reference(other.id)}}}
    made = await everfold.submit(graph, user="ada", inputs=given, input_rules=rules)
    job = await everfold.get(made.job_id)
    assert {place: one.name for place, one in job.inputs.items()} == {
        "10.image": "photo.png",
        "10.upload": "from.png",
        "3:4.a.b": "b",
        "3:4.image": "own.png",
        "7.v2": "o.png",
    }
    sent = await sent_graph(everfold, made.job_id)
    assert sent["10"]["inputs"]["image"] == f"everfold:{job.inputs['10.image'].asset}"
    assert sent["3:4"]["inputs"]["image"] == f"everfold:{own.id}"
    assert sent["7"]["inputs"]["v2"] == reference(other.id)
    assert sent["12"]["inputs"] == GRAPH["12"]["inputs"]
    assert {asset.owner for asset in await stored(everfold)} == {"ada"}
    partition = everfold.log.keys.partition_of(made.job_id)
    said = await command(
        everfold.log.redis, "HGET", everfold.log.keys.graph_assets(partition), job.workflow
    )
    assert isinstance(said, bytes)
    assert set(read_graph_assets(said).hashes) == {one.hash for one in job.inputs.values()}


def reference(asset: str) -> dict[str, object]:
    return {"__type": "core/ASSET", "info": {"id": asset}}


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("10", "write it as NODE.INPUT"),
        ("", "write it as NODE.INPUT"),
        ("99.image", "the graph has no node '99'"),
        ("10.picture", "node 10 has no such input; it has image, upload"),
        ("12.images", "it is linked to another node"),
        ("12.width", "the graph has 7 there"),
    ],
)
async def test_a_place_that_cannot_take_a_file_is_refused(
    everfold: Everfold, place: str, why: str
) -> None:
    with pytest.raises(InputRefused, match=why):
        await everfold.submit(GRAPH, inputs={"10.image": b"fine", place: b"x"})
    assert await stored(everfold) == []


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no such file", "'no such file' cannot be read: No such file.*http"),
        ("", "is no file that can be sent"),
        ("everfold:nonsense", "cannot be read"),
        ("ftp://example.com/a.png", "cannot be read"),
        ("a\0b", "cannot be read"),
        ("~nobody-of-this-name/x", "cannot be read"),
        ("http://user:hunter2@example.com/", "an address with a password"),
        (Path("/dev/zero"), "is no file that can be sent"),
        (Path("/"), "is no file that can be sent"),
        (7, "type int is no file"),
        (None, "type NoneType is no file"),
        (["photo.png"], "type list is no file"),
        (b"x" * 1001, "it has 1,001 bytes; the limit is 1,000"),
    ],
)
async def test_what_is_no_file_is_refused_before_anything_is_stored(
    everfold: Everfold, value: object, why: str
) -> None:
    given = cast("Mapping[str, Given]", {"10.upload": b"fine", "10.image": value})
    with pytest.raises(InputRefused, match=why) as told:
        await everfold.submit(GRAPH, inputs=given, input_rules=InputRules(limit_bytes=1000))
    assert told.value.where == "10.image"
    assert "hunter2" not in str(told.value)
    assert (await everfold.list()).jobs == []
    if not str(value).startswith("http"):
        assert await stored(everfold) == []


async def test_pipes_sockets_and_large_files_are_refused(
    everfold: Everfold, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            with pytest.raises(InputRefused, match="is no file that can be sent"):
                await everfold.submit(GRAPH, inputs={"10.image": tmp_path / name})
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputRefused, match="the limit is 5,368,709,120"):
        await everfold.submit(GRAPH, inputs={"10.image": large})


@pytest.mark.parametrize("inputs", [7, "10.image=photo.png", [("10.image", b"")], {1: b""}])
async def test_inputs_are_a_mapping_of_places(everfold: Everfold, inputs: object) -> None:
    with pytest.raises(Refused, match="pass a mapping such as"):
        await everfold.submit(GRAPH, inputs=cast("Mapping[str, Given]", inputs))


async def test_assets_of_others_are_unknown(everfold: Everfold) -> None:
    hers = (await everfold.assets.put(b"hers", name="a.png", owner="ada")).asset
    ours = (await everfold.assets.put(b"ours", name="b.png")).asset

    def graph(value: object) -> dict[str, object]:
        return {**GRAPH, "7": {"class_type": "LoadImage", "inputs": {"image": value}}}

    for form in (f"everfold:{hers.id}", reference(hers.id), hers.hash):
        with pytest.raises(InputRefused, match=r"input 7\.image is not taken: there is no asset"):
            await everfold.submit(graph(form), user="bob")
        for user in ("ada", ""):
            made = await everfold.submit(graph(form), user=user)
            assert (await everfold.get(made.job_id)).inputs["7.image"].asset == hers.id
    with pytest.raises(InputRefused, match="there is no asset"):
        await everfold.submit(GRAPH, user="bob", inputs={"10.image": hers})
    assert (await everfold.submit(graph(f"everfold:{ours.id}"), user="bob")).created


@pytest.mark.parametrize(
    "value",
    [
        "everfold:00000000-0000-0000-0000-000000000000",
        "blake3:" + "00" * 32,
        {"__type": "core/ASSET", "info": {"id": "photo.png"}},
        {"__type": "core/ASSET"},
    ],
)
async def test_a_reference_to_nothing_is_refused_and_names_its_place(
    everfold: Everfold, value: object
) -> None:
    graph = {**GRAPH, "7": {"class_type": "LoadImage", "inputs": {"image": {"__value__": value}}}}
    with pytest.raises(InputRefused) as told:
        await everfold.submit(graph)
    assert told.value.where == "7.image.__value__"


async def test_two_inputs_that_are_written_alike_are_refused(everfold: Everfold) -> None:
    asset = (await everfold.assets.put(b"1", name="a.png")).asset
    value = f"everfold:{asset.id}"
    graph = {
        "1": {"class_type": "A", "inputs": {"2.x": value}},
        "1.2": {"class_type": "A", "inputs": {"x": value}},
    }
    with pytest.raises(InputRefused, match="two inputs that are written like this"):
        await everfold.submit(graph)


async def test_a_repeat_with_the_same_bytes_is_the_same_job_and_with_others_a_conflict(
    everfold: Everfold, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PICTURE)
    first = await everfold.submit(GRAPH, inputs={"10.image": photo}, idempotency_key="k")
    again = await everfold.submit(GRAPH, inputs={"10.image": str(photo)}, idempotency_key="k")
    assert (again.job_id, again.created) == (first.job_id, False)
    photo.write_bytes(b"other")
    with pytest.raises(IdempotencyConflict) as told:
        await everfold.submit(GRAPH, inputs={"10.image": photo}, idempotency_key="k")
    assert "inputs" in told.value.what


@pytest.mark.parametrize(
    "wrong",
    [{"priority": "urgent"}, {"queue": "a b"}, {"tags": [7]}, {"metadata": 7}, {"user": "a\nb"}],
)
async def test_nothing_is_stored_for_a_submit_that_is_refused(
    everfold: Everfold, wrong: dict[str, Any]
) -> None:
    with pytest.raises(Refused):
        await everfold.submit(GRAPH, inputs={"10.image": b"x"}, **wrong)
    assert await stored(everfold) == []


async def test_a_text_that_only_looks_like_a_reference_needs_no_store(
    redis_url: str, namespace: str
) -> None:
    graph = {"1": {"class_type": "A", "inputs": {"text": "everfold: a story, or blake3:x"}}}
    async with Everfold.connect(redis_url, namespace=namespace, assets="/proc/none") as everfold:
        assert (await everfold.submit(graph)).created


async def test_a_full_quota_refuses_the_submit(everfold: Everfold) -> None:
    limits = everfold.log.keys.limits()
    await command(everfold.log.redis, "HSET", limits, "assets user ada", "1000")
    with pytest.raises(QuotaFull):
        await everfold.submit(GRAPH, user="ada", inputs={"10.image": PICTURE})
    assert (await everfold.list()).jobs == []


async def test_a_file_that_is_given_twice_is_stored_once(everfold: Everfold, site: Site) -> None:
    url = f"{site.url}/a.png"
    rules = InputRules(allow_private=True)
    made = await everfold.submit(
        GRAPH, inputs={"10.image": url, "3:4.image": url}, input_rules=rules
    )
    assert len(site.asked) == 1
    assert len({one.asset for one in (await everfold.get(made.job_id)).inputs.values()}) == 1


async def test_a_job_runs_again_with_another_stored_file(everfold: Everfold) -> None:
    first = await everfold.submit(GRAPH, user="ada", inputs={"10.image": b"first"})
    producer = Producer(everfold.log, "r")
    for lease in await work(everfold.log, steps=1, finish=False):
        failure = Failure(code="out_of_memory", message="no room")
        await producer.finish(lease, Failed(failure=failure, attempt=1))
    hers = (await everfold.assets.put(b"second", name="b.png", owner="ada")).asset
    again = await everfold.rerun(first.job_id, {"10.image": f"everfold:{hers.id}"})
    assert (await everfold.get(again)).inputs["10.image"].asset == hers.id
    his = (await everfold.assets.put(b"third", name="c.png", owner="bob")).asset
    with pytest.raises(InputRefused, match="there is no asset"):
        await everfold.rerun(first.job_id, {"10.image": f"everfold:{his.id}"})


async def test_a_graph_without_files_needs_no_store(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    place = tmp_path / "none"
    place.symlink_to("/nowhere")
    async with Everfold.connect(redis_url, namespace=namespace, assets=place) as everfold:
        made = await everfold.submit(GRAPH)
        assert (await everfold.get(made.job_id)).inputs == {}
