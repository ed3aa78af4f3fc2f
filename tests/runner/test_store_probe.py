"""A store that cannot be written is told by the runner and by doctor, before a job waits for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from everfold.diagnosis.asset_check import asset_findings
from everfold.diagnosis.finding import Finding
from everfold.runner.config import RunnerConfig
from everfold.runner.outputs.store_probe import StoreProbe
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, actor="r", partitions=2) as log:
        await log.make()
        yield log


async def found(log: Log) -> Finding:
    [finding] = [one async for one in asset_findings(log)]
    return finding


async def test_doctor_names_a_store_that_a_runner_cannot_write(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EVERFOLD_ASSETS", str(tmp_path / "in-the-way" / "assets"))
    in_the_way = tmp_path / "in-the-way"
    in_the_way.write_text("a file where a folder is to be")
    store = AssetStore(log, BlobFolder(in_the_way / "assets"))
    runner = Runner(log, [], RunnerConfig(name="r"), store)
    async with anyio.create_task_group() as tasks:
        await tasks.start(runner.run)

        async def is_told() -> bool:
            return "r cannot write there" in (await found(log)).found

        await eventually(is_told, within_s=30)
        assert "make room" in (await found(log)).advice
        assert [r.levelname for r in caplog.records if "assets_not_writable" in r.message] == [
            "WARNING"
        ]
        tasks.cancel_scope.cancel()


async def test_it_looks_again_and_leaves_nothing(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "everfold")
    in_the_way = tmp_path / "store"
    in_the_way.write_text("a file where a folder is to be")
    probe = StoreProbe(AssetStore(log, BlobFolder(in_the_way)), every_s=0.05)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probe.run)
        await eventually(lambda: bool(probe.trouble))
        in_the_way.unlink()
        await eventually(lambda: not probe.trouble)
        tasks.cancel_scope.cancel()
    assert [path for path in in_the_way.rglob("*") if path.is_file()] == []
    told = [record.message.split()[0] for record in caplog.records if "writable" in record.message]
    assert told == ["assets_not_writable", "assets_writable"]


async def test_a_runner_without_a_store_has_nothing_to_look_at() -> None:
    probe = StoreProbe(None)
    await probe.run()
    assert not probe.trouble
