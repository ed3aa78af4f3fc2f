"""Assets: stored once, counted, kept, listed, removed; and what a sweeper may take away."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from blake3 import blake3

from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.listing import list_assets
from everfold.streams.assets.sweeping import Sweeper, Swept
from everfold.streams.assets.verifying import verify_assets
from everfold.streams.errors import (
    AssetGone,
    AssetsUnavailable,
    AssetUnknown,
    ClocksApart,
    HashMismatch,
    InvalidName,
    QuotaFull,
)
from everfold.streams.events.event import AssetInput, Canceled
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.redis.redis_errors import command

pytestmark = [pytest.mark.anyio, pytest.mark.server]

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x20\x00\x00\x00\x10\x08\x02\x00\x00\x00"
    b"\x00\x00\x00\x00"
)
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=3) as log:
        yield log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "assets"


@pytest.fixture
def store(log: Log, folder: Path) -> AssetStore:
    return AssetStore(log, BlobFolder(folder))


async def read(store: AssetStore, asset: Asset, start: int = 0, end: int | None = None) -> bytes:
    async with store.open(asset.hash, start, end) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def named(_: Asset) -> bool:
    return True


async def swept(store: AssetStore, grace_s: float = 0.0) -> Swept:
    return await Sweeper(store, named, grace_s=grace_s).sweep()


def make_old(folder: Path) -> None:
    """Set the times of all stored bytes back by a day."""
    then_s = time.time() - 86_400
    for path in stored_files(folder).values():
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (then_s, then_s))


def stored_files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.rglob("*") if path.is_file()}


async def test_what_is_put_is_known_and_read_back_in_parts(store: AssetStore) -> None:
    stored = await store.put(PNG, name="../a/ph\x00oto.png", owner="ada", keep_s=60)
    asset = stored.asset
    assert stored.created
    assert asset.hash == f"blake3:{blake3(PNG).hexdigest()}"
    assert (asset.name, asset.owner, asset.size_bytes) == ("photo.png", "ada", len(PNG))
    assert (asset.media_type, asset.width, asset.height) == ("image/png", 32, 16)
    assert 0 < asset.expires_ms - asset.created_ms <= 61_000
    assert await store.get(f"everfold:{asset.id}") == asset
    assert await read(store, asset) == PNG
    assert await read(store, asset, 1, 4) == b"PNG"


async def test_the_same_file_of_the_same_owner_is_one_asset_kept_for_the_longer_time(
    store: AssetStore,
) -> None:
    first = await store.put(b"x", name="a", owner="ada", keep_s=60)
    again = await store.put(b"x", name="a", owner="ada", keep_s=600)
    assert not again.created
    assert again.asset.id == first.asset.id
    assert again.asset.expires_ms > first.asset.expires_ms + 500_000
    assert (await store.put(b"x", name="a", owner="ada", keep_s=1)).asset == again.asset
    assert (await store.keep(first.asset.id, None)).expires_ms == 0
    assert (await store.put(b"x", name="a", owner="ada", keep_s=1)).asset.expires_ms == 0
    other = await store.put(b"x", name="a", owner="bob")
    assert other.created
    assert other.asset.id != first.asset.id
    assert other.asset.hash == first.asset.hash


async def test_a_quota_counts_the_bytes_of_one_owner(store: AssetStore, log: Log) -> None:
    await set_limit(log, Limit("assets", "user", "*", 10))
    await set_limit(log, Limit("assets", "user", "bob", 10_000_000_001))
    await store.put(b"123456", name="a", owner="ada")
    with pytest.raises(QuotaFull) as full:
        await store.put(b"12345", name="b", owner="ada")
    assert (full.value.used_bytes, full.value.limit_bytes) == (6, 10)
    with pytest.raises(QuotaFull):  # before anything is sent
        await store.put(_never(), name="b", owner="ada", expected_bytes=5)
    await store.put(b"1" * 50, name="b", owner="bob")
    kept = await store.put(b"1234", name="b", owner="ada")
    assert await store.used_bytes("ada") == 10
    assert await store.remove(kept.asset.id)
    assert await store.used_bytes("ada") == 6


async def _never() -> AsyncIterator[bytes]:
    assert not PNG, "nobody should ask for bytes"
    yield PNG


async def test_many_at_once_never_exceed_a_quota(store: AssetStore, log: Log) -> None:
    await set_limit(log, Limit("assets", "user", "*", 100))
    refused = 0

    async def put(number: int) -> None:
        nonlocal refused
        try:
            await store.put(b"%010d" % number, name="a", owner="ada")
        except QuotaFull:
            refused += 1

    async with anyio.create_task_group() as tasks:
        for number in range(25):
            tasks.start_soon(put, number)
    assert (refused, await store.used_bytes("ada")) == (15, 100)


async def test_nothing_is_known_of_bytes_that_are_others_than_was_said(store: AssetStore) -> None:
    with pytest.raises(HashMismatch):
        await store.put(b"x", name="a", expected_hash=f"blake3:{'0' * 64}")
    with pytest.raises(HashMismatch):
        await store.put(b"x", name="a", expected_bytes=2)
    assert (await list_assets(store)).assets == []


@pytest.mark.parametrize("name", ["", "zz", "everfold:", "../x", "a" * 36, 7])
async def test_an_unknown_asset_is_said_to_be_unknown(store: AssetStore, name: str) -> None:
    with pytest.raises((AssetUnknown, InvalidName)):
        await store.get(name)


async def test_lists_are_pages_of_an_owner_or_of_all_the_newest_first(store: AssetStore) -> None:
    made = [
        (await store.put(b"%d" % number, name=f"n{number}", owner="ada" if number % 2 else "bob"))
        for number in range(7)
    ]
    newest_first = [one.asset.id for one in reversed(made)]
    found, cursor = list[str](), None
    for _ in range(4):
        page = await list_assets(store, limit=2, cursor=cursor)
        found += [asset.id for asset in page.assets]
        cursor = page.cursor
    assert cursor is None
    assert sorted(found) == sorted(newest_first)
    assert [made[int(a.name[1:])].asset.created_ms for a in (await list_assets(store)).assets] == (
        sorted((one.asset.created_ms for one in made), reverse=True)
    )
    of_ada = (await list_assets(store, "ada")).assets
    assert {asset.name for asset in of_ada} == {"n1", "n3", "n5"}
    with pytest.raises(InvalidName):
        await list_assets(store, cursor="x")


async def test_a_sweep_removes_what_is_over_and_the_bytes_that_nobody_has(
    store: AssetStore, folder: Path
) -> None:
    over = (await store.put(b"over", name="a", keep_s=0.001)).asset
    shared = (await store.put(b"shared", name="a", keep_s=0.001)).asset
    kept = (await store.put(b"shared", name="b", owner="bob")).asset
    make_old(folder)
    await anyio.sleep(0.005)
    assert await Sweeper(store, named, dry=True).sweep() == Swept(expired=2)
    assert await swept(store) == Swept(expired=2, blobs=1, size_bytes=4)
    assert await swept(store) == Swept()
    for asset in (over, shared):
        with pytest.raises(AssetUnknown):
            await store.get(asset.id)
    with pytest.raises(AssetGone):
        await read(store, over)
    assert await read(store, kept) == b"shared"
    assert await store.put(b"over", name="a") is not None  # nothing of it is doomed any more


async def test_what_is_younger_than_the_grace_stays(store: AssetStore) -> None:
    stored = await store.put(b"x", name="a")
    await store.remove(stored.asset.id)
    assert await swept(store, grace_s=3600) == Swept()
    assert await read(store, stored.asset) == b"x"


async def test_the_bytes_that_an_open_job_s_graph_names_stay(
    store: AssetStore, log: Log, folder: Path
) -> None:
    asset = (await store.put(b"x", name="a")).asset
    used = AssetInput(
        asset=asset.id, hash=asset.hash, size_bytes=1, media_type="text/plain", name="a"
    )
    await log.submit(GRAPH, job_id="j", inputs={"1.image": used})
    await store.remove(asset.id)
    make_old(folder)
    assert await swept(store) == Swept()
    await log.append("j", Canceled(), epoch=UNLEASED)
    await anyio.sleep(0.002)
    assert (await swept(store)).blobs == 1


async def test_an_output_that_its_job_does_not_name_is_removed(store: AssetStore, log: Log) -> None:
    asked = list[str]()

    async def is_named(asset: Asset) -> bool | None:
        asked.append(asset.job_id)
        return {"named": True, "other": False, "open": None}[asset.job_id]

    made = {
        job: (await store.put(job.encode(), name=job, job_id=job)).asset
        for job in ("named", "other", "open")
    }
    await anyio.sleep(0.002)
    assert (await Sweeper(store, is_named, grace_s=0).sweep()).unnamed == 1
    assert sorted(asked) == ["named", "open", "other"]
    asked.clear()
    assert (await Sweeper(store, is_named, grace_s=0).sweep()).unnamed == 0
    assert asked == ["open"]  # what is confirmed is not asked for again
    with pytest.raises(AssetUnknown):
        await store.get(made["other"].id)
    assert await store.get(made["named"].id) == made["named"]


async def test_bytes_that_are_being_removed_are_not_taken_for_stored(
    store: AssetStore, log: Log
) -> None:
    asset = (await store.put(b"x", name="a")).asset
    await store.remove(asset.id)
    far_ms = int(time.time() * 1000) + 60_000
    for partition in range(3):
        await command(log.redis, "HSET", log.keys.assets(partition).doomed(), asset.hash, far_ms)
    with pytest.raises(AssetsUnavailable):
        await store.put(b"x", name="a")
    with pytest.raises(AssetUnknown):
        await store.get(asset.id)


async def test_two_sweepers_and_many_writers_lose_no_bytes(store: AssetStore, folder: Path) -> None:
    """Everything is old and expires at once, and is stored again all the while."""
    done = anyio.Event()

    async def sweep() -> None:
        while not done.is_set():
            make_old(folder)
            await swept(store)

    async def write(name: str) -> None:
        for _ in range(40):
            try:
                asset = (await store.put(b"the same", name=name, keep_s=0.05)).asset
            except AssetsUnavailable:
                continue
            try:
                held = await store.keep(asset.id, 60)
            except AssetUnknown:
                continue
            assert await read(store, held) == b"the same"
            await store.remove(held.id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweep)
        tasks.start_soon(sweep)
        async with anyio.create_task_group() as writers:
            for number in range(4):
                writers.start_soon(write, f"w{number}")
        done.set()


async def test_verify_names_what_is_missing_damaged_and_miscounted(
    store: AssetStore, log: Log, folder: Path
) -> None:
    async def problems() -> dict[str, str]:
        return {one.hash: one.what async for one in verify_assets(store)}

    missing, damaged, cut, sound = [
        (await store.put(text, name="a")).asset for text in (b"aaa", b"bbb", b"ccc", b"ddd")
    ]
    assert await problems() == {}
    files = stored_files(folder)
    await store.blobs.delete(missing.hash)
    files[damaged.hash.removeprefix("blake3:")].write_bytes(b"xxx")
    files[cut.hash.removeprefix("blake3:")].write_bytes(b"c")
    await command(log.redis, "HSET", store.keys_of(sound.id).blobs(), sound.hash, 7)
    assert await problems() == {
        missing.hash: "missing",
        damaged.hash: "damaged",
        cut.hash: "damaged",
        sound.hash: "miscounted",
    }


async def test_bytes_that_are_stored_between_the_last_look_and_their_removal_are_not_lost(
    log: Log, folder: Path
) -> None:
    """The store removes them after another process has stored them once more."""

    class Interleaved(BlobFolder):
        async def delete(self, content_hash: str) -> bool:
            with contextlib.suppress(AssetsUnavailable):
                known.append((await AssetStore(log, BlobFolder(folder)).put(b"x", name="b")).asset)
            return await super().delete(content_hash)

    known = list[Asset]()
    store = AssetStore(log, Interleaved(folder))
    await store.remove((await store.put(b"x", name="a")).asset.id)
    make_old(folder)
    assert (await swept(store)).blobs == 1
    for asset in known:
        assert await read(store, asset) == b"x"
    assert await read(store, (await store.put(b"x", name="b")).asset) == b"x"


async def test_a_file_that_is_stored_again_counts_once(store: AssetStore, log: Log) -> None:
    await set_limit(log, Limit("assets", "user", "*", 10))
    first = await store.put(b"123456", name="a/b.png", owner="ada", expected_bytes=6)
    again = await store.put(b"123456", name="a/b.png", owner="ada", expected_bytes=6)
    assert (again.asset.id, again.created) == (first.asset.id, False)
    assert await store.used_bytes("ada") == 6
    for other, name in ((b"654321", "b.png"), (b"123456", "c.png")):
        with pytest.raises(QuotaFull):
            await store.put(other, name=name, owner="ada", expected_bytes=6)


@pytest.mark.parametrize("place", ["expiry", "unconfirmed", "owned"])
async def test_what_another_program_wrote_between_assets_is_passed_over(
    store: AssetStore, log: Log, place: str
) -> None:
    asset = (await store.put(b"x", name="a", owner="ada")).asset
    keys = store.keys_of(asset.id)
    key = keys.owned("ada") if place == "owned" else getattr(keys, place)()
    for odd in (b"no id", b"\xff\xfe\xfd", b"00000000-0000-0000-0000-00000000zzzz"):
        for score in ("1", "-inf", "+inf"):
            await command(log.redis, "ZADD", key, score, odd + score.encode())
        await command(log.redis, "ZADD", key, 1, odd)
    assert await swept(store) == Swept()
    assert (await list_assets(store, "ada")).assets == [await store.get(asset.id)]
    await command(log.redis, "ZADD", key, "-inf", asset.id)
    assert (await list_assets(store, "ada")).assets == [await store.get(asset.id)]
    assert (await swept(store)).expired == (place == "expiry")


@pytest.mark.parametrize("apart_s", [-31 * 86_400, 31 * 86_400])
async def test_nothing_is_swept_while_the_clocks_differ(
    store: AssetStore, folder: Path, monkeypatch: pytest.MonkeyPatch, apart_s: float
) -> None:
    asset = (await store.put(b"x", name="a", keep_s=0.001)).asset
    make_old(folder)
    await anyio.sleep(0.005)
    real = time.time
    with monkeypatch.context() as clock:
        clock.setattr("everfold.streams.assets.sweeping.time.time", lambda: real() + apart_s)
        with pytest.raises(ClocksApart):
            await swept(store)
    assert await read(store, asset) == b"x"
    assert (await swept(store)).expired == 1


async def test_a_mark_from_before_the_clock_was_set_back_keeps_nobody_from_storing(
    store: AssetStore, log: Log
) -> None:
    far_ms = int(time.time() * 1000) + 3_600_000
    content_hash = f"blake3:{blake3(b'x').hexdigest()}"
    for partition in range(3):
        await command(log.redis, "HSET", log.keys.assets(partition).doomed(), content_hash, far_ms)
    assert (await store.put(b"x", name="a")).created
