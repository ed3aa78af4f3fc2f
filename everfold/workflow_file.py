"""Reads a workflow's file, of which no more is read than a workflow may have."""

from __future__ import annotations

import sys
from pathlib import Path

from everfold.streams.border.values import shown
from everfold.streams.errors import InvalidWorkflow, TooLarge
from everfold.streams.events.limits import WORKFLOW_LIMIT_BYTES
from everfold.streams.events.workflow_check import SPACES

STDIN = Path("/dev/stdin")
"""Stands for standard input, whatever that is."""


def read_workflow(path: Path) -> bytes:
    """Return the content of a workflow file, or of standard input.

    Raises InvalidWorkflow when it cannot be read or is empty, TooLarge.
    """
    limit = SPACES * WORKFLOW_LIMIT_BYTES
    what = "standard input" if path == STDIN else f"the workflow file {shown(str(path))}"
    try:
        with sys.stdin.buffer if path == STDIN else path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidWorkflow(f"{what} cannot be read: {why}") from error
    if not content:
        raise InvalidWorkflow(f"{what} is empty")
    if len(content) > limit:
        raise TooLarge(what, len(content), limit)
    return content
