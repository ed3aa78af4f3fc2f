"""TLS by flag, environment and config file, through the commands as people run them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from everfold.embedded import find_server, named_url
from everfold.streams.errors import Misconfigured
from tests.support.network.certificates import Certificates, tls_engines, tls_server
from tests.support.programs.programs import Program, StartProgram

pytestmark = pytest.mark.anyio

NO_NAMESPACE = "there is no namespace 'everfold' on the server"
"""What an empty server makes of a read: it was reached."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def url(certificates: Certificates) -> Iterator[str]:
    """A server with TLS that wants a client certificate."""
    engines = [engine for engine in tls_engines() if engine.source == "path"]
    if not engines:
        pytest.skip("no redis-server on PATH, and the embedded Valkey has no TLS")
    with tls_server(engines[0], certificates, wants_client=True) as url:
        yield url


async def said(program: Program, code: int = 0) -> str:
    """Wait for its end; return its one line."""
    assert await program.end(within_s=30) == code, program
    lines = program.error_lines if code else program.lines
    assert len(lines) == 1, program
    return lines[0]


def flags(certificates: Certificates, authority: Path) -> list[str]:
    return [
        *("--redis-ca", str(authority)),
        *("--redis-cert", str(certificates.certificate("client"))),
        *("--redis-key", str(certificates.key("client"))),
    ]


async def test_flags(start_program: StartProgram, url: str, certificates: Certificates) -> None:
    ls = ("-m", "everfold", "jobs", "ls", "--redis-url", url)

    right = start_program(*ls, *flags(certificates, certificates.authority))
    wrong = start_program(*ls, *flags(certificates, certificates.foreign_authority))
    bare = start_program(*ls, "--redis-ca", str(certificates.authority))

    assert NO_NAMESPACE in await said(right, code=2)
    assert "signed by no authority that is trusted here" in await said(wrong, code=2)
    assert "wants a client certificate" in await said(bare, code=4)


async def test_environment(
    start_program: StartProgram, url: str, certificates: Certificates
) -> None:
    port = url.rpartition(":")[2].removesuffix("/0")
    environ = {
        "REDIS_HOST": "localhost",
        "REDIS_PORT": port,
        "REDIS_CA": str(certificates.authority),
        "REDIS_CERT": str(certificates.both("client")),
    }
    ls = ("-m", "everfold", "jobs", "ls")

    assert NO_NAMESPACE in await said(start_program(*ls, environ=environ), code=2)
    plain = {**environ, "REDIS_URL": f"redis://localhost:{port}/0"}
    assert "need a URL with rediss://" in await said(start_program(*ls, environ=plain), code=2)


async def test_config_file(
    start_program: StartProgram, url: str, certificates: Certificates, tmp_path: Path
) -> None:
    file = certificates.folder / "everfold.toml"
    file.write_text(
        f'redis_url = "{url}"\nredis_ca = "ca.pem"\nredis_cert = "client.pem"\n'
        'redis_key = "client.key"\nredis_check_hostname = true\n'
    )
    ls = ("-m", "everfold", "jobs", "ls", "--config", str(file))

    assert NO_NAMESPACE in await said(start_program(*ls), code=2)
    other = {"REDIS_CA": str(certificates.foreign_authority)}
    assert "signed by no authority" in await said(start_program(*ls, environ=other), code=2)


async def test_a_host_that_is_not_checked(
    start_program: StartProgram, certificates: Certificates
) -> None:
    engines = [engine for engine in tls_engines() if engine.source == "path"]
    if not engines:
        pytest.skip("no redis-server on PATH, and the embedded Valkey has no TLS")
    with tls_server(engines[0], certificates, "elsewhere") as url:
        environ = {"REDIS_URL": url, "REDIS_CA": str(certificates.authority)}
        ls = ("-m", "everfold", "jobs", "ls")

        assert "for another host" in await said(start_program(*ls, environ=environ), code=2)
        unchecked = start_program(*ls, "--no-redis-check-hostname", environ=environ)
        assert NO_NAMESPACE in await said(unchecked, code=2)
        variable = {**environ, "REDIS_CHECK_HOSTNAME": "false"}
        assert NO_NAMESPACE in await said(start_program(*ls, environ=variable), code=2)


def test_an_application_gets_them_from_the_environment(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "rediss://h/0", "REDIS_CA": "/a", "REDIS_CHECK_HOSTNAME": "no"}
    assert find_server(environ=environ) == ("rediss://h/0?ssl_ca_certs=/a&ssl_check_hostname=false")
    assert named_url({"REDIS_HOST": "h", "REDIS_CA": "/a"}) == "rediss://h:6379/0?ssl_ca_certs=/a"
    linked = {"REDIS_PORT": "tcp://10.0.0.1:6379", "REDIS_CERT": "/b"}
    assert named_url(linked) == "rediss://10.0.0.1:6379/0?ssl_certfile=/b"
    assert named_url({"REDIS_CA": "/a", "EVERFOLD_DATA": str(tmp_path)}) is None
    with pytest.raises(Misconfigured, match="rediss://"):
        find_server(environ={"REDIS_URL": "redis://h", "REDIS_CA": "/a"})
