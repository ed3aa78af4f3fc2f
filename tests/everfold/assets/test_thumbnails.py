"""A thumbnail is stored beside its picture; where none can be made, nothing fails or stays."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from PIL import Image

from everfold.assets import thumbnails
from everfold.assets.thumbnails import Thumbnails
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset import Asset
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.queues.limits import Limit, set_limit

pytestmark = pytest.mark.anyio


@pytest.fixture
async def assets(redis_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[AssetStore]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield AssetStore(log, BlobFolder(tmp_path / "store"))


def picture(size: tuple[int, int] = (1000, 600), kind: str = "PNG") -> bytes:
    made = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(made, kind)
    return made.getvalue()


async def stored(assets: AssetStore, data: bytes, name: str = "job-1_x.png") -> Asset:
    put = await assets.put(data, name=name, owner="ada", keep_s=3600, job_id="job-1")
    return put.asset


async def stored_bytes(assets: AssetStore, asset: Asset) -> bytes:
    async with assets.open(asset.hash) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_picture_has_a_thumbnail_of_the_same_owner_job_and_time(assets: AssetStore) -> None:
    asset = await stored(assets, picture())
    made = await Thumbnails().make(assets, asset)

    assert made is not None
    assert (made.media_type, made.width, made.height) == ("image/webp", 320, 192)
    assert (made.name, made.owner, made.job_id) == ("job-1_x.png.thumbnail.webp", "ada", "job-1")
    assert abs(made.expires_ms - asset.expires_ms) < 60_000
    assert Image.open(io.BytesIO(await stored_bytes(assets, made))).size == (320, 192)


async def test_one_that_is_made_again_is_the_same(assets: AssetStore) -> None:
    asset = await stored(assets, picture(kind="JPEG"))
    first, second = [await Thumbnails().make(assets, asset) for _ in range(2)]

    assert first is not None
    assert second is not None
    assert first.id == second.id


async def test_many_at_once_are_made_one_after_the_other(assets: AssetStore) -> None:
    maker, made = Thumbnails(), list[Asset | None]()

    async def make(number: int) -> None:
        asset = await stored(assets, picture((400 + number, 300)), f"{number}.png")
        made.append(await maker.make(assets, asset))

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(make, number)
    assert None not in made


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"text", id="text"),
        pytest.param(picture((100, 50)), id="small"),
        pytest.param(picture()[:9000], id="damaged"),
        pytest.param(picture(kind="TIFF"), id="another format"),
    ],
)
async def test_where_there_is_none_to_make_nothing_is_stored(
    assets: AssetStore, data: bytes
) -> None:
    asset = await stored(assets, data)
    used = await assets.used_bytes("ada")

    assert await Thumbnails().make(assets, asset) is None
    assert await assets.used_bytes("ada") == used


async def test_bytes_that_are_gone_and_a_full_quota_are_no_error(assets: AssetStore) -> None:
    asset = await stored(assets, picture())
    await set_limit(assets.log, Limit("assets", "user", "ada", asset.size_bytes + 10))
    assert await Thumbnails().make(assets, asset) is None
    await assets.blobs.delete(asset.hash)
    assert await Thumbnails().make(assets, asset) is None


async def test_one_that_takes_too_long_is_ended(
    assets: AssetStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    program = f"import os; open({str(mark)!r}, 'w').write(str(os.getpid()))\nwhile True: pass"
    monkeypatch.setattr(thumbnails, "PROGRAM", ("-c", program))
    first = await stored(assets, picture())
    with anyio.fail_after(20):
        assert await Thumbnails(within_s=3).make(assets, first) is None
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)

    monkeypatch.undo()
    assert await Thumbnails().make(assets, first) is not None


async def test_the_time_that_one_waits_for_those_before_it_is_not_its_own(
    assets: AssetStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hangs_once = (
        "import os, runpy, sys\n"
        f"mark = {str(tmp_path / 'mark')!r}\n"
        "if not os.path.exists(mark):\n"
        "    open(mark, 'w')\n"
        "    while True: pass\n"
        "runpy.run_module('everfold.assets.shrinking', run_name='__main__')"
    )
    monkeypatch.setattr(thumbnails, "PROGRAM", ("-c", hangs_once))
    pictures = [await stored(assets, picture((400, high)), f"{high}.png") for high in (300, 310)]
    maker, made = Thumbnails(within_s=6), list[Asset | None]()

    async def make(asset: Asset) -> None:
        made.append(await maker.make(assets, asset))

    async with anyio.create_task_group() as tasks:
        for asset in pictures:
            tasks.start_soon(make, asset)
    assert made[0] is None
    assert made[1] is not None


async def test_all_that_wait_for_one_that_hangs_are_given_up_together(
    assets: AssetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "PROGRAM", ("-c", "while True: pass"))
    asset, maker, made = await stored(assets, picture()), Thumbnails(in_all_s=1), []

    async def make() -> None:
        made.append(await maker.make(assets, asset))

    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(make)
    assert made == [None] * 5


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.abort()",
        "print('x' * 10_000_000)",
        "print('<svg onload=alert(1)>')",
        "import sys; sys.stdout.buffer.write(b'RIFF0000WEBP'); sys.exit(1)",
        "",
    ],
)
async def test_whatever_the_process_that_decodes_does_is_no_error(
    assets: AssetStore, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(thumbnails, "PROGRAM", ("-c", program))
    asset = await stored(assets, picture())

    assert await Thumbnails().make(assets, asset) is None


async def test_the_process_that_decodes_knows_no_secret(
    assets: AssetStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    program = f"import os; open({str(seen)!r}, 'w').write(repr(dict(os.environ)))"
    monkeypatch.setattr(thumbnails, "PROGRAM", ("-c", program))
    monkeypatch.setenv("REDIS_URL", "redis://:secret@h")
    monkeypatch.setenv("EVERFOLD_SEAL_KEY", "secret")

    await Thumbnails().make(assets, await stored(assets, picture()))
    assert "secret" not in seen.read_text()
