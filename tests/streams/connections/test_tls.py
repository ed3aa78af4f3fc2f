"""TLS to the server: what is right works, everything else is one sentence that says what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from everfold.embedded.engines import Engine
from everfold.runner.renewal.renewer_process import server_of
from everfold.runner.renewal.server_connection import ServerConnection
from everfold.streams.appending.log import Log
from everfold.streams.connections.tls import Tls
from everfold.streams.errors import (
    OUTAGES,
    Misconfigured,
    ServerNotTrusted,
    ServerUnreachable,
    ServerUrlInvalid,
)
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.server import connect
from tests.support.network.certificates import Certificates, tls_engines, tls_server
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

StartTls = Callable[..., str]
"""start(certificate, wants_client=False) -> its URL, rediss:// and without options."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=tls_engines(), ids=str)
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@pytest.fixture(scope="module")
def start(engine: Engine, certificates: Certificates) -> Iterator[StartTls]:
    """Start servers with TLS; the same arguments give the same server."""
    running: dict[tuple[str, bool], str] = {}
    with ExitStack() as stack:

        def start_tls(certificate: str = "good", wants_client: bool = False) -> str:
            wanted = (certificate, wants_client)
            if wanted not in running:
                server = tls_server(engine, certificates, *wanted)
                running[wanted] = stack.enter_context(server)
            return running[wanted]

        yield start_tls


@pytest.fixture
def trusting(certificates: Certificates) -> Tls:
    return Tls(ca=str(certificates.authority))


def presenting(certificates: Certificates, name: str) -> Tls:
    """Return settings that trust the authority and show a client certificate."""
    return Tls(
        ca=str(certificates.authority),
        cert=str(certificates.certificate(name)),
        key=str(certificates.key(name)),
    )


async def ping(url: str) -> object:
    redis = connect(url)
    try:
        return await command(redis, "PING")
    finally:
        await redis.aclose()


async def test_the_log_works_with_an_authority_of_its_own(start: StartTls, trusting: Tls) -> None:
    async with Log.open(trusting.added_to(start()), partitions=1) as log:
        made = await log.submit({"1": {"class_type": "EmptyImage", "inputs": {}}})
        assert made.created


async def test_the_renewer_trusts_what_its_runner_trusts(
    start: StartTls, certificates: Certificates
) -> None:
    url = presenting(certificates, "client").added_to(start(wants_client=True))
    connection = ServerConnection(server_of(url), "renewer", 5.0)
    assert connection.ask("PING") == b"PONG"
    connection.close()


async def test_a_client_certificate_may_be_in_one_file_with_its_key(
    start: StartTls, certificates: Certificates
) -> None:
    tls = Tls(ca=str(certificates.authority), cert=str(certificates.both("client")))
    url = tls.added_to(start(wants_client=True))
    assert await ping(url) == b"PONG"
    connection = ServerConnection(server_of(url), "renewer", 5.0)
    connection.close()


@pytest.mark.parametrize(
    ("certificate", "sentence"),
    [
        ("expired", "has expired"),
        ("early", "is not valid yet"),
        ("elsewhere", "is for another host"),
        ("foreign", "is signed by no authority that is trusted here"),
    ],
)
async def test_a_certificate_that_is_not_right_is_a_sentence(
    start: StartTls, trusting: Tls, certificate: str, sentence: str
) -> None:
    with pytest.raises(ServerNotTrusted, match=f"^Redis: the server's certificate {sentence}"):
        await ping(trusting.added_to(start(certificate)))


@pytest.mark.parametrize("authority", ["", "foreign-ca.pem"])
async def test_an_authority_that_is_not_the_servers_is_a_sentence(
    start: StartTls, certificates: Certificates, authority: str
) -> None:
    tls = Tls(ca=str(certificates.folder / authority)) if authority else Tls()
    with pytest.raises(ServerNotTrusted, match="signed by no authority"):
        async with Log.open(tls.added_to(start())):
            pass


async def test_the_host_is_checked_unless_told_otherwise(
    start: StartTls, certificates: Certificates
) -> None:
    authority = str(certificates.authority)
    any_host = Tls(ca=authority, check_hostname=False)
    assert await ping(any_host.added_to(start("elsewhere"))) == b"PONG"
    with pytest.raises(ServerNotTrusted, match="signed by no authority"):
        await ping(any_host.added_to(start("foreign")))


@pytest.mark.parametrize("name", ["", "foreign"])
async def test_a_client_without_the_right_certificate_is_told_to_name_one(
    start: StartTls, certificates: Certificates, trusting: Tls, name: str
) -> None:
    tls = presenting(certificates, name) if name else trusting
    url = tls.added_to(start(wants_client=True))
    for _ in range(5):  # whether the server's alert arrives is a race
        with pytest.raises(ServerUnreachable, match="wants a client certificate"):
            await ping(url)


