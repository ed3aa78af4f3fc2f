"""Fixtures for the embedded server: engines of each kind, and a sure end of what was started."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everfold.embedded import EmbeddedServer
from everfold.embedded import engines as engines_module
from everfold.embedded.engines import Engine, path_engines

Stops = Callable[[EmbeddedServer | None], None]
"""stops(server): stop it when the test is over."""


@pytest.fixture
def stops() -> Iterator[Stops]:
    started = list[EmbeddedServer]()
    yield lambda server: started.append(server) if server else None
    for server in started:
        server.stop()


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for a wheel that nobody has installed."""
    monkeypatch.setattr(engines_module, "WHEEL", "everfold-has-no-such-wheel")


@pytest.fixture
def path_engine() -> Engine:
    """A real server on this machine's PATH."""
    found = next(path_engines(os.environ), None)
    if found is None:
        pytest.skip("neither valkey-server nor redis-server is on PATH")
    return found


@pytest.fixture
def path_of_fakes(tmp_path: Path) -> Path:
    """A PATH with a redis-server that says it is 6.2.14."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "redis-server"
    program.write_text(
        "#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64'\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder
