"""`everfold doctor` says where files are stored, and when that cannot work."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from everfold.assets.store_of import open_assets
from everfold.diagnosis.asset_check import asset_findings
from everfold.streams.appending.log import Log
from everfold.streams.leases.registry import RunnerEntry, register_runner

pytestmark = pytest.mark.anyio


async def say(log: Log, runner: str, host: str, assets: str) -> None:
    entry = RunnerEntry(
        runner=runner, host=host, pid=1, queues=("q",), backends=(), since_ms=1, assets=assets
    )
    await register_runner(log, entry)


async def test_places_that_differ_or_cannot_be_read_from_here_are_said(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Log.open(redis_url, namespace=namespace) as log:
        assert [one async for one in asset_findings(log)] == []
        monkeypatch.setenv("EVERFOLD_ASSETS", str(tmp_path))
        here = open_assets(log).url
        await say(log, "a", socket.gethostname(), here)
        (one,) = [one async for one in asset_findings(log)]
        assert (one.what, one.advice) == ("assets", "")
        await say(log, "a", "far", here)
        (one,) = [one async for one in asset_findings(log)]
        assert "EVERFOLD_ASSETS" in one.advice
        await say(log, "b", "b", "s3://bucket/x")
        found = [one async for one in asset_findings(log)]
        assert len(found) == 2
        assert all("one place" in one.advice for one in found)
