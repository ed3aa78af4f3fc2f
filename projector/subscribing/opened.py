"""Opens what is sealed in a delivery, right before a subscriber gets it."""

from __future__ import annotations

from everfold.projector.subscribing.delivery import Delivery
from everfold.streams.appending.log import Log


async def opened(log: Log, delivery: Delivery) -> Delivery:
    """Return a delivery with its content as it was given. Raises as `Log.opened` does."""
    if log.sealing is None:
        return delivery
    (record,) = await log.opened_records([delivery.record])
    return Delivery(record, await log.opened(delivery.job, record.job_id))
