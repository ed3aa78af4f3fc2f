"""How much of the log is kept, and what is to be trimmed now.

Rule: pure. Age decides always; memory only where the server has a limit. What is held stays: that
is for the trim itself to see.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from everfold.durations import DAY_S

KEEP_S = 7 * DAY_S
KEEP_SHARE = 0.6

ENOUGH = 0.95
"""Share of what may be used down to which is trimmed, so that not each write begins a trim."""

SPARED_S = 2.0
"""Events younger than this stay while there is room: somebody may be about to read them."""

URGENT_SHARE = 0.65
"""From this share of the server's memory on nothing is spared: writes would be refused."""

LOOK_EVERY_S, LOOK_AT_LEAST_EVERY_S = 0.1, 2.0
"""How often a server's memory is looked at: where little is left, and where much is. A full server
refuses writes; its limit may be changed at any time."""

FASTEST_BYTES_S = 200 * 1024 * 1024
"""How fast a server is taken to be filled at most."""


class Keep(Struct, frozen=True):
    """What the log may have."""

    age_s: float | None = KEEP_S
    """Seconds; None is for ever."""
    share: float | None = KEEP_SHARE
    """Share of the server's maxmemory; None is all of it."""

    @property
    def is_on(self) -> bool:
        return self.age_s is not None or self.share is not None


class Memory(Struct, frozen=True):
    """The memory of a server, in bytes."""

    used: int
    most: int
    """Its maxmemory, 0 for no limit."""

    @property
    def share(self) -> float:
        """How full it is; 0 without a limit."""
        return self.used / self.most if self.most > 0 else 0.0


class Pressure(Struct, frozen=True):
    """Memory is to be freed."""

    down_to: int
    """Bytes in use at which it is enough."""
    spared_s: float
    """Events younger than so many seconds stay."""


def read_memory(facts: Mapping[str, str]) -> Memory | None:
    """Return what INFO says of memory, None where it says nothing, or nothing that is a number."""
    texts = [facts.get(name, "") for name in ("used_memory", "maxmemory")]
    if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in texts):
        return None
    uncounted = facts.get("mem_not_counted_for_evict", "0")
    aside = int(uncounted) if uncounted.isascii() and uncounted.isdigit() else 0
    return Memory(max(0, int(texts[0]) - aside), int(texts[1]))


def pressure(keep: Keep, memory: Memory | None) -> Pressure | None:
    """Return what is to be freed now, None for nothing."""
    if memory is None or keep.share is None or memory.most <= 0:
        return None
    allowed = memory.most * keep.share
    if memory.used <= allowed:
        return None
    spared_s = 0.0 if memory.share >= max(URGENT_SHARE, keep.share) else SPARED_S
    return Pressure(int(allowed * ENOUGH), spared_s)


def look_after_s(keep: Keep, memory: Memory | None) -> float:
    """Return the seconds until a server's memory is to be looked at again."""
    if memory is None or keep.share is None or memory.most <= 0:
        return LOOK_AT_LEAST_EVERY_S
    left_s = (memory.most * keep.share - memory.used) / FASTEST_BYTES_S
    return min(LOOK_AT_LEAST_EVERY_S, max(LOOK_EVERY_S, left_s))


def sentence(keep: Keep, archive: str = "") -> str:
    """Say in one line what is kept, and what becomes of the rest."""
    parts = list[str]()
    if keep.age_s is not None:
        parts.append(f"events of the last {_span(keep.age_s)}")
    if keep.share is not None:
        parts.append(f"at most {keep.share:.0%} of the server's maxmemory")
    if not parts:
        return "everything: the server fills up, and then refuses all writes"
    rest = f"older ones are archived to {archive}" if archive else "older ones are trimmed"
    return f"{', '.join(parts)}; {rest}, except what is held"


def _span(seconds: float) -> str:
    for unit, size in (("d", DAY_S), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
