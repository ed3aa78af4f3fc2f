"""The fixtures of conftest.py themselves: a private server for ill treatment, a namespace each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from redis.exceptions import RedisError

from everfold.embedded.engines import Engine
from tests.support import servers
from tests.support.programs.programs import ROOT
from tests.support.server_choice import FORCE, ServerChoice, choose_server, session_server
from tests.support.servers import StartServer, client


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_private_server_keeps_its_data_and_address_when_it_is_restarted(
    own_server: StartServer, tcp: bool, how: signal.Signals
) -> None:
    server = own_server(tcp=tcp)
    url, pid = server.url, server.pid
    with client(url) as redis:
        redis.set("key", "kept")

    server.restart(how)

    assert server.url == url
    assert server.pid != pid
    with client(url) as redis:
        assert redis.get("key") == b"kept"


def test_a_paused_server_is_silent_until_it_is_resumed(own_server: StartServer) -> None:
    server = own_server()
    server.pause()
    with servers.client(server.url) as redis:
        redis.connection_pool.connection_kwargs["socket_timeout"] = 0.1
        with pytest.raises(RedisError):
            redis.ping()

    server.resume()

    assert server.answers()


def test_settings_reach_a_private_server(own_server: StartServer) -> None:
    server = own_server(appendonly="no", maxmemory_policy="allkeys-lru")

    with client(server.url) as redis:
        assert redis.config_get("appendonly", "maxmemory-policy") == {
            "appendonly": "no",
            "maxmemory-policy": "allkeys-lru",
        }


def test_a_server_that_cannot_start_says_why(own_server: StartServer) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)did not start.*no-such-setting"):
        own_server(no_such_setting="1")


def test_nothing_is_left_of_a_private_server(server_choice: ServerChoice) -> None:
    assert server_choice.engine is not None
    with servers.own_server(server_choice.engine) as server:
        pid, folder = server.pid, server.folder
        server.pause()

    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_only_the_keys_of_the_namespace_are_deleted(redis_url: str, namespace: str) -> None:
    other = f"{namespace}0"
    mine = [f"{{{namespace}:0}}:log", f"{{{namespace}:12}}:job:a", f"{namespace}:meta"]
    theirs = [f"{{{other}:0}}:log", f"{other}:meta"]
    with client(redis_url) as redis:
        for key in [*mine, *theirs]:
            redis.set(key, "x")

        servers.delete_namespace(redis_url, namespace)

        assert (redis.exists(*mine), redis.exists(*theirs)) == (0, len(theirs))
        servers.delete_namespace(redis_url, other)


@pytest.mark.parametrize("group", ["redis_cluster", "redis_sentinels"])
def test_the_keys_of_a_namespace_are_deleted_from_all_servers_of_a_group(
    group: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(group).url
    keys = ["{space:0.1}:log", "{space:1}:job:a", "{space:2.7}:job:a", "{space}:meta", "space:meta"]
    with client(url) as redis:
        for key in [*keys, "{space0}:meta"]:
            redis.set(key, "x")

        servers.delete_namespace(url, "space")

        assert [redis.exists(key) for key in keys] == [0, 0, 0, 0, 0]
        assert redis.exists("{space0}:meta")


def _header(**environ: str) -> str:
    """Run pytest over nothing with another environment and return what it says."""
    whole = {k: v for k, v in os.environ.items() if k not in ("REDIS_URL", FORCE)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-v", "tests/support/__init__.py"],
        cwd=ROOT,
        env={**whole, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_the_header_says_which_server_is_used() -> None:
    header = _header(REDIS_URL="redis://127.0.0.1:1/0")

    assert "server: url (REDIS_URL is set)" in header


def test_a_forced_server_wins_over_the_url() -> None:
    header = _header(REDIS_URL="redis://127.0.0.1:1/0", **{FORCE: "embedded"})

    assert "server: embedded (EVERFOLD_TEST_SERVER=embedded)" in header


@pytest.mark.parametrize("kind", ["", "cluster:", "sentinel:"])
def test_an_engine_is_named_by_its_program(
    engine: Engine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced = f"{kind}{engine.program}"
    monkeypatch.setenv(FORCE, forced)

    choice = choose_server()

    assert (choice.kind, choice.why) == (kind.rstrip(":") or "path", f"{FORCE}={forced}")
    assert choice.engine is not None
    assert choice.engine.program == engine.program


@pytest.mark.parametrize("forced", ["sometimes", "cluster:redis1", "/no/such/server"])
def test_an_unknown_kind_of_server_is_refused(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, forced)

    with pytest.raises(ValueError, match="is not one of"):
        choose_server()


def test_what_is_wrong_with_the_choice_is_said_in_a_line() -> None:
    assert "is not one of" in _header(**{FORCE: "sometimes"})


def test_a_missing_server_is_an_error_and_not_a_skip() -> None:
    choice = ServerChoice("path", "forced", None)

    with (
        pytest.raises(RuntimeError, match="tests need a server"),
        session_server(choice),
    ):
        pass
