"""Rights on the server: each role says at the start which one is missing, with nothing done.

That it works under exactly those that `everfold acl` prints is tested in tests/rights.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import get_args

import anyio
import pytest
from redis import Redis

from everfold import Everfold
from everfold.embedded.engines import Engine, path_engines, wheel_engines
from everfold.projector.job.invariants import Trace
from everfold.projector.reading.verify import _Verifier, verify
from everfold.runner.config import RunnerConfig
from everfold.runner.runner import Runner
from everfold.streams.appending.log import UNLEASED, Log
from everfold.streams.errors import AccessMissing, ServerRefusesAccess, ServerUrlInvalid
from everfold.streams.events.event import Canceled
from everfold.streams.leases.backends import BackendEntry, note_backends
from everfold.streams.leases.registry import RunnerEntry, register_runner
from everfold.streams.queues.limits import Limit, set_limit
from everfold.streams.redis.access import COMMANDS, OPTIONAL, Access, Role
from everfold.streams.redis.server import connect, server_time_ms
from tests.support.servers import OwnServer, client, own_server

pytestmark = pytest.mark.anyio

NS = "rights"
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
ROLES: tuple[Role, ...] = get_args(Role)


def _engines() -> list[Engine]:
    found = (*list(path_engines(os.environ))[:1], *list(wheel_engines())[:1])
    return [engine for engine in found if not engine.is_too_old]


@pytest.fixture(scope="module", params=_engines(), ids=str)
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    with own_server(request.param, tcp=True) as server:
        yield server


@pytest.fixture
def admin(server: OwnServer) -> Iterator[Redis]:
    with client(server.url) as redis:
        redis.flushall()
        yield redis


@pytest.fixture
async def made(server: OwnServer, admin: Redis) -> AsyncIterator[Log]:
    """An administrator's client; the namespace exists."""
    async with Log.open(server.url, namespace=NS, partitions=2) as log:
        yield log


def grant(admin: Redis, rules: str, *more: str) -> None:
    words = ("ACL", "SETUSER", "somebody", "reset", "on", ">pw", *rules.split(), *more)
    assert admin.execute_command(*words)  # type: ignore[no-untyped-call]


def url_of(server: OwnServer) -> str:
    return server.url.replace("redis://", "redis://somebody:pw@")


def refusals(admin: Redis) -> list[str]:
    found = admin.execute_command("ACL", "LOG")  # type: ignore[no-untyped-call]
    return [str(entry) for entry in found]


async def _runner(url: str) -> None:
    async with (
        Log.open(url, namespace=NS, actor="r", role="runner") as log,
        anyio.create_task_group() as tasks,
    ):
        runner = Runner(log, [], RunnerConfig(name="r", sweep_every_s=0.1))
        await tasks.start(runner.run)
        await anyio.sleep(0.5)
        runner.drain()


async def test_a_reader_may_ask_why_a_job_waits(server: OwnServer, admin: Redis, made: Log) -> None:
    waits = (await made.submit(GRAPH, user="ada")).job_id
    later = (await made.submit(GRAPH, delay_s=60)).job_id
    await set_limit(made, Limit("running", "user", "*", 1))
    now_ms = await server_time_ms(made.redis)
    entry = RunnerEntry(runner="r", host="h", pid=1, queues=("default",), backends=("http://b",),
                        since_ms=1, seen_ms=now_ms)  # fmt: skip
    await register_runner(made, entry)
    await note_backends(made, [BackendEntry(name="http://b", seen_ms=now_ms, object_info="x")])
    grant(admin, Access("reader", NS).rules())
    admin.execute_command("ACL", "LOG", "RESET")  # type: ignore[no-untyped-call]
    async with Everfold.connect(url_of(server), namespace=NS, role="reader") as everfold:
        assert (await everfold.why(waits)).code == "next"
        assert (await everfold.why(later)).code == "not_before"
        assert await everfold.position(waits) == 0
        assert [queue.waiting for queue in await everfold.queues()] == [1]
    assert refusals(admin) == []


async def test_whoever_may_do_everything_has_the_rights_of_each_role(redis_url: str) -> None:
    for role in ROLES:
        async with Log.open(redis_url, namespace=NS, role=role, creates=False):
            pass


@pytest.mark.parametrize("role", ROLES)
async def test_each_single_missing_right_is_named_at_the_start(
    server: OwnServer, admin: Redis, made: Log, role: Role
) -> None:
    access = Access(role, NS)
    before = admin.dbsize()
    for name in COMMANDS[role]:
        grant(admin, access.rules(), f"-{name}")
        with pytest.raises((AccessMissing, ServerRefusesAccess)) as refused:
            await _open(server, role)
        assert name.replace("|", " ").upper() in str(refused.value).upper()
    for rule in (*access.keys, *(f"&{channel}" for channel in access.channels)):
        grant(admin, " ".join(word for word in access.rules().split() if word != rule))
        with pytest.raises(AccessMissing) as missing:
            await _open(server, role)
        assert rule.lstrip("&") in str(missing.value)
        assert access.role in str(missing.value)
    assert admin.dbsize() == before


