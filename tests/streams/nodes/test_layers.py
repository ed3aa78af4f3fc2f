"""Passwords and certificates of a cluster and of a Sentinel service, each of its own layer."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from everfold.embedded.engines import Engine
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.tls import Tls
from everfold.streams.errors import (
    NoServer,
    ServerInCluster,
    ServerNotTrusted,
    ServerRefusesAccess,
    ServerUnreachable,
)
from everfold.streams.nodes.routed_redis import RoutedRedis
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect, open_redis
from tests.support.groups.cluster import StartCluster
from tests.support.groups.server_group import Node
from tests.support.network import resp
from tests.support.network.certificates import Certificates, tls_engines, tls_server
from tests.support.servers import tcp_address
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=tls_engines(), ids=str)
def tls_engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


def own_settings(certificates: Certificates) -> Tls:
    return Tls(
        ca=str(certificates.authority),
        cert=str(certificates.certificate("good")),
        key=str(certificates.key("good")),
    )


@pytest.fixture
def tls_url(tls_engine: Engine, certificates: Certificates) -> Iterator[str]:
    """A server that wants a client certificate."""
    with ExitStack() as stack:
        yield stack.enter_context(tls_server(tls_engine, certificates, wants_client=True))


@contextlib.asynccontextmanager
async def tls_sentinel(certificates: Certificates, primary: str) -> AsyncIterator[str]:
    """Name `primary` to who shows a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
    context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))
    context.verify_mode = ssl.CERT_REQUIRED
    host, _, port = primary.rpartition(":")
    named = f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n".encode()

    async def answer(stream: ByteStream) -> None:
        rest = b""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            async with stream:
                while True:
                    requests, rest = resp.split(rest + await stream.receive())
                    for request in requests:
                        await stream.send(named if b"GET-MASTER" in request else b"*-1\r\n")

    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with (
        TLSListener(tcp, context, standard_compatible=False) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        yield f"localhost:{tcp.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


async def test_a_service_with_tls_has_it_for_sentinels_and_servers(
    tls_url: str, certificates: Certificates
) -> None:
    primary = tls_url.removeprefix("rediss://").removesuffix("/0")
    async with tls_sentinel(certificates, primary) as sentinel:
        url = f"rediss+sentinel://{sentinel}/main/0"
        redis = await open_redis(own_settings(certificates).added_to(url))
        assert await command(redis, "PING") == b"PONG"
        assert redis.node_of("x") == primary
        await redis.aclose()
        redis = await open_redis(url)
        with pytest.raises((ServerNotTrusted, ServerUnreachable)):
            await command(redis, "PING")
        await redis.aclose()


async def test_a_cluster_with_tls_opens_by_both_forms(
    tls_engine: Engine, certificates: Certificates
) -> None:
    bus = tcp_address()[1]  # by itself it would be 10,000 above the port, which may not exist
    settings = {"cluster_enabled": "yes", "tls_cluster": "yes", "cluster_port": bus}
    with tls_server(tls_engine, certificates, wants_client=True, **settings) as url:
        url = own_settings(certificates).added_to(url)
        alone = connect(url)
        await command(alone, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        async def serves() -> bool:
            return b"cluster_state:ok" in await _info(alone)

        await eventually(serves, 10.0)
        await alone.aclose()
        for form in (url, url.replace("rediss://", "rediss+cluster://")):
            redis = await open_redis(form)
            assert isinstance(redis, RoutedRedis)
            assert await command(redis, "SET", "k", "1") == b"OK"
            await redis.aclose()


async def _info(redis: LedgerRedis) -> bytes:
    answer = await command(redis, "CLUSTER", "INFO")
    assert isinstance(answer, bytes)
    return answer


def let_in(node: Node) -> None:
    node.ask("ACL", "SETUSER", "ada", "on", ">of@data", "~*", "+@all")
    node.ask("ACL", "SETUSER", "poor", "on", ">x", "~*", "+get", "+set")
    node.ask("ACL", "SETUSER", "default", "off")


@pytest.mark.long
async def test_the_users_of_a_cluster_are_those_of_all_its_nodes(own_cluster: StartCluster) -> None:
    cluster = own_cluster(3, 0)
    url, node = cluster.url, cluster.nodes[0]
    for one in cluster.nodes:
        let_in(one)
    redis = await open_redis(url.replace("://", "://ada:of%40data@"))
    assert await redis.execute_all([("SET", f"k{n}", "1") for n in range(50)]) == [b"OK"] * 50
    await redis.aclose()
    for wrong in ("", "ada:wrong@"):
        with pytest.raises(ServerRefusesAccess, match=r"password"):
            await open_redis(url.replace("://", f"://{wrong}"))
    with pytest.raises(ServerRefusesAccess, match="let its user send CLUSTER SLOTS"):
        await open_redis(url.replace("://", "://poor:x@"))
    # Valkey 9 can have databases in a cluster, but has one until it is told of more.
    with pytest.raises((ServerInCluster, NoServer), match="write /0"):
        await open_redis(f"redis://ada:of%40data@{node}/3")
