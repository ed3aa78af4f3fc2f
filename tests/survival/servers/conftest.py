"""A server by a wall clock that the test sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.servers import OwnServer, StartServer
from tests.support.wall_clock import WallClock


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    clock = WallClock(tmp_path)
    clock.build()
    return clock


@pytest.fixture
def clocked_server(
    clock: WallClock, own_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> OwnServer:
    """Start a server that has the time of `clock`."""
    with monkeypatch.context() as patched:
        for name, value in clock.environ.items():
            patched.setenv(name, value)
        return own_server(tcp=True)
