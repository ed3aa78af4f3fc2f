"""Where spans go: nowhere, until a process installs what exports them.

Rule: no dependency, and free while it is off. Exporting never waits and never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

Kind = Literal["internal", "producer", "consumer"]
Value = str | int | float | bool


class Span(Struct, frozen=True, kw_only=True):
    """What one span says. Times are Unix milliseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    """Empty for the root of its trace."""
    kind: Kind = "internal"
    start_ms: int
    end_ms: int
    attributes: Mapping[str, Value] = {}
    events: Sequence[tuple[str, int]] = ()
    """What happened in it, and when."""
    links: Sequence[str] = ()
    """Ids of other spans of the trace."""
    error: str = ""
    """Why it failed, as a code; empty where it did not."""


class Exporter(Struct, frozen=True, eq=False):
    """What takes the spans of a process."""

    export: Callable[[Sequence[Span]], None]
    samples: Callable[[str], bool]
    """Says whether a trace that begins here is exported, by its id."""


_installed: list[Exporter] = []


def install(exporter: Exporter | None) -> None:
    """Export spans from now on; None switches it off."""
    _installed[:] = [exporter] if exporter else []


def is_on() -> bool:
    """Say whether this process exports spans."""
    return bool(_installed)


def samples(trace_id: str) -> bool:
    """Say whether a trace that begins with a job is exported."""
    return bool(_installed) and _installed[0].samples(trace_id)


def export(spans: Sequence[Span]) -> None:
    """Hand spans over, if anybody wants them."""
    for exporter in _installed:
        exporter.export(spans)