@pytest.mark.parametrize("role", ROLES)
async def test_what_is_optional_is_done_without_and_said(
    server: OwnServer, admin: Redis, made: Log, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    access = Access(role, NS)
    grant(admin, access.rules(), *(f"-{name}" for name in OPTIONAL[role]))
    with caplog.at_level(logging.WARNING, "everfold"):
        await _open(server, role)
    said = " ".join(record.getMessage() for record in caplog.records)
    for name in OPTIONAL[role]:
        assert name.replace("|", " ").upper() in said


async def _open(server: OwnServer, role: Role) -> None:
    async with Log.open(url_of(server), namespace=NS, role=role):
        pass


async def test_an_auditor_of_an_earlier_version_asks_for_each_place(
    server: OwnServer, admin: Redis, made: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = (await made.submit(GRAPH)).job_id
    await made.append(ended, Canceled(reason="done"), epoch=UNLEASED)
    await made.submit(GRAPH)
    grant(admin, Access("auditor", NS).rules(), "-zmscore")
    alone = list[str]()

    async def compare(_: _Verifier, trace: Trace) -> None:
        alone.append(trace.job_id)

    monkeypatch.setattr(_Verifier, "_compare", compare)
    async with Log.open(url_of(server), namespace=NS, role="auditor") as log:
        report = await verify(log)
    assert (report.jobs, report.is_sound, alone) == (2, True, [])


async def test_a_runner_without_a_right_starts_nothing_and_ends_with_2(
    server: OwnServer, admin: Redis, made: Log
) -> None:
    job = await made.submit(GRAPH)
    grant(admin, Access("runner", NS).rules(), "-xpending")
    words = ("runner", "--comfyui", "http://127.0.0.1:1", "--namespace", NS)
    ended = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-m", "everfold", *words],
            env={**os.environ, "REDIS_URL": url_of(server)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    )
    assert ended.returncode == 2
    assert "XPENDING" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert admin.hget(made.keys.head(job.job_id), "seq") == b"1"


@pytest.mark.parametrize("gone", ["CLIENT", "INFO", "CONFIG", "COMMAND"])
async def test_a_server_without_a_command_of_its_operator_works(gone: str, tmp_path: Path) -> None:
    conf = tmp_path / "redis.conf"
    conf.write_text(f'rename-command {gone} ""\nsave ""\n')
    with own_server(_engines()[0], tcp=True, conf=conf) as server:
        async with Everfold.connect(server.url, namespace=NS, role="client") as everfold:
            await everfold.submit(GRAPH)
        await _runner(server.url)


@pytest.mark.parametrize(
    ("policy", "is_said"), [("allkeys-lru", True), ("volatile-lru", False), ("noeviction", False)]
)
async def test_a_policy_that_loses_jobs_is_said_at_connect(
    server: OwnServer, admin: Redis, policy: str, is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    admin.config_set("maxmemory-policy", policy)
    try:
        async with Everfold.connect(server.url, namespace=NS, role="client"):
            pass
    finally:
        admin.config_set("maxmemory-policy", "noeviction")
    assert ("noeviction" in caplog.text) is is_said


BAD_URLS = [
    "redis://h/0?foo=1",
    "rediss://h/0?ssl_cert_reqs=bogus",
    "redis://h/0?ssl_ca_certs=/etc/hosts",
    "rediss://h/0?ssl_ca_certs=/no/such/file",
    "redis://h/0?db=x",
    "redis://h/0?protocol=3",
    "redis://h/0?socket_timeout=x",
    "redis://h/x",
    "redis://h/0/1",
    "redis://h/-1",
    "redis://h/²",
    "redis://h:99999/0",
    "redis://h:x/0",
    "http://h/0",
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_bad_url_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(ServerUrlInvalid, match="not a Redis URL"):
        connect(url)


def test_everfold_acl_prints_what_setuser_takes(admin: Redis, tmp_path: Path) -> None:
    for role in ROLES:
        grant(admin, Access(role, NS).rules())
        assert Access(role, NS).line().startswith("ACL SETUSER everfold-")


async def test_an_aclfile_has_a_line_for_each_role(tmp_path: Path) -> None:
    file = tmp_path / "users.acl"
    lines = [Access(role, NS).file_line().replace("PASSWORD", "pw") for role in ROLES]
    file.write_text("\n".join(["user default on nopass ~* &* +@all", *lines, ""]))
    with own_server(_engines()[0], tcp=True, aclfile=str(file)) as server:
        async with Log.open(server.url, namespace=NS):
            pass
        for role in ROLES:
            url = server.url.replace("redis://", f"redis://everfold-{role}:pw@")
            async with Log.open(url, namespace=NS, role=role):
                pass
