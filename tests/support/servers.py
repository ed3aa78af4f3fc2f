"""Redis or Valkey servers for tests: private ones to kill and pause, and looks at any of them."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry

from everfold.embedded.engines import Engine

START_S = 15.0


def client(url: str) -> Redis:
    """Return a plain client that never retries, for the tests' own looks at the server.

    For a cluster it is redis-py's client of clusters, which offers the same commands on one key.
    """
    scheme, _, rest = url.partition("://")
    places, _, path = rest.partition("/")
    hosts = [place.rpartition(":") for place in places.split(",")]
    if scheme == "redis+cluster":
        nodes = [ClusterNode(*(host, port)) for host, _, port in hosts]  # type: ignore[no-untyped-call]
        return cast("Redis", RedisCluster(startup_nodes=nodes, socket_timeout=10, protocol=2))
    if scheme == "redis+sentinel":
        url = "redis://{}:{}/0".format(*_primary(hosts, path.partition("/")[0]))
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=10, protocol=2)


def _primary(sentinels: Sequence[tuple[str, str, str]], service: str) -> tuple[str, int]:
    """Ask the Sentinels, one after the other, for the primary of a service."""
    for host, _, port in sentinels:
        with suppress(RedisError), Redis(host, int(port), socket_timeout=2) as redis:
            found: tuple[bytes, int] = redis.sentinel_get_master_addr_by_name(service)
            return found[0].decode(), found[1]
    raise RuntimeError(f"no sentinel of {sentinels} answers")


def delete_namespace(url: str, namespace: str) -> None:
    """Delete the keys of one namespace and no others."""
    with client(url) as redis:
        for pattern in (f"{{{namespace}:*}}:*", f"{{{namespace}}}:*", f"{namespace}:meta"):
            keys = list(redis.scan_iter(match=pattern, count=1000))
            for start in range(0, len(keys), 500):
                with redis.pipeline(transaction=False) as unlinks:
                    for key in keys[start : start + 500]:
                        unlinks.unlink(key)
                    unlinks.execute()


def uptime_s(url: str) -> int:
    """Return for how many seconds each server at this address has run."""
    with client(url) as redis:
        told = cast("dict[str, object]", redis.info("server"))
    of_nodes = told.values() if "uptime_in_seconds" not in told else (told,)
    return min(int(cast("dict[str, int]", node)["uptime_in_seconds"]) for node in of_nodes)


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
