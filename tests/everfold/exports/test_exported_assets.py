"""An export takes the stored files of its jobs along by choice; an import checks them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from everfold import Everfold as Client
from everfold import Producer, Succeeded
from everfold.archives.export_assets import folder_of_export
from everfold.projector.reading.named_assets import is_named
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.listing import list_assets
from everfold.streams.assets.sweeping import Sweeper
from tests.everfold.client.odd_values import GRAPH
from tests.everfold.running import Everfold, ended, objects
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2_000


@pytest.fixture
async def client(server: OwnServer, tmp_path: Path) -> AsyncIterator[Client]:
    async with Client.connect(server.url, assets=tmp_path / "store") as client:
        yield client


async def job_with(client: Client, data: bytes, small: bytes = b"", user: str = "ada") -> str:
    """Return a job that has ended with one file, and a thumbnail of it where that is given."""
    job_id = (await client.submit(GRAPH, user=user)).job_id
    asset = (await client.assets.put(data, name=f"{job_id}_x.png", owner=user)).asset
    told = {"filename": "x.png", "subfolder": "", "type": "output", "name": asset.name}
    file: dict[str, object] = {**told, "asset": asset.id, "hash": asset.hash}
    if small:
        made = (await client.assets.put(small, name=f"{asset.name}.webp", owner=user)).asset
        file["thumbnail"] = {"asset": made.id, "hash": made.hash}
    producer = Producer(client.log, "r")
    (lease,) = await producer.claim(1, wait_s=5)
    await producer.finish(lease, Succeeded(attempt=1, outputs={"9": {"images": [file]}}))
    return job_id


async def read(client: Client, job_id: str, *, thumbnail: bool = False) -> bytes:
    async with client.open_output(job_id, thumbnail=thumbnail) as output:
        return await output.read()


def exporting(tmp_path: Path, *more: str) -> tuple[str, ...]:
    store = ("--assets", str(tmp_path / "store"))
    return ("archive", "export", str(tmp_path / "all.gz"), "--with-assets", *store, *more)


def importing(tmp_path: Path) -> tuple[str, ...]:
    place = ("--namespace", "back", "--assets", str(tmp_path / "other"))
    return ("archive", "import", str(tmp_path / "all.gz"), "--with-assets", *place)


def records(tmp_path: Path) -> Path:
    return folder_of_export(tmp_path / "all.gz") / "assets.jsonl"


async def test_files_come_back_under_their_ids(
    everfold: Everfold, client: Client, server: OwnServer, tmp_path: Path
) -> None:
    first, second = await job_with(client, PICTURE, b"small"), await job_with(client, b"text")
    await client.assets.put(b"of no job", name="upload", owner="ada")

    [told] = await objects(everfold(*exporting(tmp_path, "--json")))
    assert (told["assets"], told["assets_missing"]) == (3, 0)
    [told] = await objects(everfold(*importing(tmp_path), "--json"))
    assert (told["events"], told["assets"]) == (6, 3)

    async with Client.connect(server.url, namespace="back", assets=tmp_path / "other") as back:
        assert await read(back, first) == PICTURE
        assert await read(back, first, thumbnail=True) == b"small"
        assert await read(back, second) == b"text"
        (before,), (after,) = await client.output_files(first), await back.output_files(first)
        assert before == after
        kept, was = await back.assets.get(after.asset), await client.assets.get(after.asset)
        assert kept.expires_ms - kept.created_ms == pytest.approx(2_592_000_000, abs=60_000)
        assert replace(kept, created_ms=0, expires_ms=0) == replace(was, created_ms=0, expires_ms=0)


async def test_without_the_choice_nothing_is_taken_along(
    everfold: Everfold, client: Client, server: OwnServer, tmp_path: Path
) -> None:
    job_id = await job_with(client, PICTURE)
    await ended(everfold("archive", "export", str(tmp_path / "all.gz")))
    assert not folder_of_export(tmp_path / "all.gz").exists()
    await ended(everfold("archive", "import", str(tmp_path / "all.gz"), "--namespace", "back"))

    async with Client.connect(server.url, namespace="back", assets=tmp_path / "store") as back:
        (file,) = await back.output_files(job_id)
        assert file.is_stored
        assert [one.outcome for one in await back.save_outputs(job_id, tmp_path / "out")] == [
            "not_had"
        ]


async def test_of_some_jobs_their_files_are_taken_and_what_is_gone_is_counted(
    everfold: Everfold, client: Client, tmp_path: Path
) -> None:
    await job_with(client, PICTURE, user="bob")
    gone = await job_with(client, b"gone")
    (file,) = await client.output_files(gone)
    await client.assets.remove(file.asset)
    await job_with(client, b"there")

    lines = await ended(everfold(*exporting(tmp_path, "--user", "ada")))
    assert lines[1:] == [
        "1 file taken along, 5 B",
        "1 that jobs name are no longer kept",
    ]


async def test_an_import_that_was_interrupted_goes_on(
    everfold: Everfold, client: Client, server: OwnServer, tmp_path: Path
) -> None:
    jobs = [await job_with(client, PICTURE + bytes([number])) for number in range(5)]
    await ended(everfold(*exporting(tmp_path)))
    lines = records(tmp_path).read_bytes().splitlines(keepends=True)
    records(tmp_path).write_bytes(b"".join(lines[:3]) + b"{")
    await ended(everfold(*importing(tmp_path)), code=1)
    records(tmp_path).write_bytes(b"".join(lines))

    await ended(everfold(*importing(tmp_path)))
    async with Client.connect(server.url, namespace="back", assets=tmp_path / "other") as back:
        for number, job_id in enumerate(jobs):
            assert await read(back, job_id) == PICTURE + bytes([number])
        used = await back.assets.used_bytes("ada")
        assert used == 5 * (len(PICTURE) + 1)


async def test_bytes_that_are_not_those_of_their_hash_are_refused(
    everfold: Everfold, client: Client, tmp_path: Path
) -> None:
    await job_with(client, PICTURE)
    await ended(everfold(*exporting(tmp_path)))
    (blob,) = (folder_of_export(tmp_path / "all.gz") / "blobs").rglob("?" * 64)
    blob.chmod(0o600)
    blob.write_bytes(PICTURE[:-1] + b"?")

    refused = everfold(*importing(tmp_path))
    await ended(refused, code=1)
    assert "assets.jsonl" in "".join(refused.error_lines)
    assert list((tmp_path / "other").rglob("?" * 64)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../../etc/passwd"},
        {"id": "0c6a0d9e-3f5e-5e0c-8f53-2f9c8a400000"},
        {"hash": "blake3:../../x"},
        {"owner": "a\nb"},
        {"size_bytes": 3},
    ],
)
async def test_a_record_that_nobody_can_have_written_is_refused(
    everfold: Everfold, client: Client, tmp_path: Path, change: dict[str, object]
) -> None:
    await job_with(client, PICTURE)
    await ended(everfold(*exporting(tmp_path)))
    record = json.decode(records(tmp_path).read_bytes(), type=dict[str, object])
    records(tmp_path).write_bytes(json.encode({**record, **change}) + b"\n")

    await ended(everfold(*importing(tmp_path)), code=1)


async def test_what_a_file_is_is_looked_at_anew(
    everfold: Everfold, client: Client, server: OwnServer, tmp_path: Path
) -> None:
    job_id = await job_with(client, b"<script>alert(1)</script>")
    await ended(everfold(*exporting(tmp_path)))
    record = json.decode(records(tmp_path).read_bytes(), type=Asset)
    odd = replace(record, media_type="text/html", name="../../x.html", width=7)
    records(tmp_path).write_bytes(json.encode(odd) + b"\n")
    await ended(everfold(*importing(tmp_path)))

    async with Client.connect(server.url, namespace="back", assets=tmp_path / "other") as back:
        (file,) = await back.output_files(job_id)
        asset = await back.assets.get(file.asset)
        assert (asset.media_type, asset.name, asset.width) == ("text/plain", "x.html", 0)


async def test_the_files_that_a_waiting_job_sends_outlive_their_records_after_an_import(
    everfold: Everfold, client: Client, server: OwnServer, tmp_path: Path
) -> None:
    graph = {"10": {"class_type": "LoadImage", "inputs": {"image": ""}}}
    await client.submit(graph, user="ada", inputs={"10.image": PICTURE}, validate=False)
    await ended(everfold(*exporting(tmp_path)))
    await ended(everfold(*importing(tmp_path)))

    async with Client.connect(server.url, namespace="back", assets=tmp_path / "other") as back:
        store = back.assets
        (asset,) = (await list_assets(store)).assets
        assert await store.remove(asset.id)  # as when its time is over
        await Sweeper(store, lambda one: is_named(back.log, one), grace_s=0).sweep()
        async with store.open(asset.hash) as chunks:
            assert b"".join([chunk async for chunk in chunks]) == PICTURE
