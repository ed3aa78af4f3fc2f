"""What is wrong with a server for jobs that must survive: from what INFO and CONFIG say of it.

Rule: pure. A server that says nothing is not judged. `loses` marks what loses jobs, of which every
client warns; the rest is for `everfold doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from everfold.health.replication_findings import replication_findings
from everfold.health.server_finding import ServerFinding
from everfold.retention.keep import read_memory

NEAR, FULL = 0.8, 0.95
"""Shares of maxmemory from which on memory is short, and writes are about to be refused."""

NO_WRITES = (
    "make room on the server's disk, or mend it: until then it refuses all writes, and processes "
    "that write seem to be gone"
)

Facts = Mapping[str, str]


class ServerFacts(Struct, frozen=True, kw_only=True):
    """What a server says of itself; empty where it refuses to."""

    info: Facts = {}
    settings: Facts = {}
    """Of CONFIG GET: SETTINGS of asking_server.py."""


def server_findings(facts: ServerFacts, replicas: int = 0, living: int = 0) -> list[ServerFinding]:
    """Return what there is to say of a server, what is well included.

    `replicas` is for how many of them writes wait, `living` how many there are by Sentinel or the
    cluster, where an intent waits for one of them.
    """
    replication = replication_findings(facts.info, facts.settings, replicas, living)
    return [*_persistence(facts), *_memory(facts.info), *replication]


def _persistence(facts: ServerFacts) -> Iterator[ServerFinding]:
    what, said = "persistence", facts.info
    if not said:
        yield ServerFinding(what, "cannot be seen: the server refuses INFO")
        return
    if said.get("aof_enabled") == "1":
        state = said.get("aof_last_write_status", "ok")
        advice = "" if state == "ok" else NO_WRITES
        yield ServerFinding(what, f"AOF, last write {state}", advice, loses=bool(advice))
        rewrite = said.get("aof_last_bgrewrite_status", "ok")
        if rewrite != "ok":
            advice = "look at the server's log and disk: the file grows until it is full"
            yield ServerFinding("AOF rewrite", f"the last one ended with {rewrite}", advice)
        if facts.settings.get("appendfsync") == "no":
            advice = "set `appendfsync everysec`: the machine's end loses half a minute of jobs"
            yield ServerFinding("AOF fsync", "never asked for", advice, loses=True)
    else:
        yield _without_aof(facts)
    snapshot = said.get("rdb_last_bgsave_status", "ok")
    if snapshot != "ok":
        advice = "look at the server's log and disk"
        stops = facts.settings.get("save") != "" or said.get("aof_enabled") != "1"
        yield ServerFinding("snapshot", f"the last one ended with {snapshot}", advice, loses=stops)


def _without_aof(facts: ServerFacts) -> ServerFinding:
    if facts.settings.get("save"):
        advice = "set `appendonly yes`: without it a restart loses all since the last snapshot"
        return ServerFinding("persistence", "no AOF, snapshots only", advice, loses=True)
    advice = "set `appendonly yes`: without it a restart of the server loses jobs"
    return ServerFinding("persistence", "no AOF", advice, loses=True)


def _memory(said: Facts) -> Iterator[ServerFinding]:
    what = "memory"
    if not said:
        yield ServerFinding(what, "cannot be seen: the server refuses INFO")
        return
    policy, limit = said.get("maxmemory_policy", "?"), said.get("maxmemory_human", "?")
    used = said.get("used_memory_human", "?")
    found = f"{used} used, limit {limit if limit != '0B' else 'none'}, policy {policy}"
    memory, has_limit = read_memory(said), said.get("maxmemory") != "0"
    share = memory.share if memory is not None else 0.0
    if has_limit and policy not in ("noeviction", "?"):
        loses = policy.startswith("allkeys")
        advice = "set `maxmemory-policy noeviction`: it may evict jobs"
        yield ServerFinding(what, found, advice, loses=loses)
    elif share < NEAR:
        yield ServerFinding(what, found)
    if share >= NEAR:
        refuses = "all writes are refused soon" if share >= FULL else "it is nearly full"
        advice = f"{refuses}: raise `maxmemory`, or keep less (`--keep-log`, `--keep-log-memory`)"
        full = f"{share:.0%} of the limit; {found}"
        yield ServerFinding(what, full, advice, loses=True)
