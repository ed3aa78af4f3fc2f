"""A subscription: a name, which events, and what is to be done with each.

Rule: what it does is done at least once per event, in order per job; to be done once only, it must
know what it has done by the event's id or by job and sequence number. What it raises says what
happens next: GiveUp parks the job, TargetAway (or Unavailable) lets its partition wait, TryLater
and anything else hold the job for a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from msgspec import Struct

from everfold.projector.subscribing.delivery import Delivery, Filter, filter_of
from everfold.projector.subscribing.held import RETRY_S
from everfold.streams.errors import Misconfigured
from everfold.streams.events.checks import check_name

Each = Callable[[Delivery], Awaitable[None]]
Batch = Callable[[Sequence[Delivery]], Awaitable[None]]

BEGINNING, NOW = "beginning", "now"
"""Where a new subscription begins; else an entry id, or a Unix time in ms."""


class GiveUp(Exception):
    """Raised by a subscriber: no further try will help, park the job at this event."""


class TryLater(Exception):
    """Raised by a subscriber: not now, but not before `after_s` seconds either."""

    def __init__(self, why: str, after_s: float) -> None:
        super().__init__(why)
        self.after_s = after_s


class TargetAway(Exception):
    """Raised by a subscriber: nothing can be delivered now, whatever the job; wait."""


class Description(Struct, frozen=True):
    """What a subscription is about, as lists show it."""

    wants: Filter
    about: str
    """In a few words: a function's name, a sink's target."""
    made_at_ms: int


class Subscription:
    """Made with a function, or as a class of one's own with `deliver`.

        @Subscription("receipts", types=["job.succeeded"])
        async def send_receipt(delivery: Delivery) -> None: ...

    `batch` above 1 gives `deliver` up to so many events of many jobs at a time; else up to
    `concurrency` jobs of a partition are delivered at the same time, each in its order.
    `retry_s` are the waits between tries. Raises Misconfigured or InvalidName.
    """

    def __init__(
        self,
        name: str,
        *,
        types: Iterable[str] = (),
        kinds: Iterable[str] = (),
        users: Iterable[str] = (),
        start: str = BEGINNING,
        batch: int = 1,
        concurrency: int = 8,
        retry_s: Sequence[float] = RETRY_S,
        timeout_s: float = 60.0,
        about: str = "",
    ) -> None:
        self.name = check_name("subscription", name)
        self.wants = filter_of(types, kinds, users)
        if batch < 1 or concurrency < 1 or timeout_s <= 0 or any(s < 0 for s in retry_s):
            raise Misconfigured(
                f"subscription {name!r}: batch and concurrency are at least 1, timeout_s is above "
                "0, and no wait of retry_s is below 0"
            )
        self.start, self.batch, self.concurrency = start, batch, concurrency
        self.retry_s, self.timeout_s = tuple(retry_s), timeout_s
        self.about = about or type(self).__name__
        self._each: Each | None = None

    def __call__(self, each: Each) -> Subscription:
        """Use a function for each event: the decorator form."""
        self._each, self.about = each, getattr(each, "__qualname__", self.about)
        return self

    @property
    def group(self) -> str:
        """Its consumer group on the log of each partition."""
        return f"subscription:{self.name}"

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Do what is to be done with some events, in their order."""
        if self._each is None:
            raise Misconfigured(f"subscription {self.name!r} has neither a function nor `deliver`")
        for delivery in deliveries:
            await self._each(delivery)
