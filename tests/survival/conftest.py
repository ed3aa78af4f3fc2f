"""A house for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from tests.support.house import House
from tests.support.programs import StartProgram


@pytest.fixture
async def house(
    redis_url: str, namespace: str, start_program: StartProgram, tmp_path: Path
) -> AsyncIterator[House]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield House(log, start_program, tmp_path)
