"""Where webhooks may go: no spelling of a private address, and no name that changes its mind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import anyio
import httpx
import pytest
from aiohttp import web

from everfold.projector.subscribing.subscription import GiveUp
from everfold.sinks.addresses import NotAllowed, check_url, is_public, resolve
from everfold.sinks.receiver import Refusal
from everfold.sinks.webhook import WebhookSink
from everfold.streams.errors import Misconfigured
from tests.everfold.sinks.receiver import Receiver

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

PRIVATE_IPV4 = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.8", "10.255.255.255", "100.64.0.1", "100.100.100.200"),
    *("100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.23"),
    *("169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1"),
    *("192.0.0.192", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
    *("198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255"),
    *("240.0.0.1", "255.255.255.255"),
)

PRIVATE_IPV6 = (
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"),
    *("fe80::1", "fe80::1%lo", "febf::1", "fec0::1", "feff::1", "fc00::1", "fd00:ec2::254"),
    *("fd20:ce::254", "ff02::1", "ff0e::1", "2001::1", "2001:0:7f00:1::", "2001:2::1"),
    *("2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1"),
    *("5f00::1", "100::1", "64:ff9b:1::7f00:1", "64:ff9b:1::8.8.8.8", "64:ff9b:2::1", "4000::1"),
)

PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.0.1"),
    *("172.32.0.1", "192.0.1.1", "169.253.0.1", "223.255.255.255", "168.63.129.17"),
    *("2606:2800:220:1::1", "2001:4860:4860::8888", "2a00:1450:4001::1", "::ffff:8.8.8.8"),
    *("64:ff9b::8.8.8.8", "64:ff9b::808:808"),
)

CARRIED = tuple(
    spelling.format(ip) for ip in PRIVATE_IPV4 for spelling in ("::ffff:{}", "64:ff9b::{}")
)


@pytest.mark.parametrize("text", [*PRIVATE_IPV4, *PRIVATE_IPV6, *CARRIED])
def test_an_address_that_is_private_or_special_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "2130706433", "0x7f000001"),
        *("017700000001", "0177.0.0.1", "0x7f.1", "127.1", "127.0.1", "0", "0.0", "::1"),
        *("0:0:0:0:0:0:0:1", "::ffff:7f00:1", "::ffff:127.0.0.1", "2852039166", "0xa9fea9fe"),
        *("0251.0376.0251.0376", "169.254.43518", "10.1", "fe80::1%1", "64:ff9b::7f00:1"),
    ],
)
async def test_private_networks_are_not_entered_however_they_are_written(host: str) -> None:
    with pytest.raises(NotAllowed, match="is not a public address"):
        await resolve(host, 443, allow_private=False)
    assert await resolve(host, 443, allow_private=True)


async def test_public_addresses_are_allowed() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1::1"):
        assert await resolve(address, 443, allow_private=False) == address


@pytest.mark.parametrize(
    "url",
    [
        *("https://127.0.0.1/", "https://127.0.0.1:443/", "https://[::1]/", "https://2130706433/"),
        *("https://[::ffff:127.0.0.1]/", "https://0x7f.1/", "https://127。0。0。1/"),
        *(
            "https://\uff11\uff12\uff17.0.0.1/",
            "https://①②⑦.0.0.1/",
            "https://localhost./",
            "https://LocalHost/",
        ),
        *("https://[fe80::1%25lo]/", "https://example.com@127.0.0.1/", "https://a:b@127.0.0.1/"),
        *("https://127.0.0.1\\@example.com/", "https://example.com\\@127.0.0.1/", "https:///x"),
        *("https://127.0.0.1%2f@example.com/", "https://127.0.0.1:99999/", "https://127.0.0.1:0/"),
        *(
            "https://127.0.0.1%00.example.com/",
            "https://127.0.0.1 .example.com/",
            "https:/127.0.0.1",
        ),
        *("https://%6c%6f%63%61%6c%68%6f%73%74/", f"https://{'a' * 64}.com/", "https://[::1%lo]/"),
        *("file:///etc/passwd", "gopher://127.0.0.1/", "//127.0.0.1/", "https://127.0.0.1\n/"),
    ],
)
async def test_no_spelling_of_a_url_reaches_this_machine(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[object] = []

    async def connect(*arguments: object, **_: object) -> None:
        connected.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(anyio, "connect_tcp", connect)
    with pytest.raises((Misconfigured, GiveUp, Refusal)):
        async with aclosing(WebhookSink(url, [SECRET])) as sink:
            await sink.post("msg_1", b"{}")
    assert connected == []


def name_server(monkeypatch: pytest.MonkeyPatch, answers: Sequence[Sequence[str]]) -> list[str]:
    """Let names resolve to each of `answers` in turn; return the list of names asked for."""
    asked: list[str] = []

    async def answer(host: str, port: int, **_: object) -> list[object]:
        addresses = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(2, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(anyio, "getaddrinfo", answer)
    return asked


@pytest.mark.parametrize("answer", [["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%2"]])
async def test_one_private_address_among_others_refuses_the_name(
    answer: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(monkeypatch, [answer])
    async with aclosing(WebhookSink("https://mixed.example/", [SECRET])) as sink:
        with pytest.raises(GiveUp, match=r"mixed\.example resolves to .*not a public address"):
            await sink.post("msg_1", b"{}")


async def test_a_name_that_changes_is_connected_to_as_it_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = name_server(monkeypatch, [["127.0.0.1"], ["127.0.0.2"]])
    port = httpx.URL(receiver.url).port
    url = f"http://straße.example:{port}/hook"
    async with aclosing(WebhookSink(url, [SECRET], allow_private=True)) as sink:
        assert await sink.post("msg_1", b"{}") == 204
    assert asked == ["xn--strae-oqa.example"]
    assert receiver.messages[0].headers["host"] == f"xn--strae-oqa.example:{port}"


async def test_cookies_and_redirects_of_a_receiver_are_not_taken(receiver: Receiver) -> None:
    url = receiver.url
    places = ("http://127.0.0.1:1/", "javascript:1", "http://xn--a/", "http://[/", f"{url}/b")
    async with aclosing(WebhookSink(url, [SECRET], allow_private=True)) as sink:
        for place in places:
            headers = {"Location": place, "Set-Cookie": "a=b"}
            receiver.answer = lambda _, headers=headers: web.Response(status=307, headers=headers)  # type: ignore[misc]
            with pytest.raises(Refusal, match="redirects are not followed"):
                await sink.post("msg_1", b"{}")
    assert len(receiver.messages) == len(places)
    assert not any("cookie" in message.headers for message in receiver.messages)


@pytest.mark.parametrize("url", ["https://h:0/", "https://h:65536/", "https://h:99999/"])
def test_a_port_that_does_not_exist_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="is not the address of a receiver"):
        check_url(url, allow_private=False)
