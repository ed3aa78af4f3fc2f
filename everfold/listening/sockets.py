"""The sockets that a process listens on, and the addresses that people type."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator, Sequence

from everfold.streams.border.values import shown
from everfold.streams.errors import Misconfigured

BACKLOG = 512

FILES_WANTED = 16_384
"""Open files that a process of many connections may need."""


def listen(host: str, port: int, options: str = "--") -> list[socket.socket]:
    """Listen on all addresses of a host; port 0 picks a free one, the same for all.

    `options` is how the options of host and port begin. Raises Misconfigured for a host that this
    machine does not have, and for a port in use.
    """
    made = list[socket.socket]()
    try:
        for family, address in _addresses(host):
            # Where the protocol is named, asyncio lets no answer wait for the ACK of its head.
            one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
            one.listen(BACKLOG)
            one.setblocking(False)
            port = one.getsockname()[1]
    except OSError as error:
        for one in made:
            one.close()
        raise _refusal(host, port, options, error) from error
    return made


def raise_file_limit() -> None:
    """Let this process have as many open files as it may, up to FILES_WANTED."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _addresses(host: str) -> Sequence[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list({(family, str(address[0])): None for family, *_, address in found})


def _refusal(host: str, port: int, options: str, error: OSError) -> Misconfigured:
    if error.errno == errno.EADDRINUSE:
        return Misconfigured(
            f"port {port} of {host} is in use: end what listens there, or choose another "
            f"{options}port"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = f"choose a {options}port above 1023"
        return Misconfigured(f"port {port} of {host} is not allowed: {advice}")
    why = error.strerror or str(error)
    return Misconfigured(f"cannot listen on {shown(host)}, port {port}: {why}; see {options}host")


def is_loopback(address: str) -> bool:
    """Say whether an address, as a socket shows it, is this machine's own."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def is_private(sockets: Sequence[socket.socket]) -> bool:
    """Say whether only this machine can reach them all."""
    return all(is_loopback(one.getsockname()[0]) for one in sockets)


def urls(sockets: Sequence[socket.socket]) -> list[str]:
    """Return the addresses to type, of sockets for all addresses the host's own name."""
    return list(dict.fromkeys(_urls(sockets)))


def _urls(sockets: Sequence[socket.socket]) -> Iterator[str]:
    for one in sockets:
        address, port = one.getsockname()[:2]
        if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
            address = socket.gethostname()
        yield f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
