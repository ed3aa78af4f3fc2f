"""What `everfold doctor` says of those who consume the stream."""

from __future__ import annotations

from everfold.commands.operate.doctor_log import Told
from everfold.commands.words import span
from everfold.projector.subscribing.status import subscription_status, subscriptions
from everfold.streams.appending.log import Log

BEHIND_LIMIT_S = 60.0


async def examine_subscriptions(log: Log) -> list[Told]:
    return [await _examine(log, name) for name in await subscriptions(log)]


async def _examine(log: Log, name: str) -> Told:
    rows = await subscription_status(log, name)
    behind = sum(row.lag_events for row in rows)
    behind_s = max(row.lag_s for row in rows)
    consumers = {row.owner for row in rows} - {""}
    parked, waiting = sum(row.parked for row in rows), sum(row.waiting for row in rows)
    found = f"{behind:,} event(s) behind, {span(behind_s)}; {len(consumers)} consumer(s)"
    if waiting:
        found += f"; {waiting} job(s) to be tried again"
    advice = ""
    if parked:
        found += f"; {parked} job(s) parked"
        advice = f"see `everfold consumers parked {name}`"
    elif not consumers:
        advice = f"start it again, or remove it: `everfold consumers rm {name}`"
    elif behind_s > BEHIND_LIMIT_S:
        advice = f"it does not keep up: start another one; see `everfold consumers show {name}`"
    return (f"subscription {name}", found, advice)
