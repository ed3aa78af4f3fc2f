"""Tables and lines as they leave the process, in a pipe and in a terminal."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Callable

import pytest

from everfold.commands.output import Cell, say, show
from everfold.commands.session import Session

ROWS = [("short", 1, None), ("[b] markup :x:", 12_345, "a reason of some length " * 5)]
COLUMNS: dict[str, Callable[[tuple[str, int, str | None]], Cell]] = {
    "name": lambda row: (row[0], "red"),
    "count": lambda row: row[1],
    "why": lambda row: row[2],
}


def test_a_table_in_a_pipe_has_one_whole_line_for_each_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(ROWS, COLUMNS)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head == "name            count   why"
    assert first == "short           1       -"
    assert second == f"[b] markup :x:  12,345  {str(ROWS[1][2]).rstrip()}"


def test_json_is_one_object_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    Session(json=True).show(ROWS, COLUMNS, empty="nothing")
    assert capsys.readouterr().out.splitlines()[0] == '["short",1,null]'
    Session(json=True).show([], COLUMNS, empty="nothing")
    assert capsys.readouterr().out == ""
    Session().show([], COLUMNS, empty="nothing")
    assert capsys.readouterr().out == "nothing\n"


PROGRAM = """
from tests.everfold.commands.test_output import COLUMNS, ROWS
from everfold.commands.output import say, show
say(("\\x1b[2J[bold]", "red"), " whole")
show(ROWS, COLUMNS, style=lambda row: "")
"""


def test_a_table_in_a_terminal_is_colored_and_no_wider_than_it() -> None:
    written = in_terminal(PROGRAM, columns=60)
    assert "\x1b[31m" in written
    assert "\\x1b[2J[bold]" in written
    assert written.count("reason") == 5
    plain = [line for line in without_colors(written).splitlines() if line]
    assert max(map(len, plain)) <= 60
    assert plain[1].split() == ["name", "count", "why"]


WRAPPED = """
from everfold.commands.output import show
rows = [("mark", "a name of some length " * 4, "what was found " * 6, "what to change " * 6)]
names = ("is", "name", "found", "change")
columns = {name: lambda row, i=i: row[i] for i, name in enumerate(names)}
show(rows, columns, wrap=names[1:])
show([("mark", "one", "two", "three " * 40)], columns, wrap=())
"""


def test_a_narrow_terminal_wraps_the_columns_that_may_and_loses_none() -> None:
    lines = without_colors(in_terminal(WRAPPED, columns=80)).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["is", "name", "found", "change"]
    wrapped = " ".join(lines[1:-2])
    assert [wrapped.count(word) for word in ("length", "found", "change")] == [4, 6, 6]
    assert lines[-1].startswith("mark  one   two")
    assert lines[-1].rstrip().endswith("…")


def in_terminal(program: str, columns: int) -> str:
    """Run a program in a terminal of its own; return what it wrote there."""
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
        environ.pop("NO_COLOR", None)
        os.execvpe(sys.executable, [sys.executable, "-c", program], environ)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # the other end is closed
            part = b""
        if not part:
            break
        written += part
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, written
    return written.decode()


def without_colors(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_say_writes_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    say("a ", ("b", "dim"), " [c]")
    assert capsys.readouterr().out == "a b [c]\n"
