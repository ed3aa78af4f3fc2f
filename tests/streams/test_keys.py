from __future__ import annotations

import inspect
import re
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.redis.keys import (
    AssetKeys,
    JobsKeys,
    Keyspace,
    StatesKeys,
    SubscriptionKeys,
    connection_name,
)

KEYS = Keyspace("shop", 8)
OF_A_PARTITION = [KEYS.tag, KEYS.log, KEYS.queues, KEYS.later, KEYS.blocked]
NO_KEYS = {
    f"Keyspace.{name}"
    for name in ["partition_of", "tag", "jobs", "states", "subscription", "assets"]
}
OF_A_PARTITION += [
    KEYS.deadlines,
    KEYS.workflows,
    KEYS.active,
    KEYS.ended,
    KEYS.parked,
    KEYS.projector,
]


@given(st.text(min_size=1), st.integers(1, 1024))
def test_a_job_lives_in_the_partition_of_its_crc32(job_id: str, partitions: int) -> None:
    keys = Keyspace("shop", partitions)
    assert keys.partition_of(job_id) == crc32(job_id.encode()) % partitions


@pytest.mark.parametrize("job_id", ["a", "b", "order-17"])
def test_all_keys_of_a_partition_share_one_hash_tag(job_id: str) -> None:
    partition = KEYS.partition_of(job_id)
    keys = [key(partition) for key in OF_A_PARTITION]
    keys += [KEYS.head(job_id), KEYS.job(job_id), KEYS.workflow(partition, "ab")]
    keys += [KEYS.dispatch(partition, "default", "high"), KEYS.partner_keys(job_id, "e")]
    assert {re.findall(r"\{[^}]*\}", key)[0] for key in keys} == {f"{{shop:{partition}}}"}


def test_no_two_keys_are_the_same() -> None:
    keys = [key(p) for key in OF_A_PARTITION for p in range(8)]
    keys += [name(p) for name in [KEYS.graph_assets] for p in range(8)]
    keys += [KEYS.head("a"), KEYS.job("a"), KEYS.meta(), KEYS.runners(), KEYS.projectors("jobs")]
    keys += [KEYS.user_files("a"), KEYS.user_file_times("a"), KEYS.user_settings("a")]
    keys += [
        KEYS.lost_writes(),
        KEYS.servers(),
        KEYS.wake(),
        KEYS.dispatch(0, "a", "low"),
        KEYS.dispatch(0, "b", "low"),
    ]
    assert len(set(keys)) == len(keys)


def test_every_key_says_of_which_type_it_is() -> None:
    types = r"(STREAM|HASH|ZSET|SET|STRING|CHANNEL)( with a TTL)?: "
    spelled = [
        method
        for owner in (Keyspace, JobsKeys, StatesKeys, SubscriptionKeys, AssetKeys)
        for _, method in inspect.getmembers(owner, inspect.isfunction)
        if method.__doc__ and method.__qualname__ not in NO_KEYS
    ]
    assert len(spelled) == 74
    for method in spelled:
        assert re.match(types, method.__doc__ or ""), method


def test_a_runner_s_connections_are_named_after_it() -> None:
    assert connection_name("gpu-1") == "everfold:gpu-1"
