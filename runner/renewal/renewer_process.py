"""The process that renews leases, as its runner sees it: started, told, heard, ended.

Rule: it gets nothing from the runner's environment but what Python needs, and the password by pipe.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping

from everfold.runner.renewal.messages import (
    Forget,
    FromRenewer,
    Place,
    Server,
    ToRenewer,
    decode_from_renewer,
    line,
)
from everfold.streams.border.secrets import Secret, SecretUrl
from everfold.streams.nodes.address import parse_address
from everfold.streams.redis.server import connection_arguments

MODULE = "everfold.runner.renewal.renewer"

LINE_LIMIT = 1 << 24
"""Longest line that is read, in bytes: a round names each lease that is over."""

FORGET_WITHIN_S = 0.05
"""A lease that is over is refused, and no other one of its job: it may be renewed for a moment."""

KEPT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "__PYVENV_LAUNCHER__")
KEPT_PREFIXES = ("PYTHON", "LD_", "DYLD_", "LC_", "SSL_", "OPENSSL_")
"""Variables that a Python and its TLS library may need."""


def environment(of: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the new process, which imports from where this one does."""
    kept = {
        name: value for name, value in of.items() if name in KEPT or name.startswith(KEPT_PREFIXES)
    }
    kept["PYTHONPATH"] = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return kept


def server_of(url: str | SecretUrl) -> Server:
    """Return where a server URL leads. Raises NoServer for a URL that is none."""
    given = connection_arguments(url)
    tls = {name: value for name, value in given.items() if name.startswith("ssl_")}
    return Server(
        host=str(given.get("host", "localhost")),
        port=int(str(given.get("port", 6379))),
        path=str(given.get("path", "")),
        database=int(str(given.get("db", 0) or 0)),
        username=str(given.get("username") or ""),
        password=Secret(str(given.get("password") or "")),
        tls=_plain(tls) if SecretUrl(url).reveal().startswith("rediss:") else None,
    )


def place_of(url: str | SecretUrl, *, is_cluster: bool = False) -> Place:
    """Return how the primaries are found that a URL leads to. Raises NoServer for no URL.

    With `is_cluster` the server of a plain URL is a node of a cluster.
    """
    address = parse_address(url)
    if address.kind == "server":
        kind, server = "cluster" if is_cluster else "server", server_of(url)
        return Place(kind=kind, asked=(server,), data=server)
    data = tuple(server_of(address.server_url(one)) for one in address.endpoints)
    if address.kind == "cluster":
        return Place(kind="cluster", asked=data, data=data[0])
    asked = tuple(server_of(address.sentinel_url(one)) for one in address.endpoints)
    return Place(kind="sentinel", asked=asked, data=data[0], service=address.service)


def _plain(tls: Mapping[str, object]) -> dict[str, str | int | bool]:
    """Return the options as JSON can hold them."""
    found: dict[str, str | int | bool] = {}
    for name, value in tls.items():
        if isinstance(value, list):
            found[name] = " ".join(str(int(flag)) for flag in value)
        elif isinstance(value, bool | int | str):
            found[name] = value
    return found


class RenewerProcess:
    """One start of the process. Call `end` in the end, whatever has happened."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self._told: list[bytes] = []
        """What is to be written next."""
        self._writing: asyncio.Handle | None = None
        self._is_urgent = False

    @classmethod
    async def start(cls) -> RenewerProcess:
        """Start it. Raises OSError."""
        # -P: what lies in the current folder must not be imported in place of a library.
        command = (sys.executable, "-P", "-m", MODULE)
        environ = environment(os.environ)
        return cls(
            await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, env=environ, limit=LINE_LIMIT
            )
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: ToRenewer) -> None:
        """Send it a message, with all others of this turn of the event loop; one that has ended
        gets nothing. What it is to forget waits for more, FORGET_WITHIN_S at most."""
        self._told.append(line(message))
        is_urgent = not isinstance(message, Forget)
        if self._writing is not None and (self._is_urgent or not is_urgent):
            return
        if self._writing is not None:
            self._writing.cancel()
        loop, self._is_urgent = asyncio.get_running_loop(), is_urgent
        if is_urgent:
            self._writing = loop.call_soon(self._write)
        else:
            self._writing = loop.call_later(FORGET_WITHIN_S, self._write)

    def _write(self) -> None:
        told, self._told, self._writing = self._told, [], None
        if not self._stdin.is_closing():
            self._stdin.write(b"".join(told))

    async def heard(self) -> FromRenewer | None:
        """Return what it says next, None when it has ended."""
        try:
            text = await self._stdout.readline()
            return decode_from_renewer(text) if text.endswith(b"\n") else None
        except (ValueError, OSError):
            return None

    def kill(self) -> None:
        if self._process.returncode is None:
            try:
                self._process.kill()
            except ProcessLookupError:
                return

    async def end(self) -> int:
        """End it at once and return its exit code."""
        self.kill()
        if self._writing is not None:
            self._writing.cancel()
        self._stdin.close()
        return await self._process.wait()
