"""Commands one after the other in one process, each with what it printed and how it ended.

python -m tests.support.looks '[["doctor"], ["jobs", "ls"]]'
"""

from __future__ import annotations

import contextlib
import io
import sys
import traceback

import msgspec
from msgspec import Struct

from everfold.__main__ import run


class Look(Struct, frozen=True):
    arguments: list[str]
    code: int
    printed: str
    """What it wrote to standard output and standard error."""
    trace: str = ""
    """The traceback of what it raised; it must be empty."""


def look(arguments: list[str]) -> Look:
    """Run one command."""
    code, trace = -1, ""
    with io.StringIO() as to:
        with contextlib.redirect_stdout(to), contextlib.redirect_stderr(to):
            try:
                code = run(arguments)
            except BaseException:
                trace = traceback.format_exc()
        return Look(arguments, code, to.getvalue(), trace)


if __name__ == "__main__":
    for one in msgspec.json.decode(sys.argv[1], type=list[list[str]]):
        print(msgspec.json.encode(look(one)).decode(), flush=True)
