"""`--metrics-port`: each process that runs until a signal is watched through it."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from everfold.commands.process.process import running
from everfold.commands.process.process_options import ProcessOptions
from everfold.commands.session import Session
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured
from tests.everfold.running import Everfold, ended
from tests.support.programs.programs import Program
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

PORT = ("--metrics-port", "0")
SHOWS_NAMESPACE = {"up", "serve", "metrics"}
ALL = {
    "up": ("up", "--data", "{folder}/data", *PORT),
    "up --serve": ("up", "--serve", "--port", "0", "--data", "{folder}/data", *PORT),
    "runner": ("runner", *PORT),
    "projector": ("projector", *PORT),
    "serve": ("serve", "--port", "0", *PORT),
    "metrics": ("metrics", *PORT),
    "sink": ("sink", "sql", "--url", "sqlite:///{folder}/rows.sqlite", *PORT),
    "archive": ("archive", "run", "--archive", "{folder}/archive", *PORT),
}


async def address_of(program: Program) -> str:
    """Wait until it is watched; return the address of its metrics."""
    return (await program.line("/metrics", within_s=20)).split()[-1]


async def answer(url: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(url)


async def shows(url: str, line: str) -> bool:
    return line in (await answer(url)).text


@pytest.mark.parametrize("arguments", ALL.values(), ids=ALL)
async def test_every_process_is_watched(
    everfold: Everfold, server: OwnServer, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    given = (word.replace("{folder}", str(tmp_path)) for word in arguments)
    program = everfold(*given, "--json", COMFYUI_URL="http://127.0.0.1:9")

    [url] = json.loads(await program.line("metrics", within_s=20))["metrics"]
    assert (await answer(url.replace("/metrics", "/livez"))).text == "ok\n"
    ready = (await answer(url.replace("/metrics", "/readyz"))).json()
    assert ready["is_ready"] is (not ready["missing"])
    found = await answer(url)
    assert found.status_code == 200
    assert "process_resident_memory_bytes" in found.text
    if arguments[0] in SHOWS_NAMESPACE:
        async with Log.open(server.url):
            pass  # makes the namespace, which what reads does not
        await eventually(lambda: shows(url, "everfold_namespace_up 1.0"), 20)
    else:
        assert "everfold_namespace_up" not in found.text
    program.send(signal.SIGTERM)
    assert await program.end(within_s=20) in (0, -signal.SIGTERM)


async def test_a_port_in_use_ends_it_before_any_work(everfold: Everfold) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        program = everfold("projector", "--metrics-port", port, REDIS_URL="redis://127.0.0.1:1")

        assert await ended(program, 2) == []
    assert program.error_lines == [
        f"everfold: port {port} of 127.0.0.1 is in use: end what listens there, or choose another "
        "--metrics-port"
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metrics-port", "99999"), "--metrics-port"),
        (("--metrics-port", "x"), "--metrics-port"),
        (("--metrics-port", "0", "--metrics-host", "192.0.2.1"), "--metrics-host"),
        (("--metrics-port", "0", "--metrics-host", "no.such.host.invalid"), "--metrics-host"),
    ],
)
async def test_an_address_that_cannot_be_is_refused(
    everfold: Everfold, options: tuple[str, ...], said: str
) -> None:
    program = everfold("projector", *options)

    await ended(program, 2)
    assert said in "".join(program.error_lines)


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("everfold.metrics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(ExceptionGroup) as raised:
        async with running(ProcessOptions(metrics_port=0), Session()):
            raise AssertionError("it runs without what it needs")
    assert raised.group_contains(Misconfigured, match=r"pip install 'everfold\[metrics\]'")


async def test_while_redis_is_away_a_scrape_says_so(everfold: Everfold, server: OwnServer) -> None:
    program = everfold("metrics", *PORT)
    url = await address_of(program)
    assert await shows(url, "everfold_namespace_up 0.0"), "there is no namespace yet"
    async with Log.open(server.url):
        pass
    await eventually(lambda: shows(url, "everfold_namespace_up 1.0"), 20)

    server.kill()

    await eventually(lambda: shows(url, "everfold_namespace_up 0.0"), 30)
    text = (await answer(url)).text
    assert "everfold_jobs{" not in text
    assert "everfold_script_seconds" in text
    assert program.exit_code is None
