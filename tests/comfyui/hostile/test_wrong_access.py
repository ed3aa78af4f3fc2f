"""Each wrong access to a server has its sentence, which says what to do and shows no secret."""

from __future__ import annotations

import anyio
import pytest

from everfold.runner.access.access import Access
from everfold.runner.access.address import read_address, without_secrets
from everfold.runner.backend import Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.simulator import simulate
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.support.network.certificates import Certificates
from tests.support.trouble.access_proxy import access_proxy, refusal

pytestmark = pytest.mark.anyio

MARK = "Zx9Qv"
HEADERS = {"Authorization": f"Bearer {MARK}", "X-Key": f"{MARK}2"}
TABLE = "in [backends.NAME] of everfold.toml"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def why(access: Access | str, within_s: float = 1.0) -> Unreachable:
    """Return what a runner learns of a server that it does not get to."""
    backend = ComfyBackend(access, timeout_s=within_s)
    try:
        load = await backend.load()
    finally:
        await backend.aclose()
    assert isinstance(load, Unreachable), load
    assert MARK not in load.why
    return load


# What answers.

ANSWERS = [
    (refusal("401 Unauthorized"), {}, "it wants a password or a header (401): set user and"),
    (refusal("401 Unauthorized"), HEADERS, "it refuses the password or header that it gets (401)"),
    (refusal("403 Forbidden"), HEADERS, "it refuses the password or header that it gets (403)"),
    (refusal("403 Forbidden"), {}, "it wants a password or a header (403): set"),
    (refusal("407 Proxy"), {}, "it wants a password or a header (407)"),
    (refusal("429 Slow"), {}, "it wants fewer requests (429): raise its limit"),
    (refusal("404 Not Found"), {}, "there is no ComfyUI at this path (404): correct the path"),
    (refusal("302 Found", headers="Location: /login\r\n"), {}, "it sends on (302), as to a login"),
    (refusal("502 Bad"), {}, "a gateway answers, and says that ComfyUI is away (502): start"),
    (refusal("503 Away"), {}, "a gateway answers, and says that ComfyUI is away (503): start"),
    (refusal("200 OK", b"<html>Log in"), {}, "it answers with a page: a login stands before it"),
    (refusal("200 OK", b'{"ok": true}'), {}, "it answers, and is no ComfyUI: correct host, port"),
    (
        refusal("400 Bad", b"The plain HTTP request was sent to HTTPS port"),
        {},
        "it speaks TLS at this port (400): write https://",
    ),
    (
        refusal("400 Bad", b"No required SSL certificate was sent"),
        {},
        f"it wants a client certificate that it trusts: set client_cert and client_key, {TABLE}",
    ),
    (b"SSH-2.0-OpenSSH_9.2\r\n", {}, "it does not speak HTTP at this port: write https://, or"),
    (b"-ERR unknown command\r\n", {}, "it does not speak HTTP at this port"),
]


@pytest.mark.parametrize(("answer", "headers", "sentence"), ANSWERS)
async def test_what_answers_wrongly_is_told(
    answer: bytes, headers: dict[str, str], sentence: str
) -> None:
    async with access_proxy("http://127.0.0.1:1", answer=answer) as proxy:
        found = await why(Access(address=read_address(proxy.url, headers)))
    assert found.why.startswith(sentence)
    assert found.refuses == any(f"({n})" in found.why for n in (401, 403, 407, 429))


@pytest.mark.parametrize("status", [200, 400, 418, 500])
async def test_a_server_that_repeats_what_was_sent_shows_no_secret(status: int) -> None:
    """Debugging pages do that."""

    async def repeat(exchange: Exchange) -> None:
        await exchange.read_request()
        padding = b"x" * 190
        await exchange.answer(status, padding + exchange.received, b"Connection: close\r\n")

    async with raw_server(repeat) as server:
        address = server.url.replace("http://", f"http://ada:{MARK}pw@")
        await why(address)
        await why(Access(address=read_address(server.url, HEADERS)))


async def test_a_broken_answer_that_repeats_a_header_shows_no_secret() -> None:
    async def repeat(exchange: Exchange) -> None:
        await exchange.read_head()
        await exchange.stream.send(f"HTTP/1.1 200 OK\r\n{MARK} {MARK}2\r\n\r\n".encode())

    async with raw_server(repeat) as server:
        await why(Access(address=read_address(server.url, HEADERS)))


