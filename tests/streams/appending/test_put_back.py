"""What one job's failure does to the others that are put back with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.appending.memory.memory import Memory
from everfold.streams.appending.memory.put_back import PutBack
from everfold.streams.appending.memory.remembered import Remembered
from everfold.streams.errors import ServerUnreachable

pytestmark = pytest.mark.anyio


class TwoLost(PutBack):
    """Finds two jobs gone, the first of which cannot be put back."""

    def __init__(self) -> None:
        async def check_level() -> None:
            pass

        redis = SimpleNamespace(is_one_server=True)
        memory = SimpleNamespace(in_hand=lambda _, __: False)
        keys = SimpleNamespace(partition_of=lambda _: 0)
        log = SimpleNamespace(redis=redis, keys=keys, check_level=check_level)
        super().__init__(cast("Log", log), cast("Memory", memory))
        self.back = list[str]()

    async def _lost(self, seen: Sequence[object]) -> dict[str, Remembered]:
        return {name: Remembered(name, "e", 1, "1-1", b"", 0.0) for name in ("fails", "slow")}

    async def _pass_by(self, job_id: str, entry_id: str) -> None:
        pass

    async def put_back(self, job_id: str, seen: object = None) -> None:
        if job_id == "fails":
            raise ServerUnreachable("a test")
        await asyncio.sleep(0.05)
        self.back.append(job_id)


async def test_a_job_that_cannot_be_put_back_leaves_none_under_way() -> None:
    lost = TwoLost()
    with pytest.raises(ServerUnreachable):
        await lost.look({0: []})
    assert lost.back == ["slow"]
