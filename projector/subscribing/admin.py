"""What can be done to a subscription: create, reset and remove it; retry or skip its held jobs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping

import msgspec

from everfold.projector.subscribing.held import GAP, Held, skip_event, try_now
from everfold.projector.subscribing.status import (
    description_of,
    held_job,
    held_jobs,
    is_listed,
    subscriptions,
)
from everfold.projector.subscribing.subscription import (
    BEGINNING,
    NOW,
    Description,
    Subscription,
    group_name,
)
from everfold.streams.appending.log import Log
from everfold.streams.border.logger import get_logger
from everfold.streams.errors import (
    InvalidName,
    JobNotHeld,
    Misconfigured,
    Refused,
    SubscriptionUnknown,
    WrongKeyType,
)
from everfold.streams.events.checks import check_name
from everfold.streams.events.record import NO_ENTRY, entry_before, entry_order
from everfold.streams.events.stored_fields import GREATEST, stored_entry_id
from everfold.streams.reading.consumer_group import ConsumerGroup
from everfold.streams.reading.reader import last_entry_ids
from everfold.streams.reading.readers import group_positions, trimmed_to
from everfold.streams.redis.each import each
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import server_time_ms

logger = get_logger("everfold.subscribing")

_change_held = Script("everfold.projector", "change_held")
_reset = Script("everfold.projector", "reset_subscription")

CHECKPOINT = b"checkpoint"

_ENTRY_ID = re.compile(r"[0-9]{1,16}(-[0-9]{1,20})?")


async def create(log: Log, subscription: Subscription) -> None:
    """Store a subscription with its first checkpoints, its groups, and its description.

    Where it exists, its checkpoints stay as they are and its description is replaced. Raises
    Misconfigured for a `start` that makes no sense, Unavailable.
    """
    checkpoints = await start_checkpoints(log, subscription.start)
    # First, so that what is left of one that died here can be removed.
    now_ms = await server_time_ms(log.redis)
    description = Description(subscription.wants, subscription.about, now_ms)
    text = msgspec.json.encode(description)
    await command(log.redis, "HSET", log.keys.subscriptions(), subscription.name, text)

    async def begin(partition: int) -> None:
        key = log.keys.subscription(partition, subscription.name).checkpoint()
        stored = await read_hash(log.redis, key)
        after = stored_entry_id({CHECKPOINT: checkpoints[partition].encode(), **stored}, CHECKPOINT)
        if after is None:
            return  # its consumer says so
        # Before the checkpoint: what follows that must wait for the group, whoever dies in between.
        with contextlib.suppress(WrongKeyType):  # its consumer says so, too
            await ConsumerGroup(log, subscription.group, log.actor).create(partition, after)
        trimmed = (await trimmed_to(log, partition)).entry_id
        await command(log.redis, "HSETNX", key, "began", trimmed)
        await command(log.redis, "HSETNX", key, "checkpoint", after)

    (await each(log, begin)).all()


async def create_again(log: Log, subscription: Subscription, partition: int) -> None:
    """Store the checkpoint of one partition that the server has lost.

    It is where the group stands, and the beginning where the group is lost, too. Nothing is written
    once the subscription was removed. Raises Unavailable.
    """
    if not await is_listed(log, subscription.name):
        return
    logger.error("checkpoint_lost subscription=%s partition=%s", subscription.name, partition)
    position = (await group_positions(log, partition)).get(subscription.group, NO_ENTRY)
    key = log.keys.subscription(partition, subscription.name).checkpoint()
    trimmed = (await trimmed_to(log, partition)).entry_id
    await command(log.redis, "HSETNX", key, "began", trimmed)
    await command(log.redis, "HSETNX", key, "checkpoint", position)


async def start_checkpoints(log: Log, start: str) -> Mapping[int, str]:
    """Return for each partition the entry id after which to begin.

    `start` is BEGINNING, NOW, an entry id or a Unix time in milliseconds; delivery begins with the
    first entry at or after it. Raises Misconfigured for any other text, Unavailable.
    """
    if start == NOW:
        return await last_entry_ids(log)
    if start == BEGINNING:
        after = NO_ENTRY
    elif _ENTRY_ID.fullmatch(start) and entry_order(start)[1] <= GREATEST:
        after = entry_before(start)
    else:
        raise Misconfigured(
            f"a subscription cannot begin at {start!r}; write beginning, now, an entry id such as "
            "1700000000000-0, or a Unix time in milliseconds"
        )
    return dict.fromkeys(range(log.keys.partitions), after)


async def retry(log: Log, name: str, job_id: str) -> None:
    """Make a held job due now, with all its tries; its consumer notices within a second or two.

    Raises SubscriptionUnknown, JobNotHeld, Unavailable.
    """
    await _change(log, name, job_id, try_now, acknowledge=False)


async def retry_all(log: Log, name: str) -> int:
    """Do the same for all parked jobs; return how many there were.

    Raises SubscriptionUnknown, Unavailable, and JobNotHeld when one is no longer held by then.
    """
    await description_of(log, name)
    parked = await held_jobs(log, name, only_parked=True)
    for job in parked:
        await retry(log, name, job.job_id)
    return len(parked)


async def skip(log: Log, name: str, job_id: str) -> None:
    """Acknowledge the event that a job is held at without delivering it; make the next one due.

    Raises SubscriptionUnknown, JobNotHeld, Unavailable, and Refused where events are missing.
    """
    await _change(log, name, job_id, _skipped, acknowledge=True)


def _skipped(held: Held) -> Held:
    if held.cause == GAP:
        raise Refused(
            f"there is no event to skip, events are missing: {held.why}; import them "
            "(`everfold archive import`) and retry, or start elsewhere (`subscriptions reset`)"
        )
    return skip_event(held)


async def _change(
    log: Log, name: str, job_id: str, change: Callable[[Held], Held], *, acknowledge: bool
) -> None:
    await description_of(log, name)
    partition = log.keys.partition_of(job_id)
    keys = log.keys.subscription(partition, name)
    while True:
        found = await held_job(log, name, job_id)
        if found is None:
            raise JobNotHeld(name, job_id)
        held, seen = found
        entry_id = held.entry_id if acknowledge else ""
        reply = await _change_held.run(
            log.redis,
            (log.keys.log(partition), keys.checkpoint(), keys.held()),
            (job_id, seen, msgspec.json.encode(change(held)), group_name(name), entry_id),
        )
        if reply[0] == b"changed":
            return


async def reset(log: Log, name: str, to: str) -> int:
    """Move a subscription's checkpoints, drop its held jobs; return how many jobs were held.

    `to` is like `start` in `start_checkpoints`. Everything after it is delivered, even if it was
    delivered before. Raises SubscriptionUnknown, Misconfigured, Unavailable (some partitions may
    have been reset).
    """
    await description_of(log, name)
    held = 0
    for partition, entry_id in (await start_checkpoints(log, to)).items():
        keys = log.keys.subscription(partition, name)
        touched = (log.keys.log(partition), keys.checkpoint(), keys.held())
        reply = await _reset.run(log.redis, touched, (group_name(name), entry_id))
        held += int(str(reply[1]))
    return held


async def remove(log: Log, name: str) -> None:
    """Delete a subscription; events that it has not taken may then be trimmed.

    A consumer that still runs ends with SubscriptionUnknown. Raises SubscriptionUnknown, and
    Unavailable (some partitions may have been deleted): it may be repeated.
    """
    known = await subscriptions(log)
    with contextlib.suppress(InvalidName):  # no subscription has such a name
        check_name("subscription", name)
        was_listed = await command(log.redis, "HDEL", log.keys.subscriptions(), name)
        # What is left of a removal that was interrupted would hold the trim for ever.
        if await delete_keys(log, name) or was_listed:
            return
    raise SubscriptionUnknown(name, tuple(known))


async def delete_keys(log: Log, name: str) -> bool:
    """Delete what a subscription that is no longer listed has left; say whether there was
    anything. Raises Unavailable."""

    async def delete(partition: int) -> bool:
        keys = log.keys.subscription(partition, name)
        log_key = log.keys.log(partition)
        groups: object = 0
        if await command(log.redis, "EXISTS", log_key):
            groups = await command(log.redis, "XGROUP DESTROY", log_key, group_name(name))
        return any((groups, await command(log.redis, "DEL", keys.checkpoint(), keys.held())))

    return any((await each(log, delete)).all())
