"""One event loop, one server and one namespace for all cases of a target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from everfold import Everfold
from tests.fuzz.cases import cases
from tests.support import servers


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own, which outlives the cases."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def everfold(
    portal: BlockingPortal, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Everfold]:
    """A client in a namespace that only this module uses."""
    namespace = f"fuzz-{uuid4().hex[:12]}"
    assets = tmp_path_factory.mktemp("assets")
    opened = Everfold.connect(redis_server, namespace=namespace, partitions=1, assets=assets)
    with portal.wrap_async_context_manager(opened) as everfold:
        portal.call(everfold.log.make)
        yield everfold
    servers.delete_namespace(redis_server, namespace)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note how many cases the target was given, and for how long."""
    began_s = time.monotonic()
    yield
    name = getattr(item, "originalname", item.name)
    if name in cases:
        said = f"{cases[name]:,} cases in {time.monotonic() - began_s:.0f} s"
        item.user_properties.append(("cases", said))


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Say it behind the target's name."""
    said = dict(report.user_properties).get("cases")
    if said and report.when == "call" and report.passed:
        return "passed", ".", f"PASSED ({said})"
    return None
