"""Every script keeps the server for less than a second, however much there is.

Rule: a new script fails here until a script_loads.py has a call for it, or says that it is single.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from everfold.streams.appending.log import Log
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import TooFewReplicas
from everfold.streams.redis.replicas import Replicas
from everfold.streams.redis.script import Script, assemble
from tests.projector import script_loads as of_projector
from tests.streams.scripts import script_loads as of_streams
from tests.streams.scripts.test_scripts_fail_clean import SCRIPTS, SHARED
from tests.support import servers
from tests.support.server_choice import ServerChoice
from tests.support.servers import OwnServer

pytestmark = [pytest.mark.anyio, pytest.mark.server, pytest.mark.one_server]

LOADS = {**of_streams.LOADS, **of_projector.LOADS}
SINGLE = of_streams.SINGLE | of_projector.SINGLE

LONGEST_MS = 1000.0
"""Longest time of one call on the server."""


@pytest.fixture(scope="module")
def server(server_choice: ServerChoice) -> Iterator[OwnServer]:
    assert server_choice.engine is not None
    with servers.own_server(server_choice.engine, appendonly="no") as server:
        yield server


def test_each_script_has_a_load_or_is_single() -> None:
    names = {script.stem for script in SCRIPTS}
    assert {*LOADS, *SINGLE} == names, "add a call to script_loads.py"
    assert SINGLE.isdisjoint(LOADS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
async def test_a_script_takes_many_items(server: OwnServer, script: Path) -> None:
    source = assemble(script.stem, (script.parent, SHARED))
    with servers.client(server.url) as admin:
        for load in LOADS.get(script.stem, ()):
            admin.flushall()
            with timed_calls(admin, source) as times_ms:
                async with Log.open(server.url, namespace="x", partitions=1) as log:
                    log.retry_for_s = 0.0
                    await load(log)
            if not times_ms and log.keys.is_spread:
                pytest.skip("in the spread layout it is not sent")
            assert times_ms, f"{load.__name__} did not call it"
            assert max(times_ms) < LONGEST_MS, load.__name__


@contextmanager
def timed_calls(admin: Redis, source: str) -> Iterator[list[float]]:
    """Collect the processor time, in ms, of each call of the script with this source."""
    times_ms: list[float] = []
    run = Script.run_replicated

    async def timed(
        self: Script,
        redis: object,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        replicas: Replicas,
    ) -> tuple[list[object], TooFewReplicas | None]:
        before_ms = _spent_ms(admin)
        reply = await run(self, redis, keys, arguments, replicas)  # type: ignore[arg-type]
        if self.source == source:
            times_ms.append(_spent_ms(admin) - before_ms)
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Script, "run_replicated", timed)
        yield times_ms


def _spent_ms(admin: Redis) -> float:
    """Return the processor time of the server: a busy machine does not lengthen it."""
    found = cast("dict[str, float]", admin.info("cpu"))
    return (found["used_cpu_user"] + found["used_cpu_sys"]) * 1000
