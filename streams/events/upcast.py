"""Old shapes of events, made new on reading: an old log stays readable for ever.

Rule: a log is never rewritten. Whoever changes the meaning of an event raises its version in
`CURRENT_VERSION`, adds the step from the version before to `UPCASTS`, and adds a golden file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

RawEvent = dict[str, object]
Upcast = Callable[[RawEvent], RawEvent]

CURRENT_VERSION: Mapping[str, int] = {}
"""Type -> version written today; a type that is not named here is at version 1."""

UPCASTS: Mapping[tuple[str, int], Upcast] = {}
"""(type, version) -> the step to the next version."""


def current_version(kind: str, versions: Mapping[str, int] = CURRENT_VERSION) -> int:
    return versions.get(kind, 1)


def upcast(
    raw: RawEvent,
    versions: Mapping[str, int] = CURRENT_VERSION,
    steps: Mapping[tuple[str, int], Upcast] = UPCASTS,
) -> RawEvent:
    """Return `raw` in today's shape, one step per version.

    Raises ValueError for a version that is newer than this program, or that has no step.
    """
    kind, version = str(raw.get("type")), raw.get("v", 1)
    newest = current_version(kind, versions)
    if not isinstance(version, int) or version > newest:
        raise ValueError(f"{kind} has schema version {version}; this Everfold knows up to {newest}")
    for step in range(version, newest):
        if (kind, step) not in steps:
            raise ValueError(f"{kind} version {step} has no upcast to version {step + 1}")
        raw = {**steps[kind, step](raw), "v": step + 1}
    return raw
