"""How commands end: by Ctrl-C, by a reader that has enough, by an output that takes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio.lowlevel
import pytest

from everfold.client import Everfold as Client
from tests.everfold.running import Everfold, make_namespace
from tests.everfold.walk.surroundings import listening
from tests.support.programs.stack import sleeper
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

ENDLESS = {
    "events --follow": "submitted",
    "events --follow --json": "job.submitted",
    "jobs watch --json": "queued",
}
"""Command lines, and what they print first of the job that waits."""


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "everfold", *arguments]
    environment = {**os.environ, **environ}
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.parametrize("words", ENDLESS)
async def test_ctrl_c_ends_what_follows_with_130_and_no_word(
    server: OwnServer, everfold: Everfold, words: str
) -> None:
    async with Client.connect(server.url) as client:
        program = everfold(*words.split())
        if words.startswith("jobs"):
            await anyio.lowlevel.checkpoint()

        async def shown() -> bool:
            if not any(ENDLESS[words] in line for line in program.lines):
                await client.submit(sleeper(1))
            return any(ENDLESS[words] in line for line in program.lines)

        await eventually(shown, 30)
    program.send(signal.SIGINT)
    assert await program.end(within_s=20) == 130
    assert program.error_lines == []


async def test_ctrl_c_ends_a_connect_that_nobody_answers(everfold: Everfold) -> None:
    met = threading.Event()
    with listening(None, met) as url:
        program = everfold("jobs", "ls", REDIS_URL=url)
        await eventually(met.is_set, 30)
        program.send(signal.SIGINT)
        assert await program.end(within_s=20) in (130, -signal.SIGINT)
    assert program.error_lines == []


INTERRUPT = "signal.raise_signal(signal.SIGINT)"
MOMENTS = {
    "the loop is half made": INTERRUPT,
    "a value goes": f"weakref.finalize(set(), lambda: {INTERRUPT})",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("words", ["jobs ls", "projector"])
def test_ctrl_c_is_quiet_even_while(words: str, moment: str) -> None:
    code = f"""
import signal, socket, weakref
from everfold.__main__ import main

def socketpair(*arguments, made=socket.socketpair):
    {MOMENTS[moment]}
    return made(*arguments)

# Ignored from the start in what a shell runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
socket.socketpair = socketpair
main()
"""
    line = [sys.executable, "-c", code, *words.split()]
    environ = {**os.environ, "REDIS_URL": "redis://127.0.0.1:1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environ)
    assert (done.returncode, done.stderr) == (130, "")


MANY_LINES = (("schema", "openapi"), ("help",), ("submit", "--help"), ("help", "statuses"))


@pytest.mark.parametrize("words", MANY_LINES, ids=" ".join)
def test_a_reader_that_has_enough_ends_it_quietly(words: Sequence[str]) -> None:
    shell = f'"$0" -m everfold {" ".join(words)} | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable], capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "0")


@pytest.mark.parametrize("words", [("--version",), ("help",), ("schema", "json")], ids=" ".join)
def test_an_output_that_takes_nothing_is_told_in_one_line(words: Sequence[str]) -> None:
    with Path("/dev/full").open("w") as full:
        line = [sys.executable, "-m", "everfold", *words]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "everfold: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("columns", ["0", "-5", "nonsense", "1", "99999999999"])
def test_a_page_of_help_fits_any_width(columns: str) -> None:
    done = run("jobs", "ls", "--help", COLUMNS=columns)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--namespace" in done.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_trouble(closed: str, server: OwnServer) -> None:
    anyio.run(make_namespace, server.url)
    shell = f'exec "$0" -m everfold jobs ls {closed}'
    environ = {**os.environ, "REDIS_URL": server.url}
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        env=environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
