"""Writing down what became of a partition's entries: acknowledged, held, or free again.

Rule: what is noted while a write is on its way goes with the next one, so that acknowledging each
event at once does not cost a round trip for each.
"""

from __future__ import annotations

import anyio
import msgspec

from everfold.projector.assignment.sharing import OwnershipLost
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.redis.scripts import Script

_settle = Script("everfold.projector", "settle")
_pack = msgspec.msgpack.Encoder().encode


class StartOver(Exception):
    """What is in memory may be out of date: read again what is stored, and go on from there."""


class Acks:
    """`resets` is what the owner knows of the subscription's resets; a write checks it."""

    def __init__(self, log: Log, partition: int, token: str, subscription: Subscription) -> None:
        place = log.keys.subscription(partition, subscription.name)
        self._redis, self._token, self._group = log.redis, token, subscription.group
        self._keys = (log.keys.log(partition), place.checkpoint(), place.held())
        self._writing = anyio.Lock()
        self.forget("0")

    def forget(self, resets: str) -> None:
        """Forget what was noted and not written."""
        self._resets = resets
        self._entries: list[str] = []
        self._held: dict[str, Held | None] = {}
        self._counts = [0, 0, 0]

    def delivered(self, *entry_ids: str) -> None:
        self._entries += entry_ids
        self._counts[0] += len(entry_ids)

    def ignored(self, entry_id: str) -> None:
        """Note an event that the subscription does not want."""
        self._entries.append(entry_id)

    def left_out(self, entry_id: str) -> None:
        """Note an event that the subscription wants and cannot have: its job began before it."""
        self._entries.append(entry_id)
        self._counts[2] += 1

    def held(self, job_id: str, held: Held) -> None:
        self._held[job_id] = held
        self._counts[1] += 1

    def free(self, job_id: str) -> None:
        self._held[job_id] = None

    async def write(self, checkpoint: str = "") -> None:
        """Write what was noted; when this returns, it is written.

        Raises OwnershipLost, StartOver when somebody moved the subscription, or Unavailable; in
        each case the entries stay pending and are delivered again.
        """
        async with self._writing:
            if not (self._entries or self._held or checkpoint):
                return
            entries, held, counts = self._entries, self._held, self._counts
            self.forget(self._resets)
            reply = await _settle.run(
                self._redis,
                self._keys,
                (
                    *(self._token, self._group, self._resets, checkpoint),
                    *(_pack(entries), _pack(_told(held)), _pack(counts)),
                ),
            )
        self._check(reply)

    def _check(self, reply: list[object]) -> None:
        match reply:
            case [b"settled"]:
                return
            case [b"not_owner", bytes(owner)]:
                raise OwnershipLost(owner.decode())
        raise StartOver("the subscription was reset")


def _told(held: dict[str, Held | None]) -> tuple[list[str], list[str]]:
    kept = [
        text
        for job_id, why in held.items()
        if why is not None
        for text in (job_id, msgspec.json.encode(why).decode())
    ]
    return kept, [job_id for job_id, why in held.items() if why is None]
