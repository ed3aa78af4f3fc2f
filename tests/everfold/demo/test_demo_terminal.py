"""The demo in a terminal of 80 columns and 24 rows, as terminals open."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.long]

ROWS, COLUMNS = 24, 80
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


async def told_in_terminal(*arguments: str) -> tuple[int, list[str]]:
    """Return the exit code of a command, and all lines that its terminal ever got."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
    unset = ("COLUMNS", "LINES", "NO_COLOR")
    environ = {name: value for name, value in os.environ.items() if name not in unset}
    process = await anyio.open_process(
        [sys.executable, "-m", "everfold", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):  # the last of its processes has closed it
        while chunk := await anyio.to_thread.run_sync(os.read, ours, 65_536):
            told += chunk
    os.close(ours)
    lines = ESCAPES.sub("", told.decode()).replace("\r", "\n").split("\n")
    return await process.wait(), lines


async def test_the_table_and_each_sentence_are_shown_whole(tmp_path: Path) -> None:
    with anyio.fail_after(120):
        code, lines = await told_in_terminal("demo", "--folder", str(tmp_path))

    assert code == 0, lines[-20:]
    assert [line for line in lines if line.strip() == "..."] == []
    text = " ".join(" ".join(lines).split())
    assert "and two simulated ComfyUI run: " in text
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= COLUMNS
