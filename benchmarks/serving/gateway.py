"""The gateway under load: many who watch, submits one after the other, looks at one job.

The gateway is `everfold serve` with its defaults, a process of its own on one machine with its
clients, the server, and the process that stands for a runner. CPU and memory are those of the
gateway's process. Watchers read the event stream of the Comfy API v2. Beside it stands a bare ASGI
application on the same uvicorn that sends frames of the same size to as many connections and does
nothing else; beside POST /prompt a plain `Everfold.submit` of the same graph, in turns.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from msgspec import Struct

from benchmarks.measuring.percentiles import Percentiles, percentiles
from benchmarks.measuring.processes import BenchProcesses, bench_processes
from benchmarks.measuring.server import bench_server
from benchmarks.measuring.table import Ratio, ratio
from benchmarks.runners.farm import memory_bytes
from benchmarks.serving.gateway_clients import Watcher, connection, watch
from everfold import Everfold
from everfold.streams.redis.server import server_info

NAMESPACE = "gateway"
CPU_TARGET_US, MEMORY_TARGET_MIB, END_TARGET_S, SUBMIT_TARGET = 30, 100, 0.3, 3
OPENED_AT_ONCE = 50
END_WITHIN_S = 10.0
SUBMITS_PER_S, CONNECTIONS = 50, 50
GRAPH: dict[str, dict[str, object]] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1,
            "steps": 20,
            "cfg": 8,
            "sampler_name": "euler",
            "denoise": 1,
            "scheduler": "normal",
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "5": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": 512, "height": 512, "batch_size": 1},
    },
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a glass bottle", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "a", "images": ["8", 0]}},
}


class Load(Struct, frozen=True, kw_only=True):
    """How much."""

    watchers: int = 1_000
    jobs: int = 20
    seconds: float = 20.0
    """Of watching, in each turn."""
    of_one_job: int = 300
    """Watchers of one job."""
    submit_seconds: float = 4.0
    """Of submits, in each turn."""
    looks: int = 200
    turns: int = 3


class GatewayFigures(Struct, frozen=True):
    load: Load
    ratios: list[Ratio]
    delivered: int
    expected: int
    """At least: one message for each event and watcher."""
    memory_mib: float
    """Of the gateway's process at its most, until more watchers come for the end of one job."""
    end: Percentiles
    """From the append of a job's end until its watchers were told."""
    post: Percentiles
    submit: Percentiles
    trips_of_a_look: float
    """Reads of the server for one look at a job, those of the idle gateway left out."""
    look: Percentiles


class Watched(Struct, frozen=True):
    """What watching cost in one turn."""

    us_each: float
    delivered: int
    expected: int


async def measure_gateway(load: Load) -> GatewayFigures:
    async with bench_server() as (url, folder), Everfold.connect(url, namespace=NAMESPACE) as ours:
        with bench_processes(folder, url, NAMESPACE) as processes:
            processes.projector()
            gateway = processes.gateway()
            base, pid = gateway.first_line.split()[-1], gateway.child.pid
            await _until_ready(base)
            jobs = [(await ours.submit(GRAPH)).job_id for _ in range(load.jobs)]
            post, submit = await _submit_in_turns(ours, base, load)
            trips, look = await _look(ours, base, jobs[0], load.looks)
            bare_us = [await _bare(processes, load) for _ in range(load.turns)]
            watched, end, memory = await _watch(processes, base, pid, load, jobs)
    of_watching = ratio(
        f"CPU of a message to one of {load.watchers:,} watchers",
        [turn.us_each for turn in watched],
        bare_us,
        unit="us",
        beside="bare ASGI",
    )
    of_post = ratio(
        f"POST /prompt, p99 at {SUBMITS_PER_S}/s",
        [percentiles(turn).p99_s * 1000 for turn in post],
        [percentiles(turn).p99_s * 1000 for turn in submit],
        unit="ms",
        beside="Everfold.submit",
        at_most=SUBMIT_TARGET,
    )
    return GatewayFigures(
        load=load,
        ratios=[of_watching, of_post],
        delivered=sum(turn.delivered for turn in watched),
        expected=sum(turn.expected for turn in watched),
        memory_mib=round(memory / 2**20, 1),
        end=end,
        post=percentiles([one for turn in post for one in turn]),
        submit=percentiles([one for turn in submit for one in turn]),
        trips_of_a_look=trips,
        look=look,
    )


