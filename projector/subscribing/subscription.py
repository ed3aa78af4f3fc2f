"""A subscription: a name, a filter, and your function that gets each event.

Rule: each event is delivered at least once, in order per job. To act once only, remember the
event's id, or the job and the sequence number. What the function raises says what happens next:
GiveUp parks the job, TargetAway (or Unavailable) makes its partition wait, TryLater and any other
error hold the job for a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import cast

from msgspec import Struct

from everfold.projector.subscribing.delivery import Delivery, Filter, filter_of
from everfold.projector.subscribing.held import RETRY_S
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.checks import check_list, check_name, check_text
from everfold.streams.events.ranges import check_number, check_numbers

DeliverOne = Callable[[Delivery], Awaitable[None]]

BEGINNING, NOW = "beginning", "now"
"""Where a new subscription begins; or at an entry id, or a Unix time in ms."""


def group_name(subscription: str) -> str:
    """Return the name of a subscription's consumer group on the log of each partition."""
    return f"subscription:{subscription}"


def _waits(seconds: object) -> tuple[float, ...]:
    """Return the waits between tries. Raises InvalidName."""
    waits = check_list("retry_s", seconds)
    for wait in waits:
        check_number("retry_s", wait)
    return cast("tuple[float, ...]", waits)


class GiveUp(Exception):
    """Raised by a subscriber: another try will not help. The job is parked at this event."""


class TryLater(Exception):
    """Raised by a subscriber: try this event again, at the earliest in `after_s` seconds.

    It counts as a failed try, after the last of which the job is parked, unless `counts` is False:
    then nothing was tried, and the wait is `after_s`.
    """

    def __init__(self, why: str, after_s: float, *, counts: bool = True) -> None:
        super().__init__(why)
        check_number("after_s", after_s)
        if not isinstance(counts, bool):
            raise InvalidName("counts", counts, "it is True or False")
        self.after_s, self.counts = after_s, counts


class TargetAway(Exception):
    """Raised by a subscriber: nothing can be delivered now. The partition waits and tries again,
    for up to 15 s each time; no job is held and no try is counted."""


class Description(Struct, frozen=True):
    """What lists show about a subscription."""

    wants: Filter
    about: str
    """A few words: a function's name, a sink's target."""
    made_at_ms: int
    """When a consumer of it has last started, Unix ms of the server."""


class Subscription:
    """Decorate a function with it, or write a subclass with its own `deliver`.

        @Subscription("receipts", types=["job.succeeded"])
        async def send_receipt(delivery: Delivery) -> None: ...

    `types`, `kinds` and `users` filter events; an empty one matches all. `start` says where a new
    subscription begins (BEGINNING, NOW, an entry id, a Unix time in ms); one that exists goes on
    from its checkpoint. With `batch` above 1, `deliver` gets up to that many events of many jobs
    at once; else up to `concurrency` jobs of each partition are delivered at the same time.
    `retry_s` are the seconds to wait between tries of an event, `timeout_s` is the limit of one
    try. Raises Misconfigured for a type that does not exist, InvalidName for other arguments.
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
        self.start, self.batch, self.concurrency = start, batch, concurrency
        self.retry_s, self.timeout_s = _waits(retry_s), timeout_s
        check_numbers(self, ("batch", "concurrency", "timeout_s"))
        check_text("start", start, least=1)
        self.about = check_text("about", about) or type(self).__name__
        self._deliver_one: DeliverOne | None = None

    def __call__(self, deliver_one: DeliverOne) -> Subscription:
        """Call this function for each event: the decorator form. Returns the subscription."""
        self._deliver_one = deliver_one
        self.about = getattr(deliver_one, "__qualname__", self.about)
        return self

    @property
    def group(self) -> str:
        """Its consumer group on the log of each partition."""
        return group_name(self.name)

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Act on some events, in log order; overridden by subclasses.

        When it returns, all of them are acknowledged. When it raises for several, each is
        delivered again alone, to find the one that fails.
        """
        if self._deliver_one is None:
            raise Misconfigured(f"subscription {self.name!r} has neither a function nor `deliver`")
        for delivery in deliveries:
            await self._deliver_one(delivery)
