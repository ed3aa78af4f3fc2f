"""Checks where a webhook goes: only to public addresses, unless private ones are allowed.

Rule: the name is resolved once per message, all its addresses are checked, and the connection goes
to a checked address, so that the name cannot point elsewhere in between.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

import anyio
import httpx

from everfold.streams.border.addresses import masked_receiver
from everfold.streams.errors import Misconfigured


class NotAllowed(Exception):
    """The name resolves to an address that is not public."""


def check_url(text: str, *, allow_private: bool) -> httpx.URL:
    """Return a receiver's URL.

    Raises Misconfigured for one that is not http(s), carries a password, or is http without
    `allow_private`.
    """
    url, shown = None, masked_receiver(text)
    with suppress(httpx.InvalidURL, TypeError, ValueError):  # their texts show parts of it
        url = httpx.URL(text)
    if url is None:
        raise Misconfigured(f"{shown!r} is not an address; write https://host/path")
    has_port = url.port is None or 0 < url.port < 2**16
    if url.scheme not in ("https", "http") or not url.host or not has_port:
        raise Misconfigured(f"{shown!r} is not the address of a receiver; write https://host/path")
    if url.scheme == "http" and not allow_private:
        raise Misconfigured(
            f"{shown!r} would send jobs unencrypted; use https:// (or, for a receiver in your own "
            "network, --allow-private)"
        )
    if url.userinfo:
        raise Misconfigured(
            "a receiver's address must not carry a password; messages are signed instead"
        )
    return url


async def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """Return the IP address to connect to. Raises NotAllowed, or OSError for an unknown name.

    One address that is not public is enough to refuse the name.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that no name can have
        raise OSError(f"{host} is not a name: {error}") from error
    addresses = [str(row[4][0]) for row in found]
    for address in addresses:
        if not allow_private and not is_public(address):
            raise NotAllowed(f"{host} resolves to {address}, which is not a public address")
    return addresses[0]


NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            # The address at which Azure tells a machine its own secrets.
            "168.63.129.16/32",
            # Protocols, Teredo among them; documentation; 6to4, which carries an IPv4 address.
            *("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16"),
        ),
    )
)
"""A list of our own: what `ipaddress` calls global differs between patch versions of Python."""

_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is assigned to the public internet; everything else of IPv6 is private or special."""

_WITH_IPV4_INSIDE = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""IPv4 within IPv6: the last four bytes are the address that is reached."""


def is_public(text: str) -> bool:
    """Say whether an IP address, with or without a zone, belongs to the public internet."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _WITH_IPV4_INSIDE):
            address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        elif address not in _UNICAST:
            return False
    return not any(address in network for network in NOT_PUBLIC)
