from __future__ import annotations

import inspect
import re
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.nodes.slots import slot_of
from everfold.streams.nodes.tags import are_spread_tags, spread_tags
from everfold.streams.redis.keys import Keyspace, connection_name
from everfold.streams.redis.partition_keys import AssetKeys, JobsKeys, StatesKeys, SubscriptionKeys

KEYS = Keyspace("shop", 8)
SPREAD = Keyspace("shop", 24, spread_tags("shop", 24))
OF_A_PARTITION = [KEYS.tag, KEYS.log, KEYS.queues, KEYS.later, KEYS.blocked]
NO_KEYS = {
    f"Keyspace.{name}"
    for name in [
        *("partition_of", "tag", "root_of", "all_running"),
        *("jobs", "states", "subscription", "assets"),
    ]
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


def test_spread_partitions_lie_evenly_on_any_number_of_masters() -> None:
    parts = [slot_of(SPREAD.log(p)) * 24 // 16384 for p in range(24)]
    assert parts == list(range(24))
    for masters in (2, 3, 4, 5, 7):
        owners = [parts[p] * masters // 24 for p in range(24)]
        counts = [owners.count(master) for master in range(masters)]
        assert max(counts) - min(counts) <= 1


def test_what_a_script_of_a_spread_partition_uses_lies_in_its_slot() -> None:
    keys = [SPREAD.limits_at(3), SPREAD.paused_at(3), SPREAD.running(3, "user", "ada")]
    keys += [SPREAD.order_at(3, "default", "low"), SPREAD.wake_at(3), SPREAD.later(3)]
    assert len({slot_of(key) for key in keys}) == 1
    assert len(set(SPREAD.all_running("user", "ada"))) == 24


def test_all_keys_of_a_spread_namespace_itself_lie_in_one_slot() -> None:
    keys = [SPREAD.meta(), SPREAD.limits(), SPREAD.paused(), SPREAD.wake(), SPREAD.runners()]
    keys += [SPREAD.order("default", "low"), SPREAD.reserved("running user ada")]
    assert {key[: len("{shop}:")] for key in keys} == {"{shop}:"}


def test_scripts_of_shared_partitions_use_the_keys_of_the_namespace() -> None:
    assert KEYS.limits_at(3) == KEYS.limits() == "shop:limits"
    assert KEYS.paused_at(3) == KEYS.paused()
    assert KEYS.order_at(3, "q", "low") == KEYS.order("q", "low")
    assert KEYS.all_running("user", "ada") == ["shop:running:user:ada"]
    assert KEYS.wake_at(3) == KEYS.wake() == "shop:wake"


@pytest.mark.parametrize(
    ("tags", "are_some"),
    [
        (("shop:0.3", "shop:1.5"), True),
        (("shop:0.3",), False),
        (("shop:1.3", "shop:0.5"), False),
        (("shop:0", "shop:1"), False),
        (("other:0.3", "other:1.5"), False),
        (("shop:0.3", "shop:1.x"), False),
        (("shop:0.3", "}shop:1.5"), False),
        (("shop:0.3", "shop:1.5", ""), False),
    ],
)
def test_tags_that_are_none_are_told_from_tags(tags: tuple[str, ...], are_some: bool) -> None:
    assert are_spread_tags(tags, "shop", 2) is are_some


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
    assert len(spelled) == 79
    for method in spelled:
        assert re.match(types, method.__doc__ or ""), method


def test_a_runner_s_connections_are_named_after_it() -> None:
    assert connection_name("gpu-1") == "everfold:gpu-1"
