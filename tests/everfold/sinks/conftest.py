"""Databases and receivers for the sinks' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from everfold.streams.appending.log import Log
from tests.everfold.sinks.receiver import Receiver
from tests.support.postgres import postgres_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=4) as log:
        yield log


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    async with made.listening():
        yield made
