"""A runner sweeps the store of assets by itself, once for all that have the same one."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from everfold.runner.claiming.asset_sweeper import AssetSweeper
from everfold.runner.config import RunnerConfig
from everfold.runner.execution.shared import Shared
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.assets.blob_store import FoundBlob
from everfold.streams.redis.redis_errors import command
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


def shared(log: Log, store: AssetStore | None, name: str) -> Shared:
    made = SimpleNamespace(log=log, assets=store, config=RunnerConfig(name=name))
    return cast("Shared", made)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def age(folder: Path) -> None:
    for path in files(folder):
        os.utime(path, (time.time() - 86_400,) * 2)


async def test_what_nobody_needs_goes_by_itself(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        store = AssetStore(log, BlobFolder(tmp_path))
        await store.remove((await store.put(b"x", name="a")).asset.id)
        age(tmp_path)
        async with anyio.create_task_group() as tasks:
            for name in ("r1", "r2", "r3"):
                tasks.start_soon(AssetSweeper(shared(log, store, name), every_s=0.2).run)
            await eventually(lambda: not files(tmp_path))
            tasks.cancel_scope.cancel()


async def test_one_of_many_runners_sweeps(redis_url: str, namespace: str, tmp_path: Path) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        walks = 0

        class Counting(BlobFolder):
            async def walk(self) -> AsyncIterator[FoundBlob]:
                nonlocal walks
                walks += 1
                async for blob in super().walk():
                    yield blob

        async with anyio.create_task_group() as tasks:
            for name in ("r1", "r2", "r3"):
                store = AssetStore(log, Counting(tmp_path))
                tasks.start_soon(AssetSweeper(shared(log, store, name), every_s=1.0).run)
            await eventually(lambda: walks)
            await anyio.sleep(0.3)
            assert walks == 1
            tasks.cancel_scope.cancel()


async def test_a_store_that_is_away_is_waited_for(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    place = tmp_path / "file"
    place.write_text("no folder")
    async with Log.open(redis_url, namespace=namespace) as log:
        store = AssetStore(log, BlobFolder(place))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(AssetSweeper(shared(log, store, "r"), every_s=0.05).run)

            async def has_tried() -> bool:
                found = await command(log.redis, "KEYS", f"{namespace}:asset_sweep:*")
                return bool(found)

            await eventually(has_tried)
            await anyio.sleep(0.2)
            assert not tasks.cancel_scope.cancel_called
            tasks.cancel_scope.cancel()


async def test_a_runner_without_a_store_sweeps_nothing(redis_url: str, namespace: str) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        await AssetSweeper(shared(log, None, "r")).run()
