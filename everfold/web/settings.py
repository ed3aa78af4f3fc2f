"""What a gateway is told when it is made."""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

from everfold.runner.access.access import Access
from everfold.streams.errors import Misconfigured

MIB = 1024 * 1024

_TRACE_URL = re.compile(r"https?://[^\s{}]+\{trace_id\}[^\s{}]*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+")


class WebSettings(Struct, frozen=True, kw_only=True):
    """Settings of one gateway; each has a default that suits one machine."""

    front_end: str = ""
    """Folder of ComfyUI's web front end on this machine; empty: an installed package, if any."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of pages on other hosts that may call, such as https://studio.example."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which it is reached, besides addresses and localhost; empty: any, with keys."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies, or `unix`, whose X-Forwarded-... headers are believed."""
    requests_per_s: float = 200.0
    """What a key without a number of its own may ask of this gateway."""
    streams: int = 1_000
    """Event streams and websockets that such a key may have open at this gateway."""
    body_limit_bytes: int = 16 * MIB
    """The largest body but for files."""
    upload_limit_bytes: int = 1024 * MIB
    """The largest file that may be sent."""
    trace_url: str = ""
    """Where people see a trace, with {trace_id} in it: the console's link; empty: no link."""
    accesses: dict[str, Access] = {}
    """Access to servers by address, for what is passed on to their extensions; of one that is not
    named here the address is enough."""
    kept_s: float = 7200.0
    """Seconds that a projector keeps the state of a job that has ended: clients are told of it."""

    def __post_init__(self) -> None:
        """Raise Misconfigured for an origin, a host, a proxy or an address that cannot be one."""
        if self.trace_url and not _TRACE_URL.fullmatch(self.trace_url):
            raise Misconfigured(
                f"the address of traces {self.trace_url!r} is none: write "
                "https://traces.example/trace/{trace_id}"
            )
        for one in self.allowed_origins:
            if one != "*" and not _ORIGIN.fullmatch(one):
                raise Misconfigured(
                    f"the allowed origin {one!r} is none: write https://studio.example, or *"
                )
        for one in self.allowed_hosts:
            if not one or not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", one):
                raise Misconfigured(f"the allowed host {one!r} is none: write studio.example")
        for one in self.trusted_proxies:
            try:
                ipaddress.ip_network("127.0.0.1" if one == "unix" else one, strict=False)
            except ValueError as error:
                raise Misconfigured(
                    f"the trusted proxy {one!r} is none: write an address, a network or unix"
                ) from error
