"""Reads a workflow's file, of which no more is read than a workflow may have."""

from __future__ import annotations

from pathlib import Path

from everfold.streams.border.values import shown
from everfold.streams.errors import InvalidWorkflow, TooLarge
from everfold.streams.events.limits import WORKFLOW_LIMIT_BYTES
from everfold.streams.events.workflow_check import SPACES


def read_workflow(path: Path) -> bytes:
    """Return the content of a workflow file.

    Raises InvalidWorkflow when it cannot be read, TooLarge.
    """
    limit = SPACES * WORKFLOW_LIMIT_BYTES
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidWorkflow(
            f"the workflow file {shown(str(path))} cannot be read: {why}"
        ) from error
    if len(content) > limit:
        raise TooLarge(f"the workflow file {shown(str(path))}", len(content), limit)
    return content
