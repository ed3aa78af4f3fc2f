"""Buffers acknowledgements and changes of held jobs; one script call writes them.

Rule: what is noted while a write is under way goes with the next one, so acknowledging each event
at once does not cost a round trip each.
"""

from __future__ import annotations

import anyio
import msgspec

from everfold.projector.assignment.assignment import PartitionLeaseLost
from everfold.projector.subscribing.held import Held
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.appending.log import Log
from everfold.streams.redis.script import Script

_acknowledge = Script("everfold.projector", "acknowledge")
_pack = msgspec.msgpack.Encoder().encode


class StartOver(Exception):
    """What is in memory may be out of date: read what is stored, and go on from there."""


class Acks:
    """Collects what happened to the entries of one partition, until `write`.

    `token` is that of the process that owns the partition. Call `start_over` before anything else.
    """

    def __init__(self, log: Log, partition: int, token: str, subscription: Subscription) -> None:
        keys = log.keys.subscription(partition, subscription.name)
        self._redis, self._token, self._group = log.redis, token, subscription.group
        self._keys = (log.keys.log(partition), keys.checkpoint(), keys.held())
        self._writing = anyio.Lock()
        self.start_over("0")

    def start_over(self, resets: str) -> None:
        """Drop what is noted and not written. `resets` is the stored count of resets: a write is
        refused once it has changed."""
        self._resets = resets
        self._entry_ids: list[str] = []
        self._held: dict[str, Held | None] = {}
        self._delivered = self._failed = self._left_out = 0

    def delivered(self, *entry_ids: str) -> None:
        """Note events that the subscriber has taken."""
        self._entry_ids += entry_ids
        self._delivered += len(entry_ids)

    def ignored(self, *entry_ids: str) -> None:
        """Note entries that the subscription does not want."""
        self._entry_ids += entry_ids

    def left_out(self, *entry_ids: str) -> None:
        """Note wanted events that cannot be delivered: their jobs began before the subscription."""
        self._entry_ids += entry_ids
        self._left_out += len(entry_ids)

    def held(self, job_id: str, held: Held) -> None:
        """Note that a delivery failed and holds its job; its entry is not acknowledged."""
        self._held[job_id] = held
        self._failed += 1

    def resumed(self, job_id: str) -> None:
        """Note that a job is no longer held."""
        self._held[job_id] = None

    async def write(self, checkpoint: str = "") -> None:
        """Write everything noted so far, and a new checkpoint if one is given.

        Raises PartitionLeaseLost, StartOver when an operator has reset the subscription, or
        Unavailable; in each case the entries stay pending and are delivered again.
        """
        async with self._writing:
            if not (self._entry_ids or self._held or checkpoint):
                return
            arguments = (
                *(self._token, self._group, self._resets, checkpoint),
                *(_pack(self._entry_ids), _pack(_set_and_deleted(self._held))),
                _pack([self._delivered, self._failed, self._left_out]),
            )
            self.start_over(self._resets)
            reply = await _acknowledge.run(self._redis, self._keys, arguments)
        match reply:
            case [b"acknowledged"]:
                return
            case [b"not_owner", bytes(owner)]:
                raise PartitionLeaseLost(owner.decode())
        raise StartOver("the subscription was reset")


def _set_and_deleted(jobs: dict[str, Held | None]) -> tuple[list[str], list[str]]:
    """Return keys and values to set in turns, and the keys to delete."""
    kept = [
        text
        for job_id, held in jobs.items()
        if held is not None
        for text in (job_id, msgspec.json.encode(held).decode())
    ]
    return kept, [job_id for job_id, held in jobs.items() if held is None]
