"""A server, a simulator, a projector and a runner, for as long as a test takes.

Rule: nothing of it outlives its block, neither processes nor files, unless a folder or server of
the caller's own is used.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
from anyio.from_thread import start_blocking_portal
from msgspec import Struct

from everfold.assets.opening import open_blobs
from everfold.embedded import embedded_server
from everfold.projector.projector import Projector
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig, runner_name
from everfold.runner.runner import Runner
from everfold.simulator import Simulator, simulate
from everfold.streams.appending.log import Log
from everfold.streams.assets.asset_store import AssetStore

SPEED = 10.0
"""How much faster than real ones the simulator's nodes are."""


class Farm(Struct, frozen=True):
    """What to connect to: `Everfold.connect(farm.url, namespace=farm.namespace, ...)`."""

    url: str
    """Of the server."""
    namespace: str
    """A new one."""
    assets: Path
    """Folder of the stored files."""
    comfyui: Simulator
    """Its `ledger` says what ran there, `arm` makes it fail."""


@contextlib.asynccontextmanager
async def farm(redis_url: str | None = None, *, speed: float = SPEED) -> AsyncIterator[Farm]:
    """Run a farm in this event loop: jobs that are submitted to it end within a second or so.

    Without `redis_url` it runs a server of its own. `speed` says how much faster than real ones the
    simulator's nodes are. Raises NoServer, Misconfigured, or a leaf of Unavailable.
    """
    with tempfile.TemporaryDirectory(prefix="everfold-testing-") as temporary:
        folder = Path(temporary)
        async with contextlib.AsyncExitStack() as stack:
            url = redis_url
            if url is None:
                url = (await stack.enter_async_context(embedded_server(folder / "server"))).url
            comfyui = await stack.enter_async_context(simulate(folder / "comfyui", speed=speed))
            found = Farm(url, f"test-{uuid4().hex[:12]}", folder / "assets", comfyui)
            await stack.enter_async_context(_working(found))
            yield found


@contextlib.contextmanager
def farm_in_thread(redis_url: str | None = None, *, speed: float = SPEED) -> Iterator[Farm]:
    """Run a farm in a thread of its own, for tests without an event loop; see `farm`."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(farm(redis_url, speed=speed)) as found,
    ):
        yield found


@contextlib.asynccontextmanager
async def _working(found: Farm) -> AsyncIterator[None]:
    config = RunnerConfig(name=runner_name("testing"))
    async with (
        Log.open(found.url, namespace=found.namespace, actor=config.name) as log,
        anyio.create_task_group() as tasks,
    ):
        await tasks.start(Projector(log, config.name).run)
        store = AssetStore(log, open_blobs(found.assets))
        runner = Runner(log, [ComfyBackend(found.comfyui.url)], config, store)
        await tasks.start(runner.run)
        yield
        tasks.cancel_scope.cancel()
