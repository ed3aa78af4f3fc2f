"""The commands as real processes: started on a test's own server, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable

from everfold.streams.appending.log import Log
from tests.support.programs.programs import Program

Everfold = Callable[..., Program]
"""Starts `everfold <arguments>`; keywords are environment variables."""


async def make_namespace(url: str, name: str = "everfold") -> None:
    """Make a namespace without anything in it."""
    async with Log.open(url, namespace=name):
        pass


async def ended(program: Program, code: int = 0) -> list[str]:
    """Wait for its end, as it is expected and without a traceback; return what it printed."""
    assert await program.end(within_s=60) == code, program
    assert not any("Traceback" in line for line in program.error_lines), program
    return program.lines


async def objects(program: Program, code: int = 0) -> list[dict[str, object]]:
    """Return the JSON objects that it printed, one per line."""
    return [json.loads(line) for line in await ended(program, code)]
