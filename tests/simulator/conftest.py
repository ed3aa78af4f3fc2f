"""A simulator and a client for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from everfold.simulator import simulate
from tests.simulator.client import Client, client_of


@pytest.fixture
async def comfy() -> AsyncIterator[Client]:
    async with simulate(speed=10) as simulator, client_of(simulator) as client:
        yield client
