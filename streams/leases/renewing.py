"""Renews leases, those of each partition by themselves.

Rule: a partition that does not answer costs no other one's leases their time.
"""

from __future__ import annotations

from collections.abc import Sequence

from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease, LeaseOver, Renewed, renew_outcome
from everfold.streams.redis import scripts
from everfold.streams.redis.each import each

RENEW_LIMIT = 500
"""Leases renewed in one script call."""


async def renew(
    log: Log, runner: str, leases: Sequence[Lease], *, grace_s: float
) -> list[Renewed | LeaseOver]:
    """Renew a runner's leases; return one outcome for each, in the same order.

    A lease that is over is a LeaseOver, not an error. Raises a leaf of Unavailable, without a
    retry: PartitionsUnavailable when those of all other partitions were renewed. No partition is
    waited for longer than `grace_s` beyond the first that answers.
    """
    keys, by_partition = log.keys, dict[int, dict[str, list[int]]]()
    for index, lease in enumerate(leases):
        partition = keys.partition_of(lease.job_id)
        dispatch = keys.dispatch(partition, lease.queue, lease.priority)
        by_partition.setdefault(partition, {}).setdefault(dispatch, []).append(index)
    outcomes: dict[int, Renewed | LeaseOver] = {}

    async def renew_in(partition: int) -> None:
        for dispatch, indexes in by_partition[partition].items():
            for start in range(0, len(indexes), RENEW_LIMIT):
                page = indexes[start : start + RENEW_LIMIT]
                replies = await scripts.renew(
                    log.redis,
                    dispatch=dispatch,
                    runner=runner,
                    heads=[keys.head(leases[i].job_id) for i in page],
                    leases=[(leases[i].epoch, leases[i].dispatch_id) for i in page],
                )
                outcomes.update(zip(page, map(renew_outcome, replies), strict=True))

    (await each(log, renew_in, sorted(by_partition), grace_s=grace_s)).all()
    return [outcomes[index] for index in range(len(leases))]
