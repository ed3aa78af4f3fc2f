"""A primary, two replicas and three Sentinels on this machine, for the demo of a failover.

Rule: they listen on the loopback alone, with a password of their own, and end with the context.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from everfold.embedded.engines import Engine
from everfold.streams.closing import in_thread
from everfold.streams.errors import NoServer

HOST, NAME = "127.0.0.1", "demo"
REPLICAS, SENTINELS, QUORUM = 2, 3, 2

DOWN_AFTER_MS = 2_000
"""A primary that does not answer for so long is taken for dead."""

WHOLE_WITHIN_S, END_WITHIN_S = 30.0, 5.0

SETTINGS = {
    "bind": HOST,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "repl-diskless-sync-delay": "0",
}


class Member:
    """One server of the service, a Sentinel or not."""

    def __init__(self, role: str, folder: Path, password: str) -> None:
        self.role, self.folder, self.port = role, folder, _free_port()
        self._password = password
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, engine: Engine, settings: Iterator[str], *options: str) -> None:
        """Start it with a file of these settings, which only this user may read."""
        self.folder.mkdir(parents=True)
        file = self.folder / "server.conf"
        file.touch(0o600)
        own = (f"port {self.port}", f"dir {self.folder}", f"requirepass {self._password}")
        file.write_text("\n".join((*own, *settings)) + "\n")
        with (self.folder / "server.log").open("wb") as log:
            self._child = subprocess.Popen(
                [engine.program, str(file), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the demo alone; it ends its children itself.
                start_new_session=True,
            )

    def ask(self, *command: str | int) -> object:
        """Send one command; None where it does not answer as it should."""
        client = Redis(
            *(HOST, self.port),
            password=self._password,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=_NEVER,
            protocol=2,
        )
        with contextlib.closing(client), contextlib.suppress(RedisError, OSError):
            return cast("object", client.execute_command(*command))  # type: ignore[no-untyped-call]
        return None

    def kill(self) -> None:
        """SIGKILL: what a crash, an out-of-memory kill or a power cut looks like."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def end(self) -> None:
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()


class Service:
    """All of them. The servers are named a, b and c; a is the primary at first."""

    def __init__(self, folder: Path) -> None:
        self._password = secrets.token_hex(16)
        roles = ("a", "b", "c")[: 1 + REPLICAS]
        self.servers = [Member(role, folder / role, self._password) for role in roles]
        names = [f"sentinel-{number}" for number in range(1, SENTINELS + 1)]
        self._sentinels = [Member(name, folder / name, self._password) for name in names]

    @property
    def url(self) -> str:
        """The address, with its password."""
        places = ",".join(f"{HOST}:{one.port}" for one in self._sentinels)
        return f"redis+sentinel://:{self._password}@{places}/{NAME}/0?sentinel_password={self._password}"

    @property
    def primary(self) -> Member | None:
        """The server that most Sentinels take for the primary; None while they do not agree."""
        ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        told = [_port(one.ask(*ask)) for one in self._sentinels]
        agreed = [one for one in self.servers if told.count(one.port) >= QUORUM]
        return next((one for one in agreed if _is_primary(one)), None)

    def start(self, engine: Engine) -> None:
        """Start all, and wait until a failover could begin. Raises NoServer."""
        first = self.servers[0]
        for one in self.servers:
            one.start(engine, self._settings("" if one is first else f"{HOST} {first.port}"))
        for sentinel in self._sentinels:
            sentinel.start(engine, self._watch(first), "--sentinel")
        deadline_s = time.monotonic() + WHOLE_WITHIN_S
        while not self._is_whole():
            if time.monotonic() > deadline_s:
                place = first.folder.parent
                raise NoServer(f"{engine} made no service with Sentinels; see {place}")
            time.sleep(0.1)

    def _settings(self, replica_of: str) -> Iterator[str]:
        yield from (_line(name, value) for name, value in SETTINGS.items())
        yield f"masterauth {self._password}"
        if replica_of:
            yield f"replicaof {replica_of}"

    def _watch(self, first: Member) -> Iterator[str]:
        yield f"bind {HOST}"
        yield f"sentinel monitor {NAME} {HOST} {first.port} {QUORUM}"
        yield f"sentinel auth-pass {NAME} {self._password}"
        yield f"sentinel sentinel-pass {self._password}"
        yield f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}"
        yield f"sentinel failover-timeout {NAME} 10000"
        yield f"sentinel parallel-syncs {NAME} {REPLICAS}"

    def _is_whole(self) -> bool:
        """Say whether the replicas are in sync, and each Sentinel knows all others."""
        told = [one.ask("INFO", "replication") for one in self.servers]
        linked = [_says(reply, "master_link_status:up") for reply in told]
        watched = [_about(one.ask("SENTINEL", "MASTER", NAME)) for one in self._sentinels]
        return linked.count(True) == REPLICAS and all(
            about.get("num-slaves") == str(REPLICAS)
            and about.get("num-other-sentinels") == str(SENTINELS - 1)
            for about in watched
        )

    def end(self) -> None:
        """End the Sentinels first: they would take the end of the servers for a failure."""
        for one in (*self._sentinels, *self.servers):
            one.end()


_NEVER = Retry(NoBackoff(), 0)


@contextlib.asynccontextmanager
async def sentinel_service(engine: Engine, folder: Path) -> AsyncIterator[Service]:
    """Start a service in a folder, and end it. Raises NoServer."""
    made = Service(folder)
    try:
        await in_thread(made.start, engine)
        yield made
    finally:
        await in_thread(made.end)


def _line(name: str, value: str) -> str:
    return f'{name} "{value}"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _port(reply: object) -> int:
    return int(reply[1]) if isinstance(reply, list) else 0


def _is_primary(member: Member) -> bool:
    return _says(member.ask("INFO", "replication"), "role:master")


def _says(reply: object, words: str) -> bool:
    if isinstance(reply, dict):
        name, _, value = words.partition(":")
        return str(reply.get(name)) == value
    return isinstance(reply, bytes) and words.encode() in reply


def _about(reply: object) -> dict[str, str]:
    """Return what a Sentinel says of the service, as names and values."""
    flat = [part.decode() for part in reply] if isinstance(reply, list) else []
    return dict(zip(flat[::2], flat[1::2], strict=True))
