"""Claims in a spread namespace: within the limits of what may run, which a script cannot count.

Rule: what has no limit is claimed as anywhere. What a script answers to have a limit is reserved
first, and claimed again with that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import msgspec

from everfold.streams.layout.reservations import USED_WITHIN_MS, Reservations, Wanted
from everfold.streams.redis.scripts import Reply

ROUNDS_LIMIT = 50
"""How often one call asks again: each time another limit may come up."""

Claim = Callable[[Sequence[int], bytes | None], Awaitable[list[Reply]]]
"""Claims for the wanted of these indexes, with what was reserved, as claim.lua takes it."""


async def claim_within_limits(
    reservations: Reservations, count: int, claim: Claim, *, tells_only: bool = False
) -> list[tuple[int, Reply]]:
    """Claim for `count` wanted; return each reply with the index of what it is for.

    With `tells_only`, for a claim that leases nothing, one is reserved of each limit. Raises what
    `claim` raises, a leaf of Unavailable where nothing can be reserved.
    """
    found = list[tuple[int, Reply]]()
    limits = dict[str, int]()
    asked, replies = list(range(count)), await claim(range(count), None)
    for rounds in range(ROUNDS_LIMIT + 1):
        found += [(asked[_which(one)], one) for one in replies if not _asks(one)]
        asking = [one for one in replies if _asks(one)]
        if not asking or rounds == ROUNDS_LIMIT:
            break
        for one in asking:
            names = (cast("bytes", name).decode() for name in one[3::2])
            limits |= zip(names, map(int, one[4::2]), strict=True)
        asked = [asked[_which(one)] for one in asking]
        until_ms = max(int(one[2]) for one in asking) + USED_WITHIN_MS
        number = 1 if tells_only else len(asked)
        wanted = {f"running {name}": Wanted(limit, number) for name, limit in limits.items()}
        async with reservations.reserved(wanted) as granted:
            numbers = [
                text for name in limits for text in (name, granted[f"running {name}"].number)
            ]
            replies = await claim(asked, msgspec.json.encode([until_ms, *numbers]))
    return found


def _asks(reply: Reply) -> bool:
    """Say whether limits are to be reserved first. What only tells of a full line names none."""
    return reply[0] == b"" and len(reply) > 2


def _which(reply: Reply) -> int:
    return int(reply[1] if reply[0] == b"" else reply[6]) - 1
