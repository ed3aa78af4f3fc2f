"""The steps of erasing a user whose jobs have all ended.

Rule: the key first, then the graphs, the states, which may be all that names them, the user's own
small files, and the assets.
Each step does what is left of it, so that a repeat finishes one that was interrupted.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from functools import partial

import anyio

from everfold.erasing.erasing import LOOK_EVERY_S, Erased
from everfold.erasing.erasure import begin, end
from everfold.erasing.user_content import UserContent, UserJobs, assets_of
from everfold.projector.reading.named_assets import is_named
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.sweeping import Sweeper
from everfold.streams.assets.upload_names import forget_names
from everfold.streams.errors import WrongKeyType
from everfold.streams.leases.acts import note_act
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.retry import with_retry
from everfold.streams.redis.script import Script
from everfold.streams.sealing.user_keys import drop_key
from everfold.streams.user_files.user_files import forget_user

REFUSED_LIMIT = 20
"""What could not be deleted, as a result names it."""

_erase_state = Script("everfold.projector", "erase_state")
_forget_graph = Script("everfold.streams", "forget_graph")


async def erase_user(
    log: Log, store: AssetStore, content: UserContent, jobs: UserJobs, canceled: int
) -> Erased:
    """Erase a user; `jobs` are the user's, all ended. Raises a leaf of Unavailable: repeat it."""
    user = content.user
    detail = f"{content.jobs} jobs, {content.assets} assets, {content.asset_bytes} bytes"
    await note_act(log, "erase_user", user, detail)
    had_key = await with_retry(lambda: drop_key(log.redis, log.keys, user), log.retry_for_s)
    if log.sealing is not None:
        log.sealing.forget()
    refused = dict[str, str]()
    own = sorted(jobs.graphs - jobs.of_others)
    graphs = await _count(refused, ((sha256, forget_graph(log, p, sha256)) for p, sha256 in own))
    names = sorted(jobs.jobs)
    states = await _count(refused, ((job_id, erase_state(log, job_id)) for job_id in names))
    await with_retry(lambda: forget_names(store, user), log.retry_for_s)
    hidden = ("PEXPIRE", log.keys.hidden(user), 0)
    await with_retry(lambda: command(log.redis, *hidden), log.retry_for_s)
    await with_retry(lambda: forget_user(log, user), log.retry_for_s)
    assets, removed_bytes = await _remove_assets(log, store, user)
    return Erased(
        user=user,
        key=had_key,
        canceled=canceled,
        states=states,
        graphs=graphs,
        assets=assets,
        asset_bytes=removed_bytes,
        refused=refused,
        left=content,
    )


async def _count(
    refused: dict[str, str], steps: Iterable[tuple[str, Coroutine[object, object, bool]]]
) -> int:
    """Return how many steps did something; note of others which key they could not use."""
    done = 0
    for name, step in steps:
        try:
            done += await step
        except WrongKeyType as error:
            if len(refused) < REFUSED_LIMIT:
                refused[name] = str(error)
    return done


async def erase_state(log: Log, job_id: str) -> bool:
    """Delete a job's state; say whether there was one."""
    partition = log.keys.partition_of(job_id)
    jobs, rebuilt = log.keys.jobs(partition), log.keys.jobs(partition, rebuilding=True)
    indexes = (jobs.active(), jobs.ended(), jobs.index(), jobs.indexed())
    touched = (jobs.job(job_id), *indexes, rebuilt.job(job_id))
    reply = await with_retry(
        lambda: _erase_state.run(log.redis, touched, (job_id,)), log.retry_for_s
    )
    return reply[0] == b"erased"


async def forget_graph(log: Log, partition: int, sha256: str) -> bool:
    """Delete a stored graph; say whether there was one."""
    keys = log.keys
    touched = (
        keys.workflow(partition, sha256),
        keys.workflows(partition),
        keys.graph_assets(partition),
    )
    reply = await with_retry(
        lambda: _forget_graph.run(log.redis, touched, (sha256,)), log.retry_for_s
    )
    return reply[0] == b"forgotten"


async def _remove_assets(log: Log, store: AssetStore, user: str) -> tuple[int, int]:
    """Remove a user's assets, and their bytes at once where nobody else needs them; return how many
    assets, and how many bytes. Waits for others that are removing the same bytes, or have died
    over it."""
    assets = await assets_of(store, user)
    erasure = await begin(log, user, {asset.hash for asset in assets})
    for asset in assets:
        await store.remove(asset.id)
    sweeper = Sweeper(store, partial(is_named, log))
    removed_bytes, left = 0, erasure.hashes
    while True:
        size_bytes, left = await sweeper.remove_bytes(left)
        removed_bytes += size_bytes
        if not left:
            break
        await anyio.sleep(LOOK_EVERY_S)
    await end(log, user)
    return len(assets), removed_bytes
