from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from everfold.embedded.engines import Engine, path_engines, wheel_engines
from tests.architecture.source_tree import ROOT
from tests.support.servers import OwnServer, client, own_server
from tests.support.wait import eventually

CONF = ROOT / "deploy" / "redis.conf"
ENGINES = [*wheel_engines(), *path_engines(os.environ)]


@pytest.fixture(params=ENGINES, ids=lambda engine: f"{engine.name}-{engine.source}")
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


def settings() -> dict[str, str]:
    """Return the settings of the file."""
    lines = [line for line in CONF.read_text().splitlines() if line and not line.startswith("#")]
    pairs = (line.split(" ", 1) for line in lines)
    return {name: value.strip('"') for name, value in pairs}


def in_bytes(value: str) -> str:
    found = re.fullmatch(r"(\d+)(mb|gb)", value)
    powers = {"mb": 20, "gb": 30}
    return str(int(found[1]) << powers[found[2]]) if found else value


def test_a_server_takes_every_setting_as_it_is_written(engine: Engine) -> None:
    with own_server(engine, conf=CONF) as server, client(server.url) as redis:
        actual = redis.config_get(*settings())

    assert actual == {name: in_bytes(value) for name, value in settings().items()}


def test_what_must_not_be_changed_lightly() -> None:
    kept = {"appendonly": "yes", "maxmemory-policy": "noeviction", "timeout": "0"}

    assert kept.items() <= settings().items()


def test_every_setting_has_a_reason_before_it() -> None:
    lines = CONF.read_text().splitlines()
    reasonless = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if line and not line.startswith("#") and not before
    ]
    assert reasonless == []


@pytest.mark.anyio
async def test_the_runbooks_way_to_back_up_and_restore_keeps_everything(
    engine: Engine, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    with own_server(engine, conf=CONF) as server, client(server.url) as redis:
        redis.xadd("log", {"n": 1})
        await _back_up(server, backup)
        redis.xadd("log", {"n": 2})

    with own_server(engine, conf=CONF) as restored:
        restored.kill()
        shutil.rmtree(restored.folder / "appendonlydir")
        shutil.copytree(backup, restored.folder / "appendonlydir")
        restored.start()
        with client(restored.url) as redis:
            assert redis.xlen("log") == 1


async def _back_up(server: OwnServer, to: Path) -> None:
    """Do what deploy/README.md says under `Back up`."""
    with client(server.url) as redis:
        redis.config_set("auto-aof-rewrite-percentage", "0")
        await eventually(lambda: redis.info("persistence")["aof_rewrite_in_progress"] == 0)
        shutil.copytree(server.folder / "appendonlydir", to)
        redis.config_set("auto-aof-rewrite-percentage", "100")