async def _until_ready(base: str) -> None:
    with anyio.fail_after(30):
        while True:
            asking = await connection(base)
            try:
                await asking.ask("GET", "/readyz")
                return
            except RuntimeError:
                await anyio.sleep(0.05)
            finally:
                asking.close()


def _path(job_id: str) -> str:
    return f"/api/v2/jobs/{job_id}/events"


async def _watchers(base: str, paths: list[str]) -> list[Watcher]:
    found: list[Watcher] = []
    for start in range(0, len(paths), OPENED_AT_ONCE):
        some = paths[start : start + OPENED_AT_ONCE]
        found += await asyncio.gather(*(watch(base, path) for path in some))
    return found


async def _watch(
    processes: BenchProcesses, base: str, pid: int, load: Load, jobs: list[str]
) -> tuple[list[Watched], Percentiles, int]:
    """Watch jobs that move, then the end of the first one, with many watchers of it.

    Returns what each turn cost, how late the end was, and the bytes of memory before that.
    """
    runner = processes.gateway_jobs(load.jobs)
    watchers = await _watchers(
        base, [_path(jobs[number % len(jobs)]) for number in range(load.watchers)]
    )
    found: list[Watched] = []
    for _ in range(load.turns):
        before, cpu = sum(w.frames for w in watchers), cpu_s(pid)
        told = await _told(runner.child, f"move {load.seconds}")
        await anyio.sleep(0.5)  # for the last ones
        spent_s, delivered = cpu_s(pid) - cpu, sum(w.frames for w in watchers) - before
        expected = int(told["events"] * load.watchers / load.jobs)
        found.append(Watched(spent_s * 1e6 / max(1, delivered), delivered, expected))
    memory = memory_bytes(pid, "VmHWM")
    here = sum(path == 0 for path in (number % len(jobs) for number in range(load.watchers)))
    more = await _watchers(base, [_path(jobs[0])] * max(0, load.of_one_job - here))
    of_first = [*watchers[:: len(jobs)], *more]
    ended = await _told(runner.child, f"end {jobs[0]}")
    done, late = await asyncio.wait([w.ended for w in of_first], timeout=END_WITHIN_S)
    late_s = [one.result() - ended["began_s"] for one in done] + [END_WITHIN_S] * len(late)
    for watcher in {*watchers, *more}:
        watcher.transport.abort()
    return found, percentiles(late_s), memory


async def _bare(processes: BenchProcesses, load: Load) -> float:
    """Return the CPU in us that a bare application takes for a message to one of as many."""
    bare = processes.bare_stream()
    base, stdin = bare.first_line, bare.child.stdin
    assert stdin is not None
    paths = [f"/{number % load.jobs}" for number in range(load.watchers)]
    watchers = await _watchers(base, paths)
    await anyio.sleep(0.2)
    cpu = cpu_s(bare.child.pid)
    rounds = max(2, int(load.seconds * 2 / 4))
    for _ in range(rounds):
        due_s = anyio.current_time() + 0.5
        for number in range(load.jobs):
            stdin.write(f"{number}\n")
            stdin.flush()
            await anyio.sleep(0.4 / load.jobs)
        await anyio.sleep(max(0.0, due_s - anyio.current_time()))
    await anyio.sleep(0.3)
    spent_s, delivered = cpu_s(bare.child.pid) - cpu, sum(w.frames for w in watchers)
    for watcher in watchers:
        watcher.transport.abort()
    bare.kill()
    return spent_s * 1e6 / max(1, delivered)


async def _told(child: subprocess.Popen[str], line: str) -> dict[str, float]:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()
    answer: dict[str, float] = json.loads(await anyio.to_thread.run_sync(child.stdout.readline))
    return answer


