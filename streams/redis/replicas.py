"""How many replicas must have what was written before it counts as done.

Rule: a write and its WAIT leave together, and a repeat writes, too: the server answers a WAIT at
once on a connection that has written nothing, although no replica has what another one wrote.
"""

from __future__ import annotations

from typing import Literal, cast

from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.connection import Argument
from everfold.streams.errors import TooFewReplicas
from everfold.streams.events.checks import check_choice
from everfold.streams.events.ranges import check_number
from everfold.streams.redis.redis_errors import command, commands_together
from everfold.streams.telemetry.measures import counter

ReplicasFor = Literal["ends", "all"]

ALL_WITHIN_S = 5.0
"""How long an intent waits for every living replica. In a failover by hand one of them is a primary
already, and confirms nothing, while the others still follow the old one, which takes writes until
then: a second or two. One that only lags or hangs must not hold prompts up for longer."""

TOO_FEW = counter(
    "everfold_too_few_replicas", "Writes that fewer replicas had in time than were asked for."
)


class Replicas(Struct, frozen=True):
    """What a process asks for. Raises InvalidName for what makes no sense."""

    count: int = 0
    """Replicas that must have a write; 0 waits for none."""
    within_s: float = 1.0
    """Seconds that are waited for them, each time."""
    events: ReplicasFor = "ends"
    """Of events: those that end a job, ask for its cancel, release it or say that a prompt is about
    to be sent, or all of them."""
    intents: bool = True
    """Whether an intent waits for replicas also where `count` is 0."""

    def __post_init__(self) -> None:
        check_number("replicas", self.count)
        check_number("replicas_within_s", self.within_s)
        check_choice("replicas_for", self.events, ("ends", "all"))

    def needed(self, effect: str, is_intent: bool, living: int, waited_s: float = 0.0) -> int:
        """Return how many replicas must have an event that does this to its job ("" for nothing),
        where so many of its server live and it has waited for so long.

        An intent waits for all of these at first, and for one in any case: of a prompt that was
        sent by word of a primary that is cut off, or in whose place another one is put now, nobody
        else knows, and it would be sent again.
        """
        if self.count:
            return self.count if effect or is_intent or self.events == "all" else 0
        if not (is_intent and self.intents):
            return 0
        return living if waited_s < ALL_WITHIN_S else min(1, living)

    def asked(
        self,
        replicas: int | Replicas | None,
        within_s: float | None = None,
        events: ReplicasFor | None = None,
    ) -> Replicas:
        """Return what a caller asks for, with what stands here for what is None.

        A caller that says 0 waits for none, not even with intents. Raises InvalidName.
        """
        if isinstance(replicas, Replicas):
            return replicas
        return Replicas(
            self.count if replicas is None else replicas,
            self.within_s if within_s is None else within_s,
            self.events if events is None else events,
            self.intents and not (isinstance(replicas, int) and replicas == 0),
        )


NONE = Replicas()


async def replicated(
    redis: Redis, replicas: Replicas, *write: Argument
) -> tuple[object, TooFewReplicas | None]:
    """Send a write and wait for the replicas; return its answer, and what is to be raised where
    fewer of them have it in time: then it is done on the primary.

    Raises as `command` does, and then it may have been done.
    """
    wait = ("WAIT", replicas.count, int(replicas.within_s * 1000))
    answers = await commands_together(cast("LedgerRedis", redis), write, wait)
    had = cast("int", answers[1])
    if had >= replicas.count:
        return answers[0], None
    TOO_FEW.add()
    return answers[0], TooFewReplicas(had, replicas.count, replicas.within_s)


async def write(redis: Redis, replicas: Replicas, *words: Argument) -> object:
    """Send a write that may be repeated as it is. Raises as `replicated`, and TooFewReplicas."""
    if not replicas.count:
        return await command(redis, *words)
    answer, too_few = await replicated(redis, replicas, *words)
    if too_few is not None:
        raise too_few
    return answer
