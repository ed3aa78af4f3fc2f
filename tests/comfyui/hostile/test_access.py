"""A server behind a password, a header or certificates: HTTP and websocket get in alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from everfold.runner.access.access import Access
from everfold.runner.access.address import basic, read_address
from everfold.runner.backend import Ended, Load
from everfold.runner.comfyui import ComfyBackend
from everfold.simulator import simulate
from everfold.streams.border.secrets import Secret
from tests.comfyui.backend.test_against_simulator import Run
from tests.support.network.certificates import Certificates
from tests.support.trouble.access_proxy import AccessProxy, access_proxy

pytestmark = pytest.mark.anyio

WANTED = ("", "Authorization: Basic YWRhOm9wZW4=", "Authorization: Bearer tkn", "X-Api-Key: k")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def running(proxy: AccessProxy, access: Access) -> AsyncIterator[Run]:
    """Yield a job that has run through the gateway."""
    backend = ComfyBackend(access)
    try:
        assert isinstance(await backend.load(), Load)
        run = Run(backend, "slow_progress")
        truth = await run.follow()
        assert isinstance(truth, Ended)
        assert truth.succeeded
        yield run
    finally:
        await backend.aclose()


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("has_tls", [False, True])
async def test_a_job_runs_and_is_seen_through_a_gateway(
    wanted: str, has_tls: bool, certificates: Certificates
) -> None:
    name, _, value = wanted.partition(": ")
    async with (
        simulate(speed=10) as simulator,
        access_proxy(
            simulator.url,
            wanted=wanted,
            certificates=certificates if has_tls else None,
            wants_client=has_tls,
        ) as proxy,
    ):
        access = Access(
            address=read_address(proxy.url, {name: value} if name else {}),
            ca_file=str(certificates.authority) if has_tls else "",
            client_cert=str(certificates.certificate("client")) if has_tls else "",
            client_key=str(certificates.key("client")) if has_tls else "",
        )
        async with running(proxy, access) as run:
            assert run.progress, "nothing came over the websocket"
            assert any(line.startswith("get /ws?") for line in proxy.passed)
            assert proxy.refused == 0


async def test_a_gateway_that_takes_no_websocket_is_told_once_and_its_jobs_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        simulate(speed=10) as simulator,
        access_proxy(simulator.url, takes_sockets=False) as proxy,
    ):
        for _ in range(2):
            async with running(proxy, Access(address=read_address(proxy.url))):
                pass
    told = [one.getMessage() for one in caplog.records if "websocket_refused" in one.getMessage()]
    assert [line for line in told if "Upgrade" in line] == [
        f"websocket_refused url='{proxy.url}' status=400 "
        "advice='let the gateway pass Upgrade headers on'"
    ]


def test_the_header_of_a_user_is_the_same_from_a_url_and_from_settings() -> None:
    assert read_address("http://ada:open@h").headers["Authorization"] == basic("ada", "open")
    assert basic("ada", "open") == Secret("Basic YWRhOm9wZW4=")
