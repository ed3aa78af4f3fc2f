"""The key kinds of a namespace: the fields that a kind has, and how much its damage may hurt.

Rule: the list of kinds and their types is read from streams/redis/keys.py. A kind without a row
here has no test, and `test_every_key_kind_is_damaged` fails.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from msgspec import Struct

from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.partition_keys import AssetKeys, JobsKeys, StatesKeys, SubscriptionKeys

SUBSCRIPTION, PROJECTION = "notes", "counts"

NAMESPACE, PARTITION, JOB, SERVER = "namespace", "partition", "job", "server"


class Kind(Struct, frozen=True):
    """One kind of key."""

    scope: str
    """Which keys there are: NAMESPACE one, PARTITION one for each, JOB one for each job, SERVER one
    for what a server has, or for a store of assets."""
    hurts: str = ""
    """What damage may stop: JOB the jobs that are damaged, PARTITION those of the partition, and
    empty for nothing at all."""
    is_ordered: bool = False
    """Strange records hurt as another type does: the server finds others only between equal scores.
    `audit verify` names them, a rebuild removes them."""
    fields: tuple[str, ...] = ()
    """Fields of a hash that is one record. Of any other hash each field is a record of its own."""


def declared() -> dict[str, str]:
    """Return the type of each key kind, by the name of its method, such as `JobsKeys.parked`."""
    return {
        f"{owner.__name__}.{name}".removeprefix("Keyspace."): found[1].lower()
        for owner in (Keyspace, JobsKeys, StatesKeys, SubscriptionKeys, AssetKeys)
        for name, method in inspect.getmembers(owner, inspect.isfunction)
        if (found := re.match(r"([A-Z]{3,})\b", method.__doc__ or ""))
    }


LEASE = ("owner", "until_ms", "checkpoint", "folded")

HEAD = (
    *("seq", "epoch", "status", "phase", "owner", "last", "first", "dispatch", "queue"),
    *("priority", "workflow", "cancel", "recent", "authors", "forgotten", "made_by", "blocked"),
    *("place", "line", "needs", "user", "kind"),
)

STATE = (
    *("seq", "status", "submitted_at_ms", "updated_at_ms", "progress", "policy", "outputs"),
    *("error", "attempt", "entry_id", "owner", "metadata", "queue"),
)

KINDS = {
    "meta": Kind(NAMESPACE, fields=("writes", "min_reader", "restarted_at_ms", "run_id")),
    "runners": Kind(NAMESPACE),
    "processes": Kind(NAMESPACE),
    "backends": Kind(NAMESPACE),
    "retired": Kind(NAMESPACE),
    "abandoned": Kind(NAMESPACE),
    "given_up": Kind(NAMESPACE),
    "projectors": Kind(NAMESPACE),
    "subscriptions": Kind(NAMESPACE),
    "lost_writes": Kind(NAMESPACE),
    "servers": Kind(NAMESPACE),
    "wake": Kind(NAMESPACE),
    "wake_at": Kind(NAMESPACE),
    "listening": Kind(NAMESPACE),
    "limits": Kind(NAMESPACE),
    "limits_at": Kind(NAMESPACE),
    "running": Kind(NAMESPACE),
    "reserved": Kind(NAMESPACE),
    "order": Kind(NAMESPACE),
    "order_at": Kind(NAMESPACE),
    "paused": Kind(NAMESPACE),
    "paused_at": Kind(NAMESPACE),
    "hidden": Kind(NAMESPACE),
    "user_keys": Kind(NAMESPACE),
    "erasures": Kind(NAMESPACE),
    "gateway_keys": Kind(NAMESPACE),
    "gateway_key_uses": Kind(NAMESPACE),
    "gateway_session": Kind(SERVER),
    "audit": Kind(NAMESPACE),
    "drains": Kind(NAMESPACE),
    "object_info": Kind(SERVER),
    "node_costs": Kind(NAMESPACE),
    "run_times": Kind(NAMESPACE),
    "asset_sweep": Kind(SERVER),
    "retention": Kind(NAMESPACE, fields=("owner", "until_ms", "kept")),
    "log": Kind(PARTITION, hurts=PARTITION),
    "live": Kind(PARTITION),
    "preview": Kind(JOB),
    "readers": Kind(PARTITION),
    "trimmed": Kind(PARTITION, hurts=PARTITION, fields=("to", "count")),
    "head": Kind(JOB, hurts=JOB, fields=HEAD),
    "dispatch": Kind(PARTITION, hurts=PARTITION),
    "waiting": Kind(PARTITION, hurts=PARTITION),
    "lines": Kind(PARTITION, hurts=PARTITION),
    "line": Kind(PARTITION, hurts=PARTITION),
    "queues": Kind(PARTITION, hurts=PARTITION),
    "later": Kind(PARTITION, hurts=PARTITION),
    "blocked": Kind(PARTITION, hurts=PARTITION),
    "deadlines": Kind(PARTITION, hurts=PARTITION),
    "unmoved": Kind(PARTITION, hurts=PARTITION),
    "clock": Kind(PARTITION, hurts=PARTITION, fields=("seen_ms", "stepped_ms", "unsure_to_ms")),
    "workflow": Kind(JOB, hurts=JOB),
    "partner_keys": Kind(JOB),
    "workflows": Kind(PARTITION, hurts=PARTITION),
    "skipped": Kind(PARTITION),
    "JobsKeys.projector": Kind(PARTITION, hurts=PARTITION, fields=LEASE),
    "JobsKeys.parked": Kind(PARTITION, hurts=PARTITION),
    "JobsKeys.job": Kind(JOB, fields=STATE),
    "JobsKeys.active": Kind(PARTITION, hurts=PARTITION),
    "JobsKeys.ended": Kind(PARTITION, hurts=PARTITION),
    "JobsKeys.index": Kind(PARTITION, hurts=PARTITION, is_ordered=True),
    "JobsKeys.indexed": Kind(PARTITION, hurts=PARTITION),
    "StatesKeys.projector": Kind(PARTITION, fields=LEASE),
    "StatesKeys.parked": Kind(PARTITION),
    "StatesKeys.states": Kind(PARTITION),
    "SubscriptionKeys.checkpoint": Kind(PARTITION, hurts=PARTITION, fields=LEASE),
    "SubscriptionKeys.held": Kind(PARTITION, hurts=PARTITION),
    "user_files": Kind(NAMESPACE),
    "user_file_times": Kind(NAMESPACE),
    "user_settings": Kind(NAMESPACE),
    "graph_assets": Kind(PARTITION),
    "AssetKeys.records": Kind(PARTITION),
    "AssetKeys.owned": Kind(PARTITION),
    "AssetKeys.names": Kind(PARTITION),
    "AssetKeys.owners": Kind(PARTITION),
    "AssetKeys.expiry": Kind(PARTITION),
    "AssetKeys.unconfirmed": Kind(PARTITION),
    "AssetKeys.blobs": Kind(PARTITION),
    "AssetKeys.doomed": Kind(PARTITION),
}


def key_of(keys: Keyspace, name: str, partition: int, job_id: str = "", sha: str = "") -> str:
    """Return a key of a kind, in a partition or of a job."""
    owner, _, method = name.rpartition(".")
    roots: dict[str, object] = {
        "": keys,
        "JobsKeys": keys.jobs(partition),
        "StatesKeys": keys.states(partition, PROJECTION),
        "SubscriptionKeys": keys.subscription(partition, SUBSCRIPTION),
        "AssetKeys": keys.assets(partition),
    }
    values = {
        "partition": partition,
        "job_id": job_id,
        "sha256": sha,
        "queue": "default",
        "priority": "normal",
        "line": "-",
        "scope": "queue",
        "content_hash": "0" * 64,
        "digest": "0" * 64,
        "submit_id": "x",
        "owner": "",
        "user": "",
        "place": "x",
        "what": "running queue default",
        "name": {"unmoved": "later", "running": "default"}.get(method, "jobs"),
    }
    make: Callable[..., str] = getattr(roots[owner], method)
    return make(*(values[name] for name in inspect.signature(make).parameters))
