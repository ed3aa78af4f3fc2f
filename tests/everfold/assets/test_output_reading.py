"""The files of a job are read and saved whole and right, or it is said why not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from everfold import (
    AssetDamaged,
    AssetGone,
    AssetUnknown,
    Everfold,
    InvalidName,
    Misconfigured,
    OutputNotStored,
    OutputUnknown,
    Producer,
    Succeeded,
)
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.blob_folder import BlobFolder
from tests.everfold.client.odd_values import GRAPH

pytestmark = pytest.mark.anyio

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 5_000
VIDEO = b"\0\0\0\x18ftypisom" + bytes(100)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def everfold(redis_url: str, namespace: str, store: Path) -> AsyncIterator[Everfold]:
    async with Everfold.connect(
        redis_url, namespace=namespace, partitions=2, assets=BlobFolder(store)
    ) as everfold:
        await everfold.log.make()
        yield everfold


def reference(filename: str, asset: Asset | None = None, **more: object) -> dict[str, object]:
    where = {"filename": filename, "subfolder": "", "type": "output"}
    if asset is None:
        return {**where, **more}
    known = {"asset": asset.id, "hash": asset.hash, "size_bytes": asset.size_bytes}
    return {**where, "name": asset.name, "media_type": asset.media_type, **known, **more}


async def put(everfold: Everfold, data: bytes, name: str, user: str = "ada") -> Asset:
    return (await everfold.assets.put(data, name=name, owner=user)).asset


def change(store: Path, asset: Asset) -> None:
    """Change stored bytes, as a failing disk does."""
    (path,) = store.rglob(asset.hash.partition(":")[2])
    path.chmod(0o600)
    path.write_bytes(PICTURE[:-1] + b"?")


def parents(folder: Path) -> set[Path]:
    return {path.parent for path in folder.rglob("*.png")}


async def job_of(everfold: Everfold, outputs: Mapping[str, list[dict[str, object]]]) -> str:
    """Return a job of ada's that has ended with these files by node."""
    job_id = (await everfold.submit(GRAPH, user="ada")).job_id
    producer = Producer(everfold.log, "r")
    (lease,) = await producer.claim(1, wait_s=5)
    images: dict[str, dict[str, object]] = {n: {"images": files} for n, files in outputs.items()}
    await producer.finish(lease, Succeeded(attempt=1, outputs=images))
    return job_id


async def read(everfold: Everfold, job_id: str, *choice: str, **more: object) -> bytes:
    async with everfold.open_output(job_id, *choice, **more) as output:  # type: ignore[arg-type]
        return await output.read()


async def test_a_picture_is_read_as_it_was_stored(everfold: Everfold) -> None:
    asset = await put(everfold, PICTURE, "x.png")
    job_id = await job_of(everfold, {"9": [reference("x.png", asset)]})

    (file,) = await everfold.output_files(job_id)
    assert (file.name, file.size_bytes, file.media_type) == ("x.png", len(PICTURE), "image/png")
    async with everfold.open_output(job_id) as output:
        assert output.asset == await everfold.assets.get(asset.id)
        assert output.file == file
        assert b"".join([chunk async for chunk in output]) == PICTURE
    assert await read(everfold, job_id, "x.png") == PICTURE
    assert await read(everfold, job_id, node="9", index=0) == PICTURE


@pytest.mark.parametrize(
    ("start", "end"), [(0, 10), (5, 5), (1000, 1_200_000), (len(PICTURE) - 3, None), (7, None)]
)
async def test_a_part_of_it_is_read(everfold: Everfold, start: int, end: int | None) -> None:
    job_id = await job_of(everfold, {"9": [reference("x.png", await put(everfold, PICTURE, "x"))]})

    assert await read(everfold, job_id, start=start, end=end) == PICTURE[start:end]


async def test_a_thumbnail_is_read(everfold: Everfold) -> None:
    asset, small = await put(everfold, PICTURE, "x.png"), await put(everfold, b"small", "x.webp")
    thumbnail = {"asset": small.id, "hash": small.hash, "size_bytes": 5}
    files = [reference("x.png", asset, thumbnail=thumbnail), reference("y.png", asset)]
    job_id = await job_of(everfold, {"9": files})

    assert await read(everfold, job_id, thumbnail=True) == b"small"
    with pytest.raises(OutputNotStored, match="no small picture"):
        await read(everfold, job_id, "y.png", thumbnail=True)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "left on the server"),
        ({"stored": False, "why": "quota"}, "quota of its user"),
        ({"stored": False, "why": "a new word"}, "a new word"),
    ],
)
async def test_a_file_that_is_not_stored_says_why(
    everfold: Everfold, said: dict[str, object], sentence: str
) -> None:
    job_id = await job_of(everfold, {"9": [reference("x.png", None, **said)]})

    with pytest.raises(OutputNotStored, match=sentence):
        await read(everfold, job_id)
    with pytest.raises(OutputUnknown):
        await read(everfold, job_id, "y.png")


async def test_one_that_is_no_longer_kept_or_in_another_store_says_so(everfold: Everfold) -> None:
    asset = await put(everfold, PICTURE, "x.png")
    job_id = await job_of(everfold, {"9": [reference("x.png", asset)]})

    await everfold.assets.blobs.delete(asset.hash)
    with pytest.raises(AssetGone):
        await read(everfold, job_id)
    await everfold.assets.remove(asset.id)
    with pytest.raises(AssetUnknown):
        await read(everfold, job_id)


