from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import Log
from tests.projector.jobs import PARTITIONS


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=PARTITIONS) as log:
        yield log
