"""What it costs to store the files that jobs make: time, memory, requests and bytes.

A job sleeps half a second and saves a picture of 2 MB; a large video is written at once. Stored is
into a local folder, by a runner process with its default settings. What is copied beside it reads
from the same simulator, hashes with the same library, writes and syncs a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
from blake3 import blake3
from msgspec import Struct

from benchmarks.measuring.table import Ratio, ratio
from benchmarks.runners.farm import memory_bytes
from benchmarks.runners.small_farm import SmallFarm, small_farm
from everfold import Policy, Succeeded
from everfold.streams.redis.server import server_info

JOB_S, PICTURE_KIB = 0.5, 2048
FILES = 4
"""Of the job whose runner's memory is looked at: as many as are stored at once."""

CHUNK_BYTES = 2**20
IDLE_S = 4.0
MEMORY_TARGET_MIB = 64
COLLECT, KEEP = Policy(outputs="collect"), Policy(outputs="keep")


class Cost(Struct, frozen=True):
    """What one job costs, on average, without what the runner does while it is idle."""

    redis_commands: float
    redis_bytes: float
    """That came in and went out."""
    requests: dict[str, float]
    """To ComfyUI, by method and path."""
    file_bytes: float
    """Read from ComfyUI and written into the store."""


class AssetFigures(Struct, frozen=True):
    ratios: list[Ratio]
    memory_mib: list[float]
    """Of the runner's process, above what it has when it is idle, in each run."""
    kept: Cost
    collected: Cost


class Made(Struct, frozen=True):
    """What some jobs took."""

    makespan_s: float
    cost: Cost


async def measure_assets(jobs: int, video_mib: int, repeat: int) -> AssetFigures:
    collected, kept = list[Made](), list[Made]()
    stored, streamed, copied, memory = list[float](), list[float](), list[float](), list[float]()
    for _ in range(repeat):
        kept.append(await _make(jobs, KEEP))
        collected.append(await _make(jobs, COLLECT))
        async with _farm() as farm:
            made = await _video(farm, video_mib)
            stored.append(made.mib_per_s)
            streamed.append(await _streamed(made))
            copied.append(await _copied(made))
        memory.append(await _memory_mib(video_mib))
    ratios = [
        ratio(
            f"makespan of {jobs} jobs that are collected",
            [made.makespan_s for made in collected],
            [made.makespan_s for made in kept],
            unit="s",
            beside="kept on the server",
            at_most=1.1,
        ),
        ratio(
            f"a video of {video_mib} MiB, from its end until it is stored",
            stored,
            streamed,
            unit="MiB/s",
            beside="httpx, blake3, file",
            at_least=0.7,
        ),
        ratio(
            "the same video beside a copy of its file",
            stored,
            copied,
            unit="MiB/s",
            beside="file, blake3, file",
        ),
    ]
    return AssetFigures(ratios, memory, kept[-1].cost, collected[-1].cost)


@asynccontextmanager
async def _farm() -> AsyncIterator[SmallFarm]:
    """One simulator and a place for assets."""
    async with small_farm() as farm:
        farm.simulator()
        yield farm


def _store(farm: SmallFarm) -> Path:
    return farm.processes.folder / "assets"


def _start_runner(farm: SmallFarm) -> int:
    """Start a runner; return the number of its process."""
    options = ("--comfyui", farm.servers[0], "--assets", str(_store(farm)))
    return farm.processes.everfold_runner(*options).child.pid


def _graph(number: int, *, kib: int, kind: str, files: int = 1, seconds: float = 0) -> object:
    size = {"width": 8, "height": 8, "batch_size": 1, "color": number}
    sleep = {"seconds": seconds, "steps": 1, "preview": False, "seed": number}
    nodes: dict[str, object] = {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "JTSleepProgress", "inputs": {"image": ["1", 0], **sleep}},
    }
    for file in range(files):
        seed = number * 1000 + file
        noise = {"kib": kib, "kind": kind, "filename_prefix": f"made{file}", "seed": seed}
        inputs = {"image": ["2", 0], **noise}
        nodes[str(10 + file)] = {"class_type": "JTSaveNoise", "inputs": inputs}
    return nodes


async def _make(jobs: int, policy: Policy) -> Made:
    async with _farm() as farm:
        await _run(farm, [_graph(0, kib=1, kind="png")], policy, start=True)
        idle = await _idle(farm, min(IDLE_S, jobs * JOB_S / 2))
        before = await _counts(farm)
        graphs = [
            _graph(number, kib=PICTURE_KIB, kind="png", seconds=JOB_S)
            for number in range(1, jobs + 1)
        ]
        took_s = await _run(farm, graphs, policy)
        after = await _counts(farm)
    spent = {
        name: (after[name] - before.get(name, 0) - idle.get(name, 0) * took_s) / jobs
        for name in after
    }
    requests = {name: round(n, 2) for name, n in spent.items() if "/" in name and n >= 0.01}
    return Made(
        took_s,
        Cost(round(spent["commands"], 1), round(spent["bytes"]), requests, round(spent["stored"])),
    )


