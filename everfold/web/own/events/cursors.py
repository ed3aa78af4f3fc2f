"""Where a reader of all events is: the last entry that it has of each partition, as one text.

Rule: pure, and the same at every gateway of a namespace, so that a reader goes on at another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from everfold.streams.errors import InvalidName

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

_PLACE = re.compile(r"([0-9a-z]{1,13})(?:-([0-9a-z]{1,13}))?")

PARTITIONS_LIMIT = 1024
"""A namespace has no more."""


class Cursors:
    """The last entry id of each partition, and the text of all of them."""

    def __init__(self, entry_ids: Mapping[int, str]) -> None:
        self._texts = [_short(entry_ids[partition]) for partition in range(len(entry_ids))]
        self._orders = [_order(entry_ids[partition]) for partition in range(len(entry_ids))]

    def takes(self, partition: int, entry_id: str) -> bool:
        """Move a partition to an entry; False where the reader has it already."""
        order = _order(entry_id)
        if order <= self._orders[partition]:
            return False
        self._orders[partition], self._texts[partition] = order, _short(entry_id)
        return True

    @property
    def entry_ids(self) -> dict[int, str]:
        """Partition -> entry id."""
        return {p: f"{time_ms}-{count}" for p, (time_ms, count) in enumerate(self._orders)}

    def __str__(self) -> str:
        return ".".join(self._texts)


def read_cursors(text: str, partitions: int) -> Cursors:
    """Return the place that a text names. Raises InvalidName for one of another namespace."""
    places = text.split(".", PARTITIONS_LIMIT)
    found = [_PLACE.fullmatch(place) for place in places]
    if len(found) != partitions or not all(found):
        raise InvalidName("cursor", text, "give back the id of an event of this namespace")
    numbers = [[int(part or "0", 36) for part in match.groups()] for match in found if match]
    if any(number >= 2**64 for pair in numbers for number in pair):
        raise InvalidName("cursor", text, "give back the id of an event of this namespace")
    return Cursors({p: f"{time_ms}-{count}" for p, (time_ms, count) in enumerate(numbers)})


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, count = entry_id.partition("-")
    return int(milliseconds), int(count or 0)


def _short(entry_id: str) -> str:
    milliseconds, count = _order(entry_id)
    return f"{_base36(milliseconds)}-{_base36(count)}" if count else _base36(milliseconds)


def _base36(number: int) -> str:
    digits = ""
    while number >= 36:
        number, digit = divmod(number, 36)
        digits = DIGITS[digit] + digits
    return DIGITS[number] + digits
