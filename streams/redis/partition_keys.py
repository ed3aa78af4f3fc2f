"""Keys of one partition that belong together: a projection, a subscription, the assets of owners.

Each with its type; `Keyspace` says where they begin.
"""

from __future__ import annotations

from msgspec import Struct


class JobsKeys(Struct, frozen=True):
    """The projection of jobs in one partition: the live one, or one being rebuilt beside it."""

    root: str

    def projector(self) -> str:
        """HASH: owner token, until when it is trusted, checkpoint, counters."""
        return f"{self.root}:projector"

    def parked(self) -> str:
        """HASH: job -> why its events cannot be folded, as JSON."""
        return f"{self.root}:parked"

    def job(self, job_id: str) -> str:
        """HASH with a TTL: the job's current state."""
        return f"{self.root}:job:{job_id}"

    def active(self) -> str:
        """ZSET: open jobs, by last event time in milliseconds."""
        return f"{self.root}:active"

    def ended(self) -> str:
        """ZSET: closed jobs with a state, by time of their end."""
        return f"{self.root}:ended"

    def index(self) -> str:
        """ZSET: of equal scores, jobs by user, status and so on, see lua/include/index_jobs.lua."""
        return f"{self.root}:index"

    def indexed(self) -> str:
        """HASH: job -> `o` while open, else `e` and its last time; then its names in the index."""
        return f"{self.root}:indexed"


class StatesKeys(Struct, frozen=True):
    """A custom projection in one partition: the live one, or one being rebuilt beside it."""

    root: str

    def projector(self) -> str:
        """HASH: owner token, until when it is trusted, checkpoint, counters."""
        return f"{self.root}:projector"

    def parked(self) -> str:
        """HASH: job -> why its events cannot be folded, as JSON."""
        return f"{self.root}:parked"

    def states(self) -> str:
        """HASH: the projection's own key -> its state, as JSON."""
        return f"{self.root}:states"


class SubscriptionKeys(Struct, frozen=True):
    """A subscription in one partition."""

    root: str

    def checkpoint(self) -> str:
        """HASH: checkpoint, owner token, until when it is trusted, counters."""
        return self.root

    def held(self) -> str:
        """HASH: job -> why its next event is not delivered yet, as JSON."""
        return f"{self.root}:held"


class AssetKeys(Struct, frozen=True):
    """What is known of stored bytes, in the partition of their owner."""

    root: str

    def records(self) -> str:
        """HASH: asset id -> what is known of it, as JSON."""
        return self.root

    def owned(self, owner: str) -> str:
        """ZSET: asset ids of one owner, by the time of their making in Unix milliseconds."""
        return f"{self.root}:owned:{owner}"

    def names(self, owner: str) -> str:
        """HASH with a TTL: ComfyUI's name of an owner's upload -> its asset's id and hash."""
        return f"{self.root}:names:{owner}"

    def owners(self) -> str:
        """HASH: owner -> bytes of all its assets."""
        return f"{self.root}:owners"

    def expiry(self) -> str:
        """ZSET: assets that are not kept for ever, by the Unix ms of their removal."""
        return f"{self.root}:expiry"

    def unconfirmed(self) -> str:
        """ZSET: assets that no known job names yet, by the Unix ms of their making."""
        return f"{self.root}:unconfirmed"

    def blobs(self) -> str:
        """HASH: hash of stored bytes -> how many assets here have them."""
        return f"{self.root}:blobs"

    def doomed(self) -> str:
        """HASH: hash of bytes that are being removed -> until when, in Unix milliseconds."""
        return f"{self.root}:doomed"
