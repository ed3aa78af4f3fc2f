# Any text that stands where an address is wanted is refused, or it is the address of what is
# connected to, and that was checked. No error shows a secret of it.

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Iterator

import anyio
import pytest
from anyio.from_thread import BlockingPortal
from hypothesis import example
from hypothesis import strategies as st

from everfold.projector.subscribing.subscription import GiveUp
from everfold.runner.access.address import read_address
from everfold.sinks.addresses import check_url, is_public
from everfold.sinks.receiver import Refusal
from everfold.sinks.sql import _checked
from everfold.sinks.webhook import WebhookSink
from everfold.streams.border.addresses import masked_address, masked_receiver, masked_text
from everfold.streams.errors import EverfoldError, Misconfigured
from everfold.streams.nodes.address import parse_address
from everfold.streams.redis.server import connect, connection_arguments
from tests.fuzz.cases import fuzz
from tests.streams.border.test_secrets import said

MARK = "Zx9Qv"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

ODD = st.text(st.characters(codec=None, exclude_categories=()), max_size=4) | st.sampled_from(
    (
        *"@:/?#[]%&=;,\\ \n\t\x00'\"",
        "%40",
        "::",
        "//",
        "xn--",
        "\uff0e",
        "①",
        "²",
        "é",
        "\ud800",
        "99999",
    )
)
SCHEMES = st.sampled_from(
    (
        *("redis", "rediss", "unix", "http", "https", "ws", "postgresql+asyncpg", "sqlite"),
        *("", "REDIS", "file", "javascript", "redis+x"),
        *("redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster"),
    )
)  # fmt: skip
MIDDLES = st.sampled_from(("://", "://", "://", ":", "//", ":/", ":///"))
HOSTS = st.sampled_from(
    (
        *("h", "localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"),
        *("h:1,i:2", "a,b", "[::1]:1,h", "h:,i", "h,"),
        *("example.com", "[fe80::1%25lo]", "a..b", "x" * 300, "[", "straße.example", "", "8.8.8.8"),
    )
)  # fmt: skip
PORTS = st.sampled_from(("", "", ":1", ":6379", ":99999", ":-1", ":x", ":²", ":0", ":")) | ODD
USERS = st.just("") | st.builds(
    lambda before, odd, after: f"{before}{odd}{MARK}{after}@",
    st.sampled_from(("ada:", ":", "", "ada:x/", "ada:x#", "ada:x?", "a:b@")), ODD, ODD,
)  # fmt: skip
ENDS = st.sampled_from(
    (
        *("", "", "/0", "/x", "/-1", "/0/1", "/99999999999999999999", f"?password={MARK}"),
        *(f"/0?ssl_password={MARK}", f"?sig={MARK}&x=1", f"?a=1;token={MARK}", "?db=x", "?ssl=1"),
        *("?socket_timeout=x", "?ssl_cert_reqs=none", "?ssl_min_version=9", "?db=", "?db=²", "?%"),
        *(f"/s?sentinel_password={MARK}", f"/s/0?sentinel_user={MARK}", "/s/x", "/?db=1"),
        *("?protocol=3", "?socket_read_size=x", "?socket_keepalive=x", "?lib_name=a b", "?x"),
    )
)  # fmt: skip
TEXTS = st.builds(
    lambda *parts: "".join(parts), ODD | st.just(""), SCHEMES, MIDDLES, USERS, HOSTS, PORTS, ENDS
)

USES: tuple[Callable[[str], object], ...] = (
    *(connect, connection_arguments, parse_address, read_address, _checked),
    lambda url: [repr(parse_address(url)), str(parse_address(url).shown)],
    lambda url: check_url(url, allow_private=False),
    lambda url: check_url(url, allow_private=True),
)


@fuzz(text=TEXTS | st.text(max_size=30))
@example(text=f"/redis://h?password={MARK}")  # no path of a file, though it begins like one
def test_an_address_is_taken_or_refused_and_shows_no_secret(text: str) -> None:
    told = list[str]()
    for use in USES:
        try:
            use(text)
        except EverfoldError as error:
            told += said(error)
    for mask in (masked_address, masked_receiver):
        told.append(mask(text))
    assert not [each for each in told if MARK in each]
    assert isinstance(masked_text(text), str)


class Network:
    """Stands for the resolver and the network: a name has the addresses that a case gives it."""

    def __init__(self) -> None:
        self.answers = list[str]()
        self.connected = list[str]()

    async def getaddrinfo(self, host: str | bytes, port: int, **_: object) -> list[object]:
        str(host).encode("idna")
        return [(socket.AF_INET, 1, 6, "", (answer, port)) for answer in self.answers]

    async def connect_tcp(self, remote_host: str, *_: object, **__: object) -> None:
        self.connected.append(remote_host)
        raise OSError("no network in this test")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    network = Network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anyio, "getaddrinfo", network.getaddrinfo)
        patch.setattr(anyio, "connect_tcp", network.connect_tcp)
        yield network


ADDRESSES = st.lists(
    st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(str)
    | st.sampled_from(("127.0.0.1", "8.8.8.8", "::1", "fe80::1%lo", "10.0.0.1", "2606:2800::1")),
    min_size=1,
    max_size=3,
)


@fuzz(text=TEXTS, answers=ADDRESSES, allow_private=st.booleans())
def test_a_webhook_connects_to_an_address_that_was_checked(
    portal: BlockingPortal, network: Network, text: str, answers: list[str], allow_private: bool
) -> None:
    network.answers, network.connected = answers, []
    portal.call(post, text, allow_private)
    assert set(network.connected) <= {answers[0]}
    assert allow_private or not network.connected or all(map(is_public, answers))


async def post(text: str, allow_private: bool) -> None:
    try:
        sink = WebhookSink(text, [SECRET], allow_private=allow_private)
    except Misconfigured:
        return
    try:
        await sink.post("msg_1", b"{}")
    except (GiveUp, Refusal) as error:
        # As a log shows it: httpx keeps the request itself beside its text.
        told = "".join(traceback.format_exception(error))
        assert MARK not in told
    finally:
        await sink.aclose()
