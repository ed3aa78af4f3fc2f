"""The data folder of an embedded server: its locks, and the records beside the data.

Rule: the process that starts the server holds server.lock, and the server inherits it: two servers
can never open the same data. Every user of the server holds holders.lock, shared. engine.json names
the engine that wrote the data, server.json the server's socket; both are replaced atomically.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from everfold.embedded.engines import Engine
from everfold.streams.assets.disk_errors import told
from everfold.streams.errors import NoServer
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.private_folder import expanded

SOCKET_PATH_LIMIT_BYTES = 103
"""The limit of macOS; Linux allows 107."""

S = TypeVar("S", bound=Struct)


class EngineRecord(Struct, frozen=True):
    """The engine that wrote the data files."""

    name: str
    version: tuple[int, int, int]
    source: str

    def __str__(self) -> str:
        return f"{self.name.capitalize()} {'.'.join(map(str, self.version))}"

    def is_readable_by(self, engine: Engine) -> bool:
        """Say whether the engine reads these files: same name, and not an older minor version."""
        return engine.name == self.name and engine.version[:2] >= self.version[:2]


class Address(Struct, frozen=True):
    """The socket of the server that runs, or of the one that ran last."""

    socket: str
    pid: int
    """0 while the server is being started."""


class DataFolder:
    """Creates the folder when it does not exist. Raises NoServer when it cannot be used."""

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path = path.resolve(strict=True)
            self._open(self.path / "server.lock").close()
        except OSError as error:
            raise _unusable(path, error) from error

    def __str__(self) -> str:
        return str(self.path)

    @property
    def log(self) -> Path:
        """The file that receives what the server prints."""
        return self.path / "server.log"

    def lock_server(self) -> Lock | None:
        """Lock the folder to start its server; None while a server runs or is being started."""
        return self._try_lock("server.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)

    def has_server(self) -> bool:
        """Say whether a server runs or is being started; a frozen or loading one counts."""
        free = self._try_lock("server.lock", fcntl.LOCK_SH | fcntl.LOCK_NB)
        if free is not None:
            free.close()
        return free is None

    def lock_for_use(self) -> Lock:
        """Keep the server from being stopped; waits, without limit, while it is being stopped."""
        lock = self._try_lock("holders.lock", fcntl.LOCK_SH)
        assert lock is not None
        return lock

    def read_engine(self) -> EngineRecord | None:
        """Return the recorded engine, None for a new folder. Raises NoServer for a damaged file."""
        return self._read("engine.json", EngineRecord)

    def write_engine(self, record: EngineRecord) -> None:
        """Record the engine, in one step. Raises NoServer where it cannot be written."""
        self._write("engine.json", record)

    def restore_engine(self, record: EngineRecord | None) -> None:
        """Put the record back that stood there before a failed start."""
        if record is None:
            (self.path / "engine.json").unlink(missing_ok=True)
        else:
            self.write_engine(record)

    def read_address(self) -> Address | None:
        """Return the recorded address, None before the first start. Raises NoServer if damaged."""
        return self._read("server.json", Address)

    def write_address(self, address: Address) -> None:
        """Record the address, in one step. Raises NoServer where it cannot be written."""
        self._write("server.json", address)

    def _try_lock(self, name: str, kind: int) -> Lock | None:
        lock = self._open(self.path / name)
        try:
            fcntl.flock(lock.file, kind)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _open(self, path: Path) -> Lock:
        try:
            return Lock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise _unusable(self.path, error) from error

    def _read(self, name: str, kind: type[S]) -> S | None:
        path = self.path / name
        try:
            return decoder(kind)(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, NotJson) as error:
            raise NoServer(f"{path} cannot be read ({error}); restore or delete it") from error

    def _write(self, name: str, record: Struct) -> None:
        part = self.path / f"{name}.part"
        try:
            part.write_bytes(msgspec.json.encode(record) + b"\n")
            part.replace(self.path / name)
        except OSError as error:
            raise _unusable(self.path, error) from error


def _unusable(path: Path, error: OSError) -> NoServer:
    return NoServer(
        f"the data folder {path} cannot be used: {told(error)}; see to it, choose another one with "
        "EVERFOLD_DATA, or name a running server with REDIS_URL"
    )


class Lock:
    """Locks a file until every process that has it open has closed it."""

    def __init__(self, file: int) -> None:
        self.file = file

    def is_last(self) -> bool:
        """Let go of the file, and say whether nobody else has it locked: then it stays locked until
        it is closed. Of several who ask at once one is the last."""
        fcntl.flock(self.file, fcntl.LOCK_UN)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close this process's copy of the file."""
        os.close(self.file)


def default_data_folder(environ: Mapping[str, str]) -> Path:
    """Return EVERFOLD_DATA, else `everfold` in the XDG data home."""
    if named := environ.get("EVERFOLD_DATA"):
        return expanded(named)
    data_home = environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "everfold"


def socket_path(folder: DataFolder, environ: Mapping[str, str]) -> str:
    """Return the path of the folder's socket: always the same one, at most 103 bytes long.

    Creates the private folder around it. Raises NoServer when no such folder can be created.
    """
    name = hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:16] + ".sock"
    for place in _socket_folders(environ):
        path = str(place / name)
        if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES and _is_private(place):
            return path
    raise NoServer("no private folder for a socket: set XDG_RUNTIME_DIR to a short path of yours")


def _socket_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        yield Path(runtime) / "everfold"
    for temporary in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        yield Path(temporary) / f"everfold-{os.getuid()}"


def _is_private(folder: Path) -> bool:
    """Create the folder; say whether only this user can write to it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    is_open = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not is_open
