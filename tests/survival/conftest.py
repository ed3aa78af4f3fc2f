"""The processes of each test; in full length they have the leases of the product."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from tests.support.programs.programs import StartProgram
from tests.support.programs.runner_program import Leases
from tests.support.programs.stack import LEASES, PRODUCT_LEASES, Stack


@pytest.fixture
def leases(full_length: bool) -> Leases:
    return PRODUCT_LEASES if full_length else LEASES


@pytest.fixture
async def stack(
    redis_url: str, namespace: str, start_program: StartProgram, tmp_path: Path, leases: Leases
) -> AsyncIterator[Stack]:
    async with Log.open(redis_url, namespace=namespace) as log:
        yield Stack(log, start_program, tmp_path, leases=leases)
