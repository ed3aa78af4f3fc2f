"""Checks where a webhook goes: only to public addresses, unless private ones are allowed.

Rule: the name is resolved once per message, all its addresses are checked, and the connection goes
to a checked address, so that the name cannot point elsewhere in between.
"""

from __future__ import annotations

import ipaddress
import socket

import anyio
import httpx

from everfold.streams.errors import Misconfigured


class NotAllowed(Exception):
    """The name resolves to an address that is not public."""


def check_url(text: str, *, allow_private: bool) -> httpx.URL:
    """Return a receiver's URL.

    Raises Misconfigured for one that is not http(s), carries a password, or is http without
    `allow_private`.
    """
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise Misconfigured(f"{text!r} is not an address: {error}") from error
    if url.scheme not in ("https", "http") or not url.host:
        raise Misconfigured(f"{text!r} is not the address of a receiver; write https://host/path")
    if url.scheme == "http" and not allow_private:
        raise Misconfigured(
            f"{text!r} would send jobs unencrypted; use https:// (or, for a receiver in your own "
            "network, --allow-private)"
        )
    if url.userinfo:
        raise Misconfigured(
            "a receiver's address must not carry a password: messages are signed instead"
        )
    return url


async def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """Return the IP address to connect to. Raises NotAllowed, or OSError for an unknown name."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(row[4][0]) for row in found]
    for address in addresses:
        if not allow_private and not _is_public(address):
            raise NotAllowed(f"{host} resolves to {address}, which is not a public address")
    return addresses[0]


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""An address of this network carries an IPv4 address in its last four bytes."""


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
