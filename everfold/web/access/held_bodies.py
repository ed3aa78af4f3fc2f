"""What has come of bodies that are still read: bounded for each caller, and for all of them.

Rule: whoever sends slowly holds memory meanwhile. So one caller holds a part of it at most, and
nobody is refused because of somebody else before all of it is held.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

from everfold.web.caller import Caller
from everfold.web.problem import Problem

OF_ONE_LIMIT_BYTES = 64 * 1024 * 1024
OF_ALL_LIMIT_BYTES = 256 * 1024 * 1024
RETRY_S = 5


class HeldBodies:
    """The bodies of one gateway."""

    def __init__(self) -> None:
        self.bytes = 0
        self._of_one = Counter[tuple[str, str]]()

    @contextlib.contextmanager
    def holding(self, caller: Caller) -> Iterator[Callable[[int], None]]:
        """Yield what is told of each part of a body that came, and raises Problem for too much."""
        who, held = (caller.key_id, caller.user), 0

        def more(size: int) -> None:
            nonlocal held
            of_one, of_all = self._of_one[who] + size, self.bytes + size
            if of_one > OF_ONE_LIMIT_BYTES or of_all > OF_ALL_LIMIT_BYTES:
                whose = "you are" if of_one > OF_ONE_LIMIT_BYTES else "others are"
                why = f"{whose} sending too much at once: repeat the request in a moment"
                raise Problem(503, "busy", why, retry_after_s=RETRY_S)
            held, self.bytes = held + size, of_all
            self._of_one[who] = of_one

        try:
            yield more
        finally:
            self.bytes -= held
            self._of_one[who] -= held
            if not self._of_one[who]:
                del self._of_one[who]