async def test_outputs_give_out_nothing_of_another_user(everfold: Everfold) -> None:
    """A server writes its outputs itself, and may have heard of an id."""
    other = await put(everfold, b"secret", "x.png", user="bob")
    own = await put(everfold, PICTURE, "x.png")
    files = [
        reference("x.png", other),
        reference("y.png", own, hash=other.hash),
        reference("z.png", own, thumbnail={"asset": other.id, "hash": other.hash}),
    ]
    job_id = await job_of(everfold, {"9": files})

    for index in (0, 1):
        with pytest.raises(AssetUnknown):
            await read(everfold, job_id, index=index)
    with pytest.raises(AssetUnknown):
        await read(everfold, job_id, index=2, thumbnail=True)
    assert await read(everfold, job_id, index=2) == PICTURE


async def test_bytes_that_have_changed_are_told(everfold: Everfold, store: Path) -> None:
    asset = await put(everfold, PICTURE, "x.png")
    job_id = await job_of(everfold, {"9": [reference("x.png", asset)]})
    change(store, asset)

    with pytest.raises(AssetDamaged):
        await read(everfold, job_id)


@pytest.mark.parametrize(
    "odd", [{"start": 5, "end": 4}, {"index": -1}, {"file": ""}, {"thumbnail": 1}, {"end": 1.5}]
)
async def test_what_nobody_can_mean_is_refused(everfold: Everfold, odd: dict[str, object]) -> None:
    job_id = await job_of(everfold, {})

    with pytest.raises(InvalidName):
        await read(everfold, job_id, **odd)


@pytest.mark.parametrize("odd", [7, b"x", [], "ftp://x/y", "a\0b", object()])
async def test_a_place_that_cannot_be_one_is_refused_when_connecting(
    redis_url: str, namespace: str, odd: object
) -> None:
    with pytest.raises((InvalidName, Misconfigured)):
        async with Everfold.connect(redis_url, namespace=namespace, assets=odd):  # type: ignore[arg-type]
            pass


async def test_a_folder_is_a_place(redis_url: str, namespace: str, tmp_path: Path) -> None:
    async with Everfold.connect(redis_url, namespace=namespace, assets=tmp_path) as everfold:
        assert everfold.assets.url.startswith(str(tmp_path))


# Into a folder.


async def saved(everfold: Everfold, job_id: str, folder: Path, **more: bool) -> list[str]:
    return [one.outcome for one in await everfold.save_outputs(job_id, folder, **more)]


async def test_files_are_saved_once_under_their_names(everfold: Everfold, tmp_path: Path) -> None:
    picture, video = await put(everfold, PICTURE, "j_x.png"), await put(everfold, VIDEO, "j_v.mp4")
    small = await put(everfold, b"small", "s.webp")
    thumbnail = {"asset": small.id, "hash": small.hash}
    files = [reference("x.png", picture, thumbnail=thumbnail), reference("t.png", why="skipped")]
    job_id = await job_of(everfold, {"9": files, "12": [reference("v.mp4", video)]})
    folder = tmp_path / "new" / "folder"

    assert await saved(everfold, job_id, folder) == ["saved", "not_stored", "saved"]
    assert await saved(everfold, job_id, folder) == ["there", "not_stored", "there"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "j_x.png": PICTURE,
        "j_v.mp4": VIDEO,
    }
    assert await saved(everfold, job_id, folder, thumbnails=True) == [
        "there",
        "saved",
        "not_stored",
        "there",
    ]
    assert (folder / "j_x.png.thumbnail.webp").read_bytes() == b"small"


async def test_another_file_is_never_written_over(everfold: Everfold, tmp_path: Path) -> None:
    asset = await put(everfold, PICTURE, "x.png")
    job_id = await job_of(everfold, {"9": [reference("x.png", asset)]})
    (tmp_path / "x.png").write_bytes(b"mine")

    (found,) = await everfold.save_outputs(job_id, tmp_path)
    assert (found.outcome, found.path, found.is_there) == ("in_the_way", "", False)
    assert "x.png is there with other bytes" in found.problem
    assert (tmp_path / "x.png").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["../../x.png", "/etc/x.png", "..", "a/../../x.png", "~/x.png"])
async def test_no_name_leads_out_of_the_folder(
    everfold: Everfold, tmp_path: Path, name: str
) -> None:
    asset = await put(everfold, PICTURE, "x.png")
    job_id = await job_of(everfold, {"9": [reference("x.png", asset, name=name)]})
    folder = tmp_path / "a" / "b"

    (found,) = await everfold.save_outputs(job_id, folder)
    assert found.outcome == "saved"
    assert Path(found.path).parent == folder
    assert len(list(folder.iterdir())) == 1
    assert parents(tmp_path) <= {folder}


async def test_a_damaged_file_leaves_nothing_behind(
    everfold: Everfold, store: Path, tmp_path: Path
) -> None:
    asset = await put(everfold, PICTURE, "x.png")
    job_id = await job_of(everfold, {"9": [reference("x.png", asset)]})
    change(store, asset)

    assert await saved(everfold, job_id, tmp_path / "new") == ["not_had"]
    assert list((tmp_path / "new").iterdir()) == []


async def test_a_folder_that_cannot_be_is_refused(everfold: Everfold, tmp_path: Path) -> None:
    job_id = await job_of(everfold, {})
    (tmp_path / "file").touch()

    with pytest.raises(Misconfigured, match="cannot be made"):
        await everfold.save_outputs(job_id, tmp_path / "file" / "x")
