"""A run that is ended, in whatever way, leaves no server and no other process behind."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

import pytest

from benchmarks.measuring.guard import of_run
from tests.support.programs.programs import StartProgram
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

WITHIN_S = 30.0
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


def has_server(folder: str) -> bool:
    """Say whether a server of the run is there, which nobody would end."""
    names = list[str]()
    for process in of_run(folder):
        with suppress(OSError):  # it has ended meanwhile
            names.append(Path(f"/proc/{process}/exe").readlink().name)
    return any("server" in name for name in names)


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
async def test_a_run_that_is_ended_leaves_nothing_behind(
    number: signal.Signals, start_program: StartProgram
) -> None:
    run = start_program("-m", "benchmarks", "append", "--events", "5000000", "--repeat", "1")
    folder = f"{gettempdir()}/everfold-run-{run.pid}-"
    await eventually(lambda: has_server(folder), WITHIN_S)

    run.send(number)

    assert await run.end(WITHIN_S) != 0
    await eventually(lambda: not of_run(folder), WITHIN_S)
