"""Who waits for a job at a terminal reads why it waits; programs read nothing of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from everfold.client import Everfold as Client
from tests.everfold.running import Everfold, ended
from tests.support.programs.stack import sleeper
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

NO_RUNNER = "no runner serves queue default"
PAUSED = "queue default is paused by ada (new disk)"


def at_terminal(server: OwnServer, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a command whose standard error is a terminal; return it and the terminal's reader."""
    ours, theirs = os.openpty()
    environ = {**os.environ, "REDIS_URL": server.url, "COLUMNS": "80"}
    line = [sys.executable, "-m", "everfold", *arguments]
    running = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=theirs, env=environ)
    os.close(theirs)
    os.set_blocking(ours, False)
    return running, ours


async def test_each_reason_is_one_line_once(server: OwnServer, tmp_path: Path) -> None:
    async with Client.connect(server.url, actor="ada") as client:
        job_id = (await client.submit(sleeper(1))).job_id
        running, terminal = at_terminal(server, "jobs", "wait", job_id)
        written = b""

        def lines() -> list[str]:
            nonlocal written
            with contextlib.suppress(OSError):
                written += os.read(terminal, 65_536)
            return written.decode().split("\r\n")[:-1]

        try:
            await eventually(lambda: NO_RUNNER in lines(), 20)
            await client.pause_queue("default", "new disk")
            await eventually(lambda: PAUSED in lines(), 10)
            await anyio.sleep(1.5)  # time enough to say it again
            assert lines() == [NO_RUNNER, PAUSED]
            await client.cancel(job_id, "enough")
            out, _ = await anyio.to_thread.run_sync(running.communicate)
        finally:
            running.kill()
            os.close(terminal)
    assert out.decode() == f"{job_id} canceled (enough)\n"
    assert running.returncode == 1
    assert lines_are_short([NO_RUNNER, PAUSED])


def lines_are_short(lines: list[str]) -> bool:
    return max(map(len, lines)) <= 80


async def test_without_a_terminal_stderr_has_it_and_a_time_limit_ends_the_wait(
    server: OwnServer, everfold: Everfold, tmp_path: Path
) -> None:
    async with Client.connect(server.url) as client:
        job_id = (await client.submit(sleeper(1))).job_id
    program = everfold("jobs", "wait", job_id, "--timeout", "4")
    assert await ended(program, 1) == [f"{job_id} has not ended in 4 s; it goes on"]
    assert program.error_lines == [NO_RUNNER]
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps(sleeper(1)))
    submitted = everfold("submit", str(graph), "--on-missing", "wait", "--wait", "--timeout", "4")
    [line] = await ended(submitted, 1)
    assert line.endswith(" has not ended in 4 s; it goes on")
    assert NO_RUNNER in submitted.error_lines
    running, terminal = at_terminal(server, "jobs", "wait", job_id, "--timeout", "4")
    out, _ = await anyio.to_thread.run_sync(running.communicate)
    os.close(terminal)
    assert (out.decode(), running.returncode) == (f"{job_id} has not ended in 4 s; it goes on\n", 1)


async def test_show_says_why_an_open_job_waits(server: OwnServer, everfold: Everfold) -> None:
    async with Client.connect(server.url) as client:
        job_id = (await client.submit(sleeper(1))).job_id
        lines = await ended(everfold("jobs", "show", job_id))
        assert lines[1].split(maxsplit=1) == ["why", NO_RUNNER]
        await client.cancel(job_id)
        lines = await ended(everfold("jobs", "show", job_id))
        assert not any(line.startswith("why") for line in lines)
