"""The process that renews leases: what it is told, what it tells, and what it must not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from everfold.runner.config import RunnerConfig
from everfold.runner.renewal.lease_renewer import LeaseRenewer
from everfold.runner.renewal.renewer_process import environment, server_of
from everfold.streams.appending.log import Log
from everfold.streams.appending.outcomes import Lease
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.event import CancelRequested
from everfold.streams.leases.dispatch import Dispatch
from everfold.streams.leases.registry import connected
from everfold.streams.redis.keys import connection_name
from everfold.streams.redis.redis_errors import command
from tests.support.network.certificates import Certificates
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
CONFIG = RunnerConfig(name="r1", lease_ttl_s=2.0, renew_every_s=0.1, lease_margin_s=0.2)


class Told:
    """What the renewer has called."""

    def __init__(self) -> None:
        self.lost: list[int] = []
        self.canceling = 0

    def on_cancel(self) -> None:
        self.canceling += 1


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=1, actor="r1") as log:
        yield log


@pytest.fixture
async def renewer(log: Log) -> AsyncIterator[LeaseRenewer]:
    renewer = LeaseRenewer(log, CONFIG)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(renewer.run)
        yield renewer
        tasks.cancel_scope.cancel()


def seen_of(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


async def leased(log: Log) -> Lease:
    await log.submit(GRAPH)
    (lease,) = await Dispatch(log, "r1").claim(0, ["default"], 1)
    return lease


async def idle_ms(log: Log, lease: Lease) -> int:
    dispatch = log.keys.dispatch(0, lease.queue, lease.priority)
    ask = ("XPENDING", dispatch, "runners", lease.dispatch_id, lease.dispatch_id, 1)
    rows = await command(log.redis, *ask)
    assert isinstance(rows, list)
    return int(rows[0][2])


async def test_leases_are_renewed_and_trusted(log: Log, renewer: LeaseRenewer) -> None:
    lease, told = await leased(log), Told()
    renewer.add(lease, steady_s() - 10, told.lost.append, told.on_cancel)
    assert not renewer.is_trusted(lease)
    await eventually(lambda: renewer.is_trusted(lease))

    async def young() -> bool:
        return await idle_ms(log, lease) < 100

    await eventually(young)
    assert connection_name("r1") in await connected(log)
    assert (told.lost, told.canceling) == ([], 0)
    renewer.remove(lease)

    async def aged() -> bool:
        return await idle_ms(log, lease) > 500

    await eventually(aged)


async def test_a_lost_lease_and_a_request_to_cancel_are_told(
    log: Log, renewer: LeaseRenewer
) -> None:
    first, second = await leased(log), await leased(log)
    told, others = Told(), Told()
    renewer.add(first, steady_s(), told.lost.append, told.on_cancel)
    renewer.add(second, steady_s(), others.lost.append, others.on_cancel)
    await log.append(first.job_id, CancelRequested(reason=""), epoch=0)
    await eventually(lambda: told.canceling)
    await command(log.redis, "HSET", log.keys.head(first.job_id), "epoch", 7)
    await eventually(lambda: told.lost)
    assert (told.lost, others.lost, others.canceling) == ([7], [], 0)
    assert not renewer.is_trusted(first)
    assert renewer.is_trusted(second)


async def test_an_unusable_stream_costs_no_lease_of_another_one(
    log: Log, renewer: LeaseRenewer
) -> None:
    lease, told = await leased(log), Told()
    broken = Lease(
        job_id="x", runner="r1", epoch=1, seq=1, queue="odd", priority="low", dispatch_id="1-0"
    )
    await command(log.redis, "SET", log.keys.dispatch(0, "odd", "low"), "x")
    renewer.add(broken, steady_s(), told.lost.append, told.on_cancel)
    renewer.add(lease, steady_s() - 10, told.lost.append, told.on_cancel)
    await eventually(lambda: renewer.is_trusted(lease))
    assert told.lost == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
async def test_the_password_is_on_no_command_line_and_in_no_environment(
    own_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = own_server(tcp=True)
    async with Log.open(plain.url, partitions=1) as admin:
        await command(admin.redis, "ACL SETUSER", "ada", "on", ">se-cret", "~*", "&*", "+@all")
    url = f"redis://ada:se-cret@{urlsplit(plain.url).netloc}/0"
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("EVERFOLD_REDIS_URL", url)
    async with Log.open(url, actor="r1") as log, anyio.create_task_group() as tasks:
        renewer, told = LeaseRenewer(log, CONFIG), Told()
        tasks.start_soon(renewer.run)
        lease = await leased(log)
        renewer.add(lease, steady_s() - 10, told.lost.append, told.on_cancel)
        await eventually(lambda: renewer.is_trusted(lease))
        for name in ("cmdline", "environ"):
            assert b"se-cret" not in seen_of(renewer.pid, name)
        tasks.cancel_scope.cancel()


def test_a_url_is_read_as_the_runner_reads_it(tmp_path: Path) -> None:
    authority = Certificates(tmp_path).authority
    options = f"ssl_cert_reqs=none&ssl_ca_certs={authority}"
    tls = server_of(f"rediss://ada:p%40ss@host:7000/3?{options}")
    assert (tls.host, tls.port, tls.database) == ("host", 7000, 3)
    assert (tls.username, tls.password.reveal()) == ("ada", "p@ss")
    assert tls.tls == {"ssl_cert_reqs": "none", "ssl_ca_certs": str(authority)}
    assert server_of("unix:///tmp/x.sock").path == "/tmp/x.sock"
    assert server_of("redis://h").tls is None


def test_the_process_gets_what_python_needs_and_nothing_else() -> None:
    given = {"PATH": "/bin", "REDIS_URL": "redis://:pw@h", "AWS_SECRET": "x", "SSL_CERT_FILE": "f"}
    assert environment(given).keys() == {"PATH", "SSL_CERT_FILE", "PYTHONPATH"}
