"""A namespace with real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack


@pytest.fixture
async def stack(
    redis_url: str, namespace: str, start_program: StartProgram, tmp_path: Path
) -> AsyncIterator[Stack]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield Stack(log, start_program, tmp_path, environ={"EVERFOLD_ASSETS": str(tmp_path)})