async def test_a_certificate_that_was_renewed_is_used_without_a_restart(
    start: StartTls, certificates: Certificates, tmp_path: Path
) -> None:
    file = tmp_path / "client.pem"
    shutil.copy(certificates.both("foreign"), file)
    tls = Tls(ca=str(certificates.authority), cert=str(file))
    redis = connect(tls.added_to(start(wants_client=True)))
    with pytest.raises(ServerUnreachable):
        await command(redis, "PING")
    shutil.copy(certificates.both("client"), file)
    assert await command(redis, "PING") == b"PONG"
    await redis.aclose()


async def test_tls_and_none_that_meet_are_a_sentence(
    start: StartTls, own_server: StartServer
) -> None:
    with pytest.raises(ServerUnreachable, match="Redis cannot be reached"):
        await ping(start().replace("rediss://", "redis://"))
    plain = own_server(tcp=True).url.replace("redis://", "rediss://")
    redis = connect(plain, timeout_s=0.5)
    with pytest.raises(ServerUnreachable, match="the server may speak no TLS at this port"):
        await command(redis, "PING")
    await redis.aclose()


def test_processes_wait_for_a_certificate_to_be_renewed() -> None:
    assert issubclass(ServerNotTrusted, OUTAGES)


# What the files must be.


def encrypted(certificates: Certificates, file: Path) -> Path:
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(certificates.key("client").read_bytes(), None)
    secret = pem.BestAvailableEncryption(b"opensesame")
    text = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, secret)
    file.write_bytes(text)
    return file


async def test_files_that_cannot_be_used_are_refused_before_connecting(
    certificates: Certificates, tmp_path: Path
) -> None:
    text, locked = tmp_path / "text", encrypted(certificates, tmp_path / "locked.key")
    text.write_text("no certificate")
    ca, cert, key = (str(certificates.authority), *map(str, (certificates.certificate("client"),
        certificates.key("client"))))  # fmt: skip
    wrong = (
        Tls(ca=str(text)),
        Tls(ca=str(tmp_path)),
        Tls(ca=str(tmp_path / "none")),
        Tls(ca=key),
        Tls(ca=ca, cert=cert),
        Tls(ca=ca, cert=str(text), key=key),
        Tls(ca=ca, cert=cert, key=str(certificates.key("good"))),
        Tls(ca=ca, cert=cert, key=str(locked)),
    )
    for tls in wrong:
        with pytest.raises(ServerUrlInvalid, match=r"ssl_\w+, .* cannot be used|names no file"):
            connect(tls.added_to("rediss://ada:opensesame@h:1/0"))
    with pytest.raises(Misconfigured, match="set REDIS_CERT as well"):
        Tls(key=key).added_to("rediss://h")
    connect(Tls(cert=cert, key=str(locked)).added_to("rediss://h?ssl_password=opensesame"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch(0o000)
    with pytest.raises(ServerUrlInvalid, match="permission denied"):
        connect(Tls(ca=str(file)).added_to("rediss://h"))


# How settings and URL meet.


def test_what_the_url_says_comes_first() -> None:
    tls = Tls(ca="/a", cert="/b", key="/c", check_hostname=False)
    assert tls.added_to("rediss://h") == (
        "rediss://h?ssl_ca_certs=/a&ssl_certfile=/b&ssl_keyfile=/c&ssl_check_hostname=false"
    )
    own = "rediss://h/0?ssl_check_hostname=true&ssl_ca_certs=/z"
    assert Tls(ca="/a", check_hostname=False).added_to(own) == own
    assert Tls().added_to(own) == own
    assert (
        Tls(ca="/a").added_to(Tls(ca="/a").added_to("rediss://h")) == "rediss://h?ssl_ca_certs=/a"
    )


def test_any_name_of_a_file_survives_the_url(certificates: Certificates, tmp_path: Path) -> None:
    file = tmp_path / "our own+ca & 100%?#.pem"
    shutil.copy(certificates.authority, file)
    options = server_of(Tls(ca=str(file)).added_to("rediss://h/0?db=3"))
    assert options.tls == {"ssl_ca_certs": str(file)}
    assert options.database == 3


def test_settings_of_tls_never_lead_to_a_connection_without_it() -> None:
    for tls in (Tls(ca="/a"), Tls(cert="/b"), Tls(check_hostname=False)):
        for url in ("redis://ada:opensesame@h:1/0", "h:1", "REDIS://h"):
            with pytest.raises(Misconfigured, match="rediss://") as told:
                tls.added_to(url)
            assert "opensesame" not in str(told.value)
        assert tls.added_to("unix:///tmp/x.sock") == "unix:///tmp/x.sock"
