"""`everfold doctor` and `connect` before real servers that have something wrong."""

from __future__ import annotations

import logging

import pytest

from everfold import Everfold as Client
from everfold.diagnosis import log_check as log_check_module
from everfold.diagnosis.finding import Finding
from everfold.diagnosis.log_check import log_check
from everfold.diagnosis.server_check import apart_s, server_check
from everfold.retention.keep import Keep
from everfold.streams.appending.log import Log
from everfold.streams.reading.readers import ARCHIVE, register
from tests.everfold.retention.test_keeper import keeping
from tests.everfold.running import Everfold, ended, make_namespace, objects
from tests.projector.jobs import GRAPH
from tests.support.servers import OwnServer, StartServer, client
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

MIB = 2**20


async def of_server(url: str) -> dict[str, Finding]:
    async with Log.open(url) as log:
        found = [one async for one in server_check(log)]
    return {one.what: one for one in found}


async def of_log(log: Log) -> dict[str, Finding]:
    return {one.what: one async for one in log_check(log)}


async def test_a_good_server_is_well(own_server: StartServer) -> None:
    found = await of_server(own_server(appendonly="yes", maxmemory="64mb").url)
    assert {one.what: one.advice for one in found.values() if one.advice} == {}
    assert {"server", "persistence", "memory", "clock", "disk", "partitions"} == found.keys()


@pytest.mark.parametrize(("share", "word"), [(0.83, "nearly full"), (0.97, "refused soon")])
async def test_a_server_near_its_limit_is_told(
    own_server: StartServer, share: float, word: str
) -> None:
    # What waits to be written to an append-only file does not count as memory.
    server = own_server(maxmemory="32mb", appendonly="no", **{"maxmemory-policy": "noeviction"})
    await make_namespace(server.url)
    with client(server.url) as redis:
        number = 0
        while redis.info("memory")["used_memory"] < share * 32 * MIB:
            redis.set(f"filler{(number := number + 1)}", "x" * 100_000)
        assert redis.info("memory")["used_memory"] < 32 * MIB
    found = await of_server(server.url)
    assert word in found["memory"].advice
    assert "--keep-log" in found["memory"].advice


async def test_eviction_and_a_server_without_files_are_told(own_server: StartServer) -> None:
    settings = {"maxmemory-policy": "allkeys-lru", "save": "", "appendonly": "no"}
    found = await of_server(own_server(maxmemory="32mb", **settings).url)
    assert "noeviction" in found["memory"].advice
    assert "appendonly yes" in found["persistence"].advice


async def test_a_replica_and_a_primary_that_waits_for_none_are_told(
    own_server: StartServer,
) -> None:
    primary, other = own_server(tcp=True), own_server(tcp=True)
    await make_namespace(primary.url)
    host, port = primary.url.removeprefix("redis://").partition("/")[0].split(":")
    with client(other.url) as redis:
        redis.replicaof(host, int(port))

    async def followed() -> bool:
        found = (await of_server(primary.url)).get("replication")
        return found is not None and "bytes behind" in found.found

    await eventually(followed, 15)
    assert "min-replicas-to-write 1" in (await of_server(primary.url))["replication"].advice
    with client(primary.url) as redis:
        redis.config_set("min-replicas-to-write", "1")
    assert (await of_server(primary.url))["replication"].advice == ""
    with client(other.url) as redis:
        redis.config_set("replica-read-only", "no")
    assert "a replica takes no writes" in (await of_server(other.url))["replication"].advice


async def test_the_server_of_this_machine_has_its_clock(log: Log) -> None:
    assert abs(await apart_s(log)) < 10  # another one is off by whatever it was set to


async def test_a_log_that_nobody_trims_is_told_and_one_that_is_kept_not(log: Log) -> None:
    assert "no process" in (await of_log(log))["retention"].found
    async with keeping(log, Keep()):

        async def kept() -> bool:
            return (await of_log(log))["retention"].advice == ""

        await eventually(kept, 10)
        assert "the last 7 d" in (await of_log(log))["retention"].found
    assert "no process" in (await of_log(log))["retention"].found


async def test_a_large_log_without_archive_is_told(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_check_module, "LARGE_EVENTS", 3)
    for _ in range(3):
        await log.submit(GRAPH)
    assert "everfold archive run" in (await of_log(log))["log"].advice
    await register(log, 0, ARCHIVE, "0-0")
    assert (await of_log(log))["log"].advice == ""


async def test_doctor_makes_nothing_on_an_empty_server(
    everfold: Everfold, server: OwnServer
) -> None:
    await ended(everfold("doctor"), code=2)
    with client(server.url) as redis:
        assert redis.dbsize() == 0


async def test_each_finding_is_an_object(everfold: Everfold, server: OwnServer) -> None:
    await make_namespace(server.url)
    rows = await objects(everfold("doctor", "--json"), code=1)
    assert all(set(row) == {"what", "found", "advice"} for row in rows)
    assert {"memory", "persistence", "clock", "log", "retention"} <= {row["what"] for row in rows}


async def test_a_client_warns_once_of_what_loses_jobs(
    own_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = own_server(save="", appendonly="no").url
    with caplog.at_level(logging.WARNING, "everfold.server"):
        for _ in range(2):
            async with Client.connect(url):
                pass
    said = [one.getMessage() for one in caplog.records if one.name == "everfold.server"]
    assert len(said) == 1
    assert "appendonly yes" in said[0]


async def test_a_server_that_refuses_to_say_it_is_no_trouble(
    own_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(save="", appendonly="no")
    with client(server.url) as redis:
        for name in ("info", "config"):
            redis.execute_command("ACL", "SETUSER", "default", f"-{name}")
    with caplog.at_level(logging.WARNING, "everfold.server"):
        async with Client.connect(server.url) as everfold:
            await everfold.submit(GRAPH)
    assert caplog.text == ""
    found = await of_server(server.url)
    assert {one.advice for one in found.values()} == {""}