async def _run(
    farm: SmallFarm, graphs: list[object], policy: Policy, *, start: bool = False
) -> float:
    """Run jobs; return the time from the first submit until the last one has ended."""
    everfold, began_s = farm.everfold, time.perf_counter()
    jobs = [(await everfold.submit(graph, policy=policy)).job_id for graph in graphs]  # type: ignore[arg-type]
    if start:
        _start_runner(farm)
    for job_id in jobs:
        job = await everfold.wait(job_id, 600)
        if job.status != "succeeded":
            raise RuntimeError(f"{job_id} {job.status}: {job.error}")
    return time.perf_counter() - began_s


async def _idle(farm: SmallFarm, seconds: float) -> dict[str, float]:
    """Return what an idle second costs."""
    before = await _counts(farm)
    await anyio.sleep(seconds)
    after = await _counts(farm)
    return {name: (after[name] - before.get(name, 0)) / seconds for name in after}


async def _counts(farm: SmallFarm) -> dict[str, float]:
    """Return what was asked of Redis and ComfyUI so far, and the bytes in the store."""
    fields = await server_info(farm.everfold.log.redis, "stats")
    async with httpx.AsyncClient() as client:
        requests = (await client.get(f"{farm.servers[0]}/simulator/requests")).json()
    net = (float(fields[f"total_net_{way}_bytes"]) for way in ("input", "output"))
    stored = sum(path.stat().st_size for path in _store(farm).rglob("*") if path.is_file())
    commands = float(fields["total_commands_processed"])
    return {**requests, "commands": commands, "bytes": sum(net), "stored": stored}


class Video(Struct, frozen=True):
    url: str
    path: Path
    """As the simulator has it."""
    folder: Path
    mib_per_s: float


async def _video(farm: SmallFarm, mib: int) -> Video:
    """Have a video made and stored; the time is from the end of its prompt on."""
    _start_runner(farm)
    await _run(farm, [_graph(0, kib=1, kind="png")], COLLECT)
    graph = _graph(1, kib=mib * 1024, kind="mp4")
    job_id = (await farm.everfold.submit(graph, policy=COLLECT)).job_id  # type: ignore[arg-type]
    await farm.everfold.wait(job_id, 600)
    (ran,) = [one for one in await farm.executions(2) if one.job_id == job_id]
    (done,) = [r for r in await farm.everfold.events(job_id) if isinstance(r.event, Succeeded)]
    (file,) = await farm.everfold.output_files(job_id)
    if not file.is_stored:
        raise RuntimeError(f"{file.filename} is not stored: {file.why}")
    query = f"filename={file.filename}&subfolder={file.subfolder}&type={file.type}"
    return Video(
        f"{farm.servers[0]}/view?{query}",
        farm.processes.folder / "output" / "output" / file.filename,
        farm.processes.folder,
        mib / (done.time_ms / 1000 - ran.ended_s),
    )


async def _streamed(video: Video) -> float:
    """Return MiB per second of a plain copy over HTTP."""
    copy, began_s, digest = video.folder / "copy", time.perf_counter(), blake3()
    with copy.open("wb") as file:
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("GET", video.url) as answer,
        ):
            async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
        os.fsync(file.fileno())
    return _rate(copy, began_s)


async def _copied(video: Video) -> float:
    """Return MiB per second of a plain copy of the file."""
    return await anyio.to_thread.run_sync(_copy, video)


def _copy(video: Video) -> float:
    copy, began_s, digest = video.folder / "copy", time.perf_counter(), blake3()
    with video.path.open("rb") as source, copy.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        os.fsync(file.fileno())
    return _rate(copy, began_s)


def _rate(copy: Path, began_s: float) -> float:
    took_s = time.perf_counter() - began_s
    mib = copy.stat().st_size / 2**20
    copy.unlink()
    return mib / took_s


async def _memory_mib(mib: int) -> float:
    """Return how much more memory a runner needs while it stores as many files as it does."""
    async with _farm() as farm:
        pid = _start_runner(farm)
        await _run(farm, [_graph(0, kib=1, kind="mp4")], COLLECT)
        await anyio.sleep(1)
        idle = memory_bytes(pid, "VmRSS")
        _forget_most(pid)
        await _run(farm, [_graph(1, kib=mib * 1024 // FILES, kind="mp4", files=FILES)], COLLECT)
        return round((memory_bytes(pid, "VmHWM") - idle) / 2**20, 1)


def _forget_most(pid: int) -> None:
    """Let the most memory that a process had be what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def report(found: AssetFigures) -> str:
    most = max(found.memory_mib)
    verdict = "met" if most <= MEMORY_TARGET_MIB else "MISSED"
    return "\n".join(
        [
            *map(str, found.ratios),
            f"the runner stores {FILES} files at once in {most:g} MiB of memory above its idle one "
            f"(target <= {MEMORY_TARGET_MIB}: {verdict})",
            f"a job whose picture is kept on the server: {_cost(found.kept)}",
            f"a job whose picture is stored: {_cost(found.collected)}",
        ]
    )


def _cost(cost: Cost) -> str:
    requests: Mapping[str, float] = cost.requests
    asked = ", ".join(f"{name} {count:g}" for name, count in sorted(requests.items()))
    return (
        f"{cost.redis_commands:g} Redis commands with {cost.redis_bytes / 1000:.1f} kB, "
        f"{sum(requests.values()):.1f} requests ({asked}), {cost.file_bytes / 1e6:.2f} MB stored"
    )
