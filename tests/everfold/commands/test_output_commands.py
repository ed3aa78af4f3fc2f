"""`everfold jobs outputs` lists a job's files in 80 columns, and writes them into a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold import Everfold as Client
from everfold import Producer, Succeeded
from everfold.streams.assets.asset import Asset
from tests.everfold.client.odd_values import GRAPH
from tests.everfold.running import Everfold, ended, objects
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio

PICTURE = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\0\0\0\x01\0" + bytes(range(256)) * 10_000
)  # 512 x 256


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def client(server: OwnServer, store: Path) -> AsyncIterator[Client]:
    async with Client.connect(server.url, assets=store) as client:
        yield client


def told(filename: str, asset: Asset | None = None, **more: object) -> dict[str, object]:
    where = {"filename": filename, "subfolder": "", "type": "output", **more}
    if asset is None:
        return where
    known = {"asset": asset.id, "hash": asset.hash, "size_bytes": asset.size_bytes}
    pixels = {"width": asset.width, "height": asset.height}
    return {**where, **known, "name": asset.name, "media_type": asset.media_type, **pixels}


async def job_with(client: Client, *files: dict[str, object], ends: bool = True) -> str:
    job_id = (await client.submit(GRAPH, user="ada")).job_id
    producer = Producer(client.log, "r")
    (lease,) = await producer.claim(1, wait_s=5)
    outputs: dict[str, dict[str, object]] = {"900": {"images": list(files), "text": ["a dog"]}}
    if ends:
        await producer.finish(lease, Succeeded(attempt=1, outputs=outputs))
    return job_id


async def test_a_list_has_what_people_want_to_know_in_80_columns(
    everfold: Everfold, client: Client, store: Path
) -> None:
    picture = (await client.assets.put(PICTURE, name="j_x.png", owner="ada")).asset
    long = told("ComfyUI_00001_.png", subfolder="day", stored=False, why="quota")
    job_id = await job_with(client, told("x.png", picture), long)

    lines = await ended(everfold("jobs", "outputs", job_id))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["node", "file", "size", "type", "pixels", "stored"]
    assert lines[1].split() == ["900", "output/x.png", "2.6", "MB", "image/png", "512x256", "yes"]
    assert lines[2].split() == ["900", f"output/day/{long['filename']}", "-", "-", "-", "quota"]
    assert 'node 900  text  "a dog"' in lines
    assert any(line.startswith("quota: the quota") for line in lines)
    [raw] = await objects(everfold("jobs", "outputs", job_id, "--json"))
    assert raw == await client.outputs(job_id)


async def test_files_are_written_and_what_is_not_there_is_exit_code_1(
    everfold: Everfold, client: Client, store: Path, tmp_path: Path
) -> None:
    picture = (await client.assets.put(PICTURE, name="j_x.png", owner="ada")).asset
    preview = told("p.png", type="temp", stored=False, why="skipped")
    whole = await job_with(client, told("x.png", picture), preview)
    part = await job_with(client, told("x.png", picture), told("y.png"))
    folder = tmp_path / "out"
    place = {"EVERFOLD_ASSETS": str(store)}

    lines = await ended(everfold("jobs", "outputs", whole, "--to", str(folder), **place))
    assert lines == [f"saved  {folder / 'j_x.png'}"]
    assert (folder / "j_x.png").read_bytes() == PICTURE
    to = ("--to", str(folder), "--assets", str(store))
    assert await ended(everfold("jobs", "outputs", whole, *to)) == [f"there  {folder / 'j_x.png'}"]

    missing = everfold("jobs", "outputs", part, *to)
    await ended(missing, code=1)
    assert "left on the server" in "".join(missing.error_lines)
    rows = await objects(everfold("jobs", "outputs", part, *to, "--json"), code=1)
    assert [row["outcome"] for row in rows] == ["there", "not_stored"]

    (folder / "j_x.png").write_bytes(b"mine")
    await ended(everfold("jobs", "outputs", whole, *to), code=1)
    assert (folder / "j_x.png").read_bytes() == b"mine"


async def test_another_store_and_an_open_job_are_told(
    everfold: Everfold, client: Client, tmp_path: Path
) -> None:
    picture = (await client.assets.put(PICTURE, name="j_x.png", owner="ada")).asset
    job_id = await job_with(client, told("x.png", picture))
    to = ("--to", str(tmp_path / "out"), "--assets", str(tmp_path / "other"))

    elsewhere = everfold("jobs", "outputs", job_id, *to)
    await ended(elsewhere, code=1)
    assert "does not have" in "".join(elsewhere.error_lines)
    waiting = everfold("jobs", "outputs", await job_with(client, ends=False), *to)
    await ended(waiting, code=1)
    assert "has not ended" in "".join(waiting.error_lines)
