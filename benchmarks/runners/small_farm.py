"""A farm of one or two simulated servers, for measurements of who gets which job and when.

Rule: what happened is read from the simulators' ledgers, with the clock of this machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
from msgspec import Struct

from benchmarks.measuring.processes import BenchProcesses, bench_processes
from benchmarks.measuring.server import bench_server
from everfold import Everfold

WITHIN_S = 180.0


class Execution(Struct, frozen=True):
    """A prompt that a server executed; times in Unix seconds."""

    job_id: str
    server: int
    accepted_s: float
    started_s: float
    ended_s: float


class SmallFarm(Struct, frozen=True):
    everfold: Everfold
    processes: BenchProcesses
    servers: list[str]
    """Their addresses."""

    def simulator(self, speed: float = 1.0, port: int = 0) -> str:
        """Start a server and return its address."""
        url = self.processes.simulator("--speed", str(speed), "--port", str(port))
        if url not in self.servers:
            self.servers.append(url)
        return url

    async def executions(self, jobs: int) -> list[Execution]:
        """Wait until so many executions have ended; return those, in the order of their starts."""
        with anyio.fail_after(WITHIN_S):
            async with httpx.AsyncClient(timeout=30) as client:
                while len(found := await self._ended(client)) < jobs:  # noqa: ASYNC110 - asks other processes
                    await anyio.sleep(0.1)
        return sorted(found, key=lambda one: one.started_s)

    async def _ended(self, client: httpx.AsyncClient) -> list[Execution]:
        found = list[Execution]()
        for server, url in enumerate(self.servers):
            for row in (await client.get(f"{url}/simulator/ledger")).json():
                job_id = row["extra_data"].get("everfold", {}).get("job_id", "")
                times = [row[name] for name in ("accepted_at", "started_at", "ended_at")]
                if all(times):
                    found.append(Execution(job_id, server, *times))
        return found


@asynccontextmanager
async def small_farm() -> AsyncIterator[SmallFarm]:
    async with bench_server() as (url, folder), Everfold.connect(url) as everfold:
        with bench_processes(Path(folder), url, "everfold") as processes:
            yield SmallFarm(everfold, processes, [])


def graph(number: int, seconds: float, checkpoint: str = "") -> dict[str, object]:
    """Return a graph that takes so long at a server of speed 1; each has another result."""
    size = {"width": 8, "height": 8, "batch_size": 1}
    sleep = {"seconds": seconds, "steps": 1, "preview": False, "seed": number}
    nodes: dict[str, object] = {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": number}},
        "2": {"class_type": "JTSleepProgress", "inputs": {"image": ["1", 0], **sleep}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    if checkpoint:
        loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}}
        nodes |= {
            "1": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["4", 2]}},
            "4": loader,
            "5": {"class_type": "EmptyLatentImage", "inputs": size | {"width": 16, "height": 16}},
        }
    return nodes


def overtakes(order: Sequence[int]) -> list[int]:
    """Return for each of these numbers how many greater ones stand before it."""
    return [sum(one > number for one in order[:at]) for at, number in enumerate(order)]


def displacement(order: Sequence[int]) -> int:
    """Return how far the most displaced number stands from where it would stand in order."""
    return max(abs(at - place) for at, place in enumerate(map(sorted(order).index, order)))


def inverted(order: Sequence[int]) -> float:
    """Return the share of all pairs that stand in the wrong order."""
    pairs = len(order) * (len(order) - 1) / 2
    return sum(overtakes(order)) / pairs if pairs else 0.0