async def _submit_in_turns(
    ours: Everfold, base: str, load: Load
) -> tuple[list[list[float]], list[list[float]]]:
    """Return how long POST /prompt took, and how long a plain submit took, in each turn."""
    asking = [await connection(base) for _ in range(CONNECTIONS)]

    async def post(number: int) -> None:
        body = {"prompt": _graph(number), "client_id": "bench"}
        await asking[number % CONNECTIONS].ask("POST", "/prompt", body)

    async def submit(number: int) -> None:
        await ours.submit(_graph(number))

    posts, submits = [], []
    for number in range(CONNECTIONS):  # the first call of each loads and connects
        await post(-1 - number)
        await submit(-1 - CONNECTIONS - number)
    for turn in range(load.turns):
        posts.append(await _paced(post, load.submit_seconds, 2 * turn))
        submits.append(await _paced(submit, load.submit_seconds, 2 * turn + 1))
    for one in asking:
        one.close()
    return posts, submits


def _graph(number: int) -> dict[str, object]:
    """Return a graph that no other submit has."""
    sampler = GRAPH["3"]
    inputs = sampler["inputs"]
    assert isinstance(inputs, dict)
    return {**GRAPH, "3": {**sampler, "inputs": {**inputs, "seed": number}}}


async def _paced(call: Callable[[int], Awaitable[None]], seconds: float, turn: int) -> list[float]:
    """Call at a steady pace, whether or not the call before is done; return how long each took."""
    took: list[float] = []

    async def one(number: int) -> None:
        began_s = time.perf_counter()
        await call(number)
        took.append(time.perf_counter() - began_s)

    async with anyio.create_task_group() as tasks:
        due_s = anyio.current_time()
        for number in range(int(seconds * SUBMITS_PER_S)):
            tasks.start_soon(one, turn * 1_000_000 + number)
            due_s += 1 / SUBMITS_PER_S
            await anyio.sleep(max(0.0, due_s - anyio.current_time()))
    return took


async def _look(ours: Everfold, base: str, job_id: str, looks: int) -> tuple[float, Percentiles]:
    """Return how many reads of the server a look takes, and how long it takes."""
    asking, took = await connection(base), list[float]()
    path = f"/api/v2/jobs/{job_id}"
    await asking.ask("GET", path)
    before, began_s = await _reads(ours), time.perf_counter()
    for _ in range(looks):
        look_began_s = time.perf_counter()
        await asking.ask("GET", path)
        took.append(time.perf_counter() - look_began_s)
    seconds, used = time.perf_counter() - began_s, await _reads(ours) - before
    idle_before = await _reads(ours)
    await anyio.sleep(seconds)
    idle = await _reads(ours) - idle_before
    asking.close()
    return round((used - idle) / looks, 2), percentiles(took)


async def _reads(ours: Everfold) -> int:
    """Return how often the server has read from a connection."""
    return int((await server_info(ours.log.redis, "stats"))["total_reads_processed"])


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, its own and the system's for it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def report(found: GatewayFigures) -> str:
    load, end = found.load, found.end
    cpu = found.ratios[0].ours.median
    lines = [
        *map(str, found.ratios),
        _row(f"CPU of a message, {load.watchers:,} watchers of {load.jobs} jobs",
             f"{cpu:.1f} us", CPU_TARGET_US, cpu <= CPU_TARGET_US, "us"),
        _row("memory of the gateway, at its most", f"{found.memory_mib:.0f} MiB",
             MEMORY_TARGET_MIB, found.memory_mib <= MEMORY_TARGET_MIB, "MiB"),
        _row(f"the end of a job at its {end.count} watchers, the last one", f"{end.max_s:.3f} s",
             END_TARGET_S, end.max_s <= END_TARGET_S, "s"),
        _row("trips to Redis of a look at a job", f"{found.trips_of_a_look:.2f}",
             1, found.trips_of_a_look <= 1.05, ""),
        "",
        f"{'':24}{'p50':>10}{'p99':>10}{'max':>10}{'count':>10}",
        *(
            f"{name:24}{one.p50_s * 1000:7.1f} ms{one.p99_s * 1000:7.1f} ms"
            f"{one.max_s * 1000:7.1f} ms{one.count:10,}"
            for name, one in (
                ("POST /prompt", found.post),
                ("Everfold.submit", found.submit),
                ("GET a job", found.look),
                ("a job's end", found.end),
            )
        ),
        f"{found.delivered:,} messages delivered, {found.expected:,} due at least",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(name: str, found: str, target: float, met: bool, unit: str) -> str:
    verdict = "met" if met else "MISSED"
    return f"{name:52}{found:>10}  <= {target:g} {unit} {verdict}".rstrip()
