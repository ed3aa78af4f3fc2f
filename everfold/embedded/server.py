"""Starts, finds and stops the server process of a data folder.

Rule: the server runs in a session of its own: a Ctrl-C for the process that started it does not
reach it, and it outlives that process. kill -9 loses nothing that it acknowledged, because each
write is in the append-only file, in the kernel's hands, before the answer.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress

from msgspec import Struct
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from everfold.embedded.data_folder import Address, DataFolder, EngineRecord, Lock, socket_path
from everfold.embedded.engines import Engine
from everfold.streams.errors import NoServer, ServerUnreachable

ANSWER_S = 30.0
"""Longest wait for an answer during start or stop; the time of loading does not count."""
STOP_S = 30.0
CHECK_INTERVAL_S = 0.01
LOG_END_CHARACTERS = 600

SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}
"""Every command is in the append-only file before it is answered, no key is ever evicted, and
only this user can connect."""


class EmbeddedServer:
    """The server of a data folder; also one that another process started or restarted."""

    def __init__(self, folder: DataFolder, socket: str, pid: int) -> None:
        self._folder = folder
        self._socket = socket
        self._pid = pid

    @property
    def url(self) -> str:
        """unix://...; the same after a restart."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """The process id of the server that runs, or of the one that ran last."""
        recorded = self._folder.read_address()
        # 0 is recorded during a start, and remains when the starting process is killed.
        return recorded.pid if recorded and recorded.pid else self._pid

    @property
    def data_folder(self) -> DataFolder:
        """The folder that the server's data lie in."""
        return self._folder

    def is_running(self) -> bool:
        """Say whether the process exists; a frozen or loading one counts."""
        _reap(self.pid)
        try:
            return self._folder.has_server()
        except NoServer:  # its folder was removed, and its lock with it
            return _exists(self._pid)

    def stop(self, within_s: float = STOP_S) -> None:
        """Send SIGTERM and wait for the end; does nothing to a server that has ended.

        Raises ServerUnreachable when it has not ended within `within_s`; it may end later.
        """
        pid = self.pid
        if not self.is_running():
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            # A frozen process receives SIGTERM only after SIGCONT.
            os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + within_s
        while self.is_running():
            if time.monotonic() > deadline:
                raise ServerUnreachable(f"the server (pid {pid}) does not end in {within_s:g} s")
            time.sleep(CHECK_INTERVAL_S)


class ServerState(Struct, frozen=True):
    """What a server answers about itself."""

    pid: int
    loading: bool
    folder: str


def running_server(folder: DataFolder) -> EmbeddedServer | None:
    """Return the folder's server, None unless it answers and has loaded its data."""
    address = folder.read_address()
    seen = _ask(address.socket) if address else None
    if address is None or seen is None or seen.loading or seen.folder != str(folder):
        return None
    return EmbeddedServer(folder, address.socket, seen.pid)


def known_server(folder: DataFolder) -> EmbeddedServer | None:
    """Return the folder's server, else the recorded one, which may be frozen or gone."""
    if server := running_server(folder):
        return server
    address = folder.read_address()
    return EmbeddedServer(folder, address.socket, address.pid) if address and address.pid else None


def running_or_started(
    folder: DataFolder, choose: Callable[[], Engine], environ: Mapping[str, str]
) -> tuple[EmbeddedServer, bool]:
    """Return the folder's server, and True when this call started it with the chosen engine.

    Of several processes that call this at once, one starts the server. Raises ServerUnreachable
    when the folder's server exists but does not answer within ANSWER_S, NoServer when it does
    not start, and what `choose` raises.
    """
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        if server := running_server(folder):
            return server, False
        if lock := folder.lock_server():
            with closing(lock):
                return _start(folder, choose(), lock, environ), True
        if _is_loading(folder):
            deadline = time.monotonic() + ANSWER_S
        time.sleep(CHECK_INTERVAL_S)
    address = folder.read_address() or Address("its socket", 0)
    raise ServerUnreachable(
        f"the server of {folder} (pid {address.pid}) does not answer on {address.socket}; "
        f"end it with `kill {address.pid}` and try again"
    )


def _start(
    folder: DataFolder, engine: Engine, lock: Lock, environ: Mapping[str, str]
) -> EmbeddedServer:
    recorded = folder.read_engine()
    # Written before the start: data may exist from then on, and its engine must be known.
    folder.write_engine(EngineRecord(engine.name, engine.version, engine.source))
    printed_before = folder.log.stat().st_size if folder.log.exists() else 0
    try:
        address = _spawned(folder, engine, lock, socket_path(folder, environ))
    except (NoServer, OSError) as error:
        folder.restore_engine(recorded)
        log = folder.log.read_bytes()[printed_before:] if folder.log.exists() else b""
        text = log.decode(errors="replace").strip()[-LOG_END_CHARACTERS:]
        raise NoServer(f"{error}; its log {folder.log} ends with:\n{text}") from error
    return EmbeddedServer(folder, address.socket, address.pid)


def _spawned(folder: DataFolder, engine: Engine, lock: Lock, socket: str) -> Address:
    folder.write_address(Address(socket, 0))
    address = Address(socket, _spawn(folder, engine, lock, socket))
    folder.write_address(address)
    _wait_until_ready(engine, address)
    return address


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without Everfold's settings: the key of sealing is not the server's."""
    return {name: value for name, value in environ.items() if not name.startswith("EVERFOLD_")}


def _spawn(folder: DataFolder, engine: Engine, lock: Lock, socket: str) -> int:
    """Start the process, which inherits the lock and keeps it until it ends."""
    settings = {**SETTINGS, "dir": str(folder), "unixsocket": socket}
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.set_inheritable(lock.file, True)
    try:
        # Not subprocess: its objects warn when they are collected before the process ends.
        return os.posix_spawn(
            engine.program,
            [engine.program, *arguments],
            {**_without_settings(os.environ), "LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
        )
    finally:
        os.set_inheritable(lock.file, False)
        os.close(log)


def _wait_until_ready(engine: Engine, address: Address) -> None:
    deadline = time.monotonic() + ANSWER_S
    while True:
        seen = _ask(address.socket)
        if seen and seen.pid == address.pid and not seen.loading:
            return
        if seen:
            deadline = time.monotonic() + ANSWER_S
        if _reap(address.pid):
            raise NoServer(f"{engine} did not start")
        if time.monotonic() > deadline:
            os.kill(address.pid, signal.SIGKILL)
            os.waitpid(address.pid, 0)
            raise NoServer(f"{engine} did not answer in {ANSWER_S:.0f} s")
        time.sleep(CHECK_INTERVAL_S)


def _is_loading(folder: DataFolder) -> bool:
    address = folder.read_address()
    seen = _ask(address.socket) if address else None
    return seen is not None and seen.loading


def _ask(socket: str) -> ServerState | None:
    """Ask the server on the socket about itself; None when nothing answers."""
    client = Redis(unix_socket_path=socket, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
    try:
        with closing(client):
            facts = client.info()
            folder = str(client.config_get("dir")["dir"])
    except (RedisError, OSError):
        return None
    return ServerState(int(facts["process_id"]), bool(facts["loading"]), os.path.realpath(folder))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _reap(pid: int) -> bool:
    """Say whether no child of ours with this number runs; another thread may have seen its end."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
