"""What a request says of itself before anything of it is believed.

Rule: it reads the head and nothing else. What a proxy added counts only where the proxy is a
trusted one, and what is there twice and may be there once makes the request a wrong one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import cookie_parser

COOKIE = "everfold_session"

ONCE = ("host", "origin", "authorization", "x-api-key", "sec-fetch-site", "content-length")
"""Headers of which two would mean two things."""

FORWARDED = (
    *("forwarded", "via", "x-real-ip"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix"),
)
"""What proxies add."""

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,64}){1,8}")


class RequestHead(Struct, frozen=True, kw_only=True):
    """The parts of a request's head that access depends on."""

    method: str
    """WEBSOCKET for a handshake."""
    path: str
    """Without the prefix under which the gateway is mounted."""
    scheme: str
    peer: str
    """Address of whoever is connected, "" for a socket file."""
    is_proxied: bool
    """Whether it has passed a proxy that nobody said to trust."""
    headers: Mapping[str, str]
    twice: str = ""
    """The name of a header that is there twice and may not be."""
    prefix: str = ""

    def header(self, name: str) -> str:
        """Return a header, empty for none."""
        return self.headers.get(name, "").strip()

    @property
    def is_unsafe(self) -> bool:
        """Whether it may change something, or opens a channel that may."""
        return self.method not in ("GET", "HEAD", "OPTIONS")

    @property
    def is_local(self) -> bool:
        """Whether it comes from this machine and from nowhere else."""
        return not self.is_proxied and (not self.peer or is_loopback(self.peer))

    @property
    def key(self) -> str | None:
        """The key that it shows, None for none."""
        kind, _, text = self.header("authorization").partition(" ")
        if kind.lower() == "bearer":
            return text.strip()
        return self.header("x-api-key") or None

    @property
    def session(self) -> str:
        """The login that it shows, empty for none."""
        # Python's own parser drops all of them for one that another program on the host set oddly.
        return cookie_parser(self.header("cookie")).get(COOKIE, "")

    @property
    def wants_page(self) -> bool:
        """Whether a person at a browser waits for a page."""
        return self.method == "GET" and "text/html" in self.header("accept")


def read_head(scope: Mapping[str, object], trusted: Sequence[str] = ()) -> RequestHead:
    """Read the head of an ASGI scope; `trusted` are addresses and networks of proxies."""
    found, twice = dict[str, str](), ""
    raw = scope["headers"]
    assert isinstance(raw, Sequence)
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("latin-1")
        if name in found:
            twice = name if name in ONCE else twice
            value = f"{found[name]}{'; ' if name == 'cookie' else ', '}{value}"
        found[name] = value
    client, prefix = scope.get("client"), str(scope.get("root_path") or "")
    path = str(scope["path"])
    head = RequestHead(
        method="WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"]),
        path=path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path,
        scheme=str(scope.get("scheme") or "http"),
        peer=str(client[0]) if isinstance(client, Sequence) else "",
        is_proxied=any(name in found for name in FORWARDED),
        headers=found,
        twice=twice,
        prefix=prefix,
    )
    return _through_proxies(head, trusted) if trusted and head.is_proxied else head


def _through_proxies(head: RequestHead, trusted: Sequence[str]) -> RequestHead:
    """Believe what trusted proxies say: the client is the last one that is no such proxy."""
    peer, hops = head.peer, head.header("x-forwarded-for").split(",")
    if not _is_one_of(peer, trusted):
        return head
    while hops and _is_one_of(peer, trusted):
        peer = hops.pop().strip() or peer
    host = head.header("x-forwarded-host").rpartition(",")[2].strip() or head.header("host")
    scheme = head.header("x-forwarded-proto").rpartition(",")[2].strip().lower()
    secure = {"https", "wss"} if scheme in ("https", "wss") else set()
    schemes = ("wss", "ws") if head.method == "WEBSOCKET" else ("https", "http")
    prefix = head.header("x-forwarded-prefix").rstrip("/")
    is_prefix = _PREFIX.fullmatch(prefix) is not None
    return replace(
        head,
        peer=peer,
        is_proxied=_is_one_of(peer, trusted),  # it did not say who the client is
        scheme=schemes[0] if secure else schemes[1] if scheme else head.scheme,
        headers={**head.headers, "host": host},
        prefix=prefix + head.prefix if is_prefix else head.prefix,
    )


def is_loopback(address: str) -> bool:
    """Say whether an address, as a socket shows it, is this machine's own."""
    found = address_of(address)
    return found is not None and found.is_loopback


def _is_one_of(address: str, networks: Sequence[str]) -> bool:
    found = address_of(address)
    if found is None:
        return not address and "unix" in networks
    return any(
        found in ipaddress.ip_network(one, strict=False) for one in networks if one != "unix"
    )


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, in brackets or not; None for a text that is none."""
    try:
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
