"""`everfold serve` as a process: its start, its end, and Redis away."""

from __future__ import annotations

import re
import signal
import socket
import time

import anyio
import httpx
import pytest

from everfold.streams.appending.log import Log
from tests.support.programs.programs import Program, StartProgram, programs
from tests.support.servers import OwnServer, StartServer

pytestmark = pytest.mark.anyio

QUIET = {"EVERFOLD_LOG": "ERROR"}
"""What is served is logged, and so is a server that keeps nothing."""


async def address(program: Program) -> str:
    """Return where a gateway says that it listens."""
    line = await program.line("gateway", within_s=20)
    found = re.search(r"http://\S+", line)
    assert found, line
    return found[0]


async def ready(program: Program) -> str:
    url = await address(program)
    await program.line("ready", within_s=20)
    return url


async def test_it_says_where_it_listens_and_a_signal_ends_it(
    start_program: StartProgram, redis_url: str, namespace: str
) -> None:
    environ = {"REDIS_URL": redis_url, "EVERFOLD_NAMESPACE": namespace, **QUIET}
    program = start_program("-m", "everfold", "serve", "--port", "0", environ=environ)
    url = await ready(program)
    await program.line("runners  none", within_s=20)
    assert max(map(len, program.lines)) <= 80
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/livez")).text == "ok\n"
        assert (await client.get("/features")).status_code == 200
        began_s = time.monotonic()
        program.send(signal.SIGTERM)
        assert await program.end() == 0, program
    assert time.monotonic() - began_s < 3
    assert program.error_lines == []


async def test_a_port_in_use_is_told(
    start_program: StartProgram, redis_url: str, namespace: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        environ = {"REDIS_URL": redis_url, "EVERFOLD_NAMESPACE": namespace, **QUIET}
        program = start_program("-m", "everfold", "serve", "--port", port, environ=environ)
        assert await program.end(20) == 2
    assert program.error_lines == [
        f"everfold: port {port} of 127.0.0.1 is in use: end what listens there, or choose another "
        "--port"
    ]


async def test_without_its_packages_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from everfold.__main__ import run"
    with programs() as start_anew:  # a fork has them already
        program = start_anew("-c", f"{code}; sys.exit(run(['serve', '--port', '0']))")
        assert await program.end(20) == 2
    assert program.error_lines == ["everfold: the gateway needs: pip install 'everfold[server]'"]


async def test_it_listens_while_redis_is_away_and_serves_when_it_comes(
    start_program: StartProgram, own_server: StartServer
) -> None:
    server = own_server(tcp=True, save="", appendonly="yes")
    server.kill()
    program = start_program(
        "-m", "everfold", "serve", "--port", "0", environ={"REDIS_URL": server.url}
    )
    url = await address(program)
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/livez")).status_code == 200
        for path in ("/queue", "/api/v2/jobs"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "error" in answer.json()
        await program.line("waits", within_s=20)
        assert max(map(len, program.lines)) <= 80
        server.start()
        await program.line("ready", within_s=20)
        assert (await client.get("/features")).status_code == 200
    program.send(signal.SIGINT)
    assert await program.end() == 0, program


async def connected(client: httpx.AsyncClient) -> httpx.Response:
    """Return the first answer of an address at which nobody listens yet."""
    with anyio.fail_after(20):
        while True:
            try:
                return await client.get("/queue")
            except httpx.ConnectError:
                await anyio.sleep(0.02)


async def test_a_client_of_the_first_moment_is_answered(
    start_program: StartProgram, own_server: StartServer
) -> None:
    server = own_server(tcp=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    start_program("-m", "everfold", "serve", "--port", port, environ={"REDIS_URL": server.url})
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await connected(client)).status_code == 200


async def test_it_ends_while_it_waits_for_redis(
    start_program: StartProgram, own_server: StartServer
) -> None:
    server = own_server(tcp=True)
    server.kill()
    program = start_program(
        "-m", "everfold", "serve", "--port", "0", environ={"REDIS_URL": server.url}
    )
    await program.line("waits", within_s=20)
    program.send(signal.SIGTERM)
    assert await program.end() == 0, program


async def test_what_is_wrongly_set_up_ends_it(
    start_program: StartProgram, own_server: StartServer
) -> None:
    server = own_server(tcp=True)
    await _with_partitions_of_a_later_version(server)
    program = start_program(
        "-m", "everfold", "serve", "--port", "0", environ={"REDIS_URL": server.url, **QUIET}
    )
    assert await program.end(20) == 2, program
    assert len(program.error_lines) == 1
    assert "Traceback" not in str(program)


async def test_an_address_that_is_refused_is_not_announced(
    start_program: StartProgram, redis_url: str, namespace: str
) -> None:
    environ = {"REDIS_URL": redis_url, "EVERFOLD_NAMESPACE": namespace, **QUIET}
    for wrong in (("--host", "0.0.0.0"), ("--front-end", "/nowhere")):
        arguments = ("-m", "everfold", "serve", "--port", "0", *wrong)
        program = start_program(*arguments, environ=environ)
        assert await program.end(20) == 2, program
        assert program.lines == []
        assert len(program.error_lines) == 1


async def _with_partitions_of_a_later_version(server: OwnServer) -> None:
    async with Log.open(server.url) as log:
        await log.redis.execute_command("HSET", log.keys.meta(), "schema", "99")


async def test_up_serves_it_beside_the_rest(
    start_program: StartProgram, redis_url: str, namespace: str
) -> None:
    environ = {"REDIS_URL": redis_url, "EVERFOLD_NAMESPACE": namespace}
    arguments = ("--comfyui", "http://127.0.0.1:1", "--no-thumbnails", "--serve", "--port", "0")
    program = start_program("-m", "everfold", "up", *arguments, environ=environ)
    url = await ready(program)
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/livez")).text == "ok\n"
    program.send(signal.SIGTERM)
    assert await program.end() == 0, program
