"""What is judged of a server, a log and a clock, as decisions of numbers and words alone."""

from __future__ import annotations

import pytest

from everfold.diagnosis.log_check import growing, retention
from everfold.diagnosis.server_check import clock, disk
from everfold.health.log_growth import LogSize
from everfold.health.server_findings import ServerFacts, server_findings
from everfold.retention.keep import Memory
from everfold.retention.keeper import Kept

GOOD = {
    "aof_enabled": "1", "aof_last_write_status": "ok", "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok", "maxmemory_policy": "noeviction", "maxmemory": "1000",
    "maxmemory_human": "1000B", "used_memory": "500", "used_memory_human": "500B",
    "role": "master", "connected_slaves": "0",
}  # fmt: skip

REPLICA = {"role": "master", "slave0": "ip=10.0.0.2,port=6379,state=online,offset=9,lag=0"}


def advice(settings: dict[str, str] | None = None, **said: str) -> dict[str, tuple[str, bool]]:
    facts = ServerFacts(info={**GOOD, **said}, settings=settings or {})
    return {one.what: (one.advice, one.loses) for one in server_findings(facts) if one.advice}


def test_a_good_server_has_nothing_to_change() -> None:
    assert advice() == {}
    assert advice(maxmemory="0", maxmemory_policy="allkeys-lru") == {}


def test_a_server_that_says_nothing_is_not_judged() -> None:
    found = server_findings(ServerFacts())
    assert {one.what: one.advice for one in found} == {"persistence": "", "memory": ""}


@pytest.mark.parametrize(
    ("settings", "said", "what", "word", "loses"),
    [
        ({}, {"aof_enabled": "0"}, "persistence", "appendonly yes", True),
        ({"save": "60 1"}, {"aof_enabled": "0"}, "persistence", "since the last snapshot", True),
        ({}, {"aof_last_write_status": "err"}, "persistence", "disk", True),
        ({}, {"aof_last_bgrewrite_status": "err"}, "AOF rewrite", "disk", False),
        ({"save": ""}, {"rdb_last_bgsave_status": "err"}, "snapshot", "disk", False),
        ({"save": "60 1"}, {"rdb_last_bgsave_status": "err"}, "snapshot", "disk", True),
        ({"appendfsync": "no"}, {}, "AOF fsync", "everysec", True),
        ({}, {"maxmemory_policy": "allkeys-lru"}, "memory", "noeviction", True),
        ({}, {"maxmemory_policy": "volatile-ttl"}, "memory", "noeviction", False),
        ({}, {"used_memory": "799"}, "", "", False),
        ({}, {"used_memory": "800"}, "memory", "it is nearly full", True),
        ({}, {"used_memory": "949"}, "memory", "it is nearly full", True),
        ({}, {"used_memory": "950"}, "memory", "all writes are refused soon", True),
        ({}, {"used_memory": "x"}, "", "", False),
        ({}, {"role": "slave", "master_link_status": "down"}, "replication", "primary", True),
        ({"min-replicas-to-write": "0"}, REPLICA, "replication", "lag 10", False),
        ({"min-replicas-to-write": "1"}, REPLICA, "", "", False),
        ({}, REPLICA, "", "", False),
        ({}, {"role": "master", "slave0": "many"}, "replication", "does not follow", False),
    ],
)
def test_each_fault_has_one_finding(
    settings: dict[str, str], said: dict[str, str], what: str, word: str, loses: bool
) -> None:
    found = advice(settings, **said)
    assert list(found) == ([what] if what else [])
    if what:
        assert word in found[what][0]
        assert found[what][1] == loses


@pytest.mark.parametrize(
    ("ahead_s", "word"), [(0.4, ""), (-1.9, ""), (90.0, "90 s ahead"), (-7200.0, "7,200 s behind")]
)
def test_clocks_that_are_apart_are_told(ahead_s: float, word: str) -> None:
    found = clock(ahead_s)
    assert bool(found.advice) == bool(word)
    assert word in found.found


@pytest.mark.parametrize(("free", "is_told"), [(9, True), (10, False), (100, False), (0, True)])
def test_a_disk_without_room_is_told(free: int, is_told: bool) -> None:
    assert bool(disk(free, 100).advice) == is_told
    assert disk(0, 0).advice == ""


DAY_S = 86_400.0
MIB = 2**20


@pytest.mark.parametrize(
    ("size", "memory", "kept", "words", "is_told"),
    [
        (LogSize(0, 0, 0), Memory(1, 2), None, None, False),
        (LogSize(10, 99, 60.0), Memory(1, 2), None, None, False),
        (LogSize(100, MIB, DAY_S), Memory(0, 0), None, "about 1.0 MiB", False),
        (LogSize(100, MIB, DAY_S), None, None, "100 events a day", False),
        (LogSize(100, MIB, DAY_S), Memory(MIB, 3 * MIB), None, "2.0 days until", True),
        (LogSize(100, MIB, DAY_S), Memory(MIB, 3 * MIB), Kept(), "2.0 days until", False),
        (LogSize(100, MIB, DAY_S), Memory(MIB, 30 * MIB), None, "29.0 days until", False),
        (LogSize(100, MIB, DAY_S / 2), Memory(9, 9), None, "0.0 days until", True),
        (LogSize(100, 0, DAY_S), Memory(MIB, 3 * MIB), None, "100 events a day", False),
    ],
)
def test_days_until_memory_ends(
    size: LogSize, memory: Memory | None, kept: Kept | None, words: str | None, is_told: bool
) -> None:
    found = growing(size, memory, kept)
    assert (found is None) == (words is None)
    if found is not None and words is not None:
        assert words in found.found
        assert bool(found.advice) == is_told


def test_who_keeps_the_log_bounded_is_told() -> None:
    assert retention(None).found == "no process trims the log"
    assert "--keep-log none" in retention(None).advice
    assert retention(Kept(age_s=604_800.0, share=0.6, by="projector-a")).advice == ""
    held = retention(Kept(by="a", held_by="reader slow"))
    assert "reader slow holds more" in held.found
    assert "everfold archive readers" in held.advice
