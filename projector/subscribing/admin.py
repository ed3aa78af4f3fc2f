"""What a person may do to a subscription: retry, skip, begin again elsewhere, remove it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from everfold.projector.subscribing.held import GAP, Held, skip_event, try_now
from everfold.projector.subscribing.status import held_job, held_jobs, known
from everfold.projector.subscribing.subscription import BEGINNING, NOW, Description, Subscription
from everfold.streams.appending.log import Log
from everfold.streams.errors import JobNotHeld, Misconfigured, Refused
from everfold.streams.events.record import NO_ENTRY, entry_before
from everfold.streams.reading.reader import last_entry_ids
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.scripts import Script
from everfold.streams.redis.server import server_time_ms

_let_go = Script("everfold.projector", "let_go")
_reset = Script("everfold.projector", "reset_subscription")

_ENTRY_ID = re.compile(r"\d{1,16}(-\d{1,20})?")


async def begin(log: Log, subscription: Subscription) -> None:
    """Make the subscription known, with its place in every partition; one that exists stays
    where it is. Raises Misconfigured for a `start` that makes no sense."""
    places = await places_after(log, subscription.start)
    for partition, entry_id in places.items():
        key = log.keys.subscription(partition, subscription.name).checkpoint()
        trimmed = (await trimmed_to(log, partition)).entry_id
        await command(log.redis, "HSETNX", key, "began", trimmed)
        await command(log.redis, "HSETNX", key, "checkpoint", entry_id)
    told = Description(subscription.wants, subscription.about, await server_time_ms(log.redis))
    key, text = log.keys.subscriptions(), msgspec.json.encode(told)
    await command(log.redis, "HSET", key, subscription.name, text)


async def places_after(log: Log, start: str) -> Mapping[int, str]:
    """Return the entry id after which to begin in each partition.

    `start` is "beginning", "now", an entry id (the first to be delivered, or the next after it),
    or a Unix time in milliseconds. Raises Misconfigured.
    """
    if start == NOW:
        return await last_entry_ids(log)
    if start == BEGINNING:
        after = NO_ENTRY
    elif _ENTRY_ID.fullmatch(start):
        after = entry_before(start)
    else:
        raise Misconfigured(
            f"a subscription cannot begin at {start!r}; write beginning, now, an entry id such as "
            "1700000000000-0, or a Unix time in milliseconds"
        )
    return dict.fromkeys(range(log.keys.partitions), after)


async def retry(log: Log, name: str, job_id: str) -> None:
    """Have a held job tried again now. Raises SubscriptionUnknown, JobNotHeld."""
    await _change(log, name, job_id, try_now, acknowledge=False)


async def retry_all(log: Log, name: str) -> int:
    """Have all parked jobs tried again; return how many. Raises SubscriptionUnknown."""
    await known(log, name)
    parked = await held_jobs(log, name, only_parked=True)
    for job in parked:
        await retry(log, name, job.job_id)
    return len(parked)


async def skip(log: Log, name: str, job_id: str) -> None:
    """Have a held job go on after the event that it is held at, which is not delivered.

    Raises SubscriptionUnknown, JobNotHeld, or Refused where events are missing.
    """
    await _change(log, name, job_id, _skipped, acknowledge=True)


def _skipped(held: Held) -> Held:
    if held.cause == GAP:
        raise Refused(
            f"there is no event to skip, events are missing: {held.why}; bring them back "
            "(`everfold archive import`) and retry, or begin elsewhere (`consumers reset`)"
        )
    return skip_event(held)


async def _change(
    log: Log, name: str, job_id: str, change: Callable[[Held], Held], *, acknowledge: bool
) -> None:
    await known(log, name)
    partition = log.keys.partition_of(job_id)
    keys = log.keys.subscription(partition, name)
    while True:
        found = await held_job(log, name, job_id)
        if found is None:
            raise JobNotHeld(name, job_id)
        held, seen = found
        entry_id = held.entry_id if acknowledge else ""
        reply = await _let_go.run(
            log.redis,
            (log.keys.log(partition), keys.checkpoint(), keys.held()),
            (job_id, seen, msgspec.json.encode(change(held)), group_of(name), entry_id),
        )
        if reply[0] == b"changed":
            return


async def reset(log: Log, name: str, to: str) -> int:
    """Begin again at a place, as if it had been made there; return how many jobs it held.

    `to` is as in `places_after`. Raises SubscriptionUnknown, Misconfigured.
    """
    await known(log, name)
    held = 0
    for partition, entry_id in (await places_after(log, to)).items():
        keys = log.keys.subscription(partition, name)
        places = (log.keys.log(partition), keys.checkpoint(), keys.held())
        reply = await _reset.run(log.redis, places, (group_of(name), entry_id))
        held += int(str(reply[1]))
    return held


async def remove(log: Log, name: str) -> None:
    """Forget a subscription: what it has not taken may be trimmed. Raises SubscriptionUnknown.

    A consumer that still runs makes it again, at the place that it was made with.
    """
    await known(log, name)
    await command(log.redis, "HDEL", log.keys.subscriptions(), name)
    for partition in range(log.keys.partitions):
        keys = log.keys.subscription(partition, name)
        log_key = log.keys.log(partition)
        if await command(log.redis, "EXISTS", log_key):
            await command(log.redis, "XGROUP DESTROY", log_key, group_of(name))
        await command(log.redis, "DEL", keys.checkpoint(), keys.held())


def group_of(name: str) -> str:
    return f"subscription:{name}"
