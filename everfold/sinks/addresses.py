"""Where a webhook may go: only to public addresses, unless private ones are allowed.

Rule: the name is resolved once per message, every address it has is looked at, and the connection
goes to the address that was looked at, so that a name cannot point elsewhere a moment later.
"""

from __future__ import annotations

import ipaddress
import socket

import anyio
import httpx

from everfold.streams.errors import Misconfigured


class NotAllowed(Exception):
    """The name leads into a private network."""


def check_url(text: str, *, allow_private: bool) -> httpx.URL:
    """Return the address of a receiver. Raises Misconfigured for one that cannot be right."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise Misconfigured(f"{text!r} is no address: {error}") from error
    if url.scheme not in ("https", "http") or not url.host:
        raise Misconfigured(f"{text!r} is no address of a receiver; write https://host/path")
    if url.scheme == "http" and not allow_private:
        raise Misconfigured(
            f"{text!r} would send jobs in the clear; use https:// (or, for a receiver in your own "
            "network, --allow-private)"
        )
    if url.userinfo:
        raise Misconfigured("a receiver's address must not carry a password; it is signed for")
    return url


async def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """Return an address to connect to. Raises NotAllowed, or OSError where there is none."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(row[4][0]) for row in found]
    for address in addresses:
        if not allow_private and not _is_public(address):
            raise NotAllowed(f"{host} leads to {address}, which is not a public address")
    return addresses[0]


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Stands for the IPv4 address in its last four bytes."""


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if address.teredo is not None:
            return False
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return address.is_global and not address.is_multicast