# What does not answer.


async def test_a_wrong_port_and_a_wrong_host_are_told(unused_tcp_port: int) -> None:
    found = await why(f"http://127.0.0.1:{unused_tcp_port}")
    assert found.why == "nothing listens there: start ComfyUI, or correct host and port"
    found = await why("http://no-such-host.invalid:8188", 10)
    assert found.why == "no machine is known by the host of this address: correct it"
    assert not found.refuses


async def test_a_port_that_stays_silent_and_one_that_hangs_up_are_told() -> None:
    async def silent(exchange: Exchange) -> None:
        await anyio.sleep_forever()

    async def hang_up(exchange: Exchange) -> None:
        await exchange.read_head()

    async with raw_server(silent) as server:
        assert (await why(server.url, 0.2)).why.startswith("it does not answer: it hangs, host or")
    async with raw_server(hang_up) as server:
        assert (await why(server.url)).why.startswith("it does not speak HTTP at this port")


async def test_a_server_that_has_answered_and_hangs_up_is_not_called_another_program() -> None:
    async def once(exchange: Exchange) -> None:
        await exchange.read_head()
        if len(server.exchanges) == 1:
            body = b'{"queue_running": [], "queue_pending": []}'
            await exchange.answer(200, body, b"Connection: close\r\n")

    async with raw_server(once) as server:
        backend = ComfyBackend(server.url, timeout_s=1)
        first = await backend._read_queue()
        second = await backend._read_queue()
        await backend.aclose()
    assert not isinstance(first, Unreachable)
    assert isinstance(second, Unreachable)
    assert second.why == "it hung up without an answer, as one does that ends or starts anew"


# TLS.


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("expired", "its certificate has expired: renew it"),
        ("early", "its certificate is not valid yet: see to the clocks here and there"),
        ("elsewhere", "its certificate is for another host: use a name that the certificate has"),
    ],
)
async def test_a_certificate_that_is_wrong_is_told(
    name: str, sentence: str, certificates: Certificates
) -> None:
    async with access_proxy("http://127.0.0.1:1", certificates=certificates, name=name) as proxy:
        found = await why(trusting(proxy.url, certificates))
    assert found.why == sentence


def trusting(url: str, certificates: Certificates, client: str = "") -> Access:
    """Return an access that trusts the right authority, and shows the certificate `client`."""
    return Access(
        address=read_address(url, HEADERS),
        ca_file=str(certificates.authority),
        client_cert=str(certificates.certificate(client)) if client else "",
        client_key=str(certificates.key(client)) if client else "",
    )


async def test_an_authority_that_is_not_named_or_wrong_is_told(certificates: Certificates) -> None:
    wrong = str(certificates.foreign_authority)
    async with access_proxy("http://127.0.0.1:1", certificates=certificates) as proxy:
        for access in (proxy.url, Access(address=read_address(proxy.url), ca_file=wrong)):
            found = await why(access)
            assert found.why == (
                "its certificate is signed by no authority that is trusted here: name the "
                f"authority's file with ca_file, {TABLE}"
            )


@pytest.mark.parametrize("client", ["", "foreign"])
async def test_a_client_certificate_that_is_missing_or_not_trusted_is_told(
    client: str, certificates: Certificates
) -> None:
    async with access_proxy(
        "http://127.0.0.1:1", certificates=certificates, wants_client=True
    ) as proxy:
        found = await why(trusting(proxy.url, certificates, client))
    assert "it wants a client certificate that it trusts: set client_cert" in found.why


async def test_the_wrong_scheme_is_told(certificates: Certificates) -> None:
    async with access_proxy("http://127.0.0.1:1", certificates=certificates) as proxy:
        found = await why(proxy.url.replace("https://", "http://"))
        assert found.why.startswith("it does not speak HTTP at this port: write https://")
    async with simulate() as simulator:
        found = await why(simulator.url.replace("http://", "https://"))
        assert found.why == "it speaks no TLS at this port: write http://, or correct the port"


def test_only_what_was_sent_is_masked() -> None:
    headers = {"Authorization": "Basic YWRhOmFi", "X-Key": "longsecret", "User-Agent": "agent"}
    text = "agent ab abc cab Basic YWRhOmFi longsecrets ada:ab"
    assert without_secrets(text, headers) == "agent *** abc cab *** ***s ***"
