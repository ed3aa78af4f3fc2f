"""Values that are dear to make, the ones used last, within a number of bytes.

Rule: pure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedCache(Generic[T]):
    """Keeps values of at most `limit_bytes` together; the one that was used longest ago goes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self.size_bytes = 0

    def get(self, key: Hashable) -> T | None:
        """Return a value that is kept."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: T, size_bytes: int) -> None:
        """Keep a value; one that is larger than a quarter of all is not kept."""
        self._drop(key)
        if size_bytes > self._limit_bytes // 4:
            return
        self._values[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self._limit_bytes:
            self._drop(next(iter(self._values)))

    def _drop(self, key: Hashable) -> None:
        if (found := self._values.pop(key, None)) is not None:
            self.size_bytes -= found[1]
