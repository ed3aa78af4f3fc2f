"""Pictures in, pictures out, over two servers: neither has the picture before its first job.

Two bundled simulators stand for ComfyUI servers, and a runner works beside them. Each job inverts
one picture; the results are fetched from the asset store, wherever they were made. Needs REDIS_URL
(or `everfold up` on this machine), and Pillow.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from PIL import Image, ImageOps

from everfold import ComfyBackend, Everfold, Log, Runner, RunnerConfig, find_server, runner_name

JOBS = 6
QUEUE = "pictures"


def inverting(number: int) -> dict[str, object]:
    """Return a graph that loads a picture, inverts it and saves it."""
    return {
        "10": {"class_type": "LoadImage", "inputs": {"image": ""}},
        "11": {"class_type": "ImageInvert", "inputs": {"image": ["10", 0]}},
        "12": {
            "class_type": "SaveImage",
            "inputs": {"images": ["11", 0], "filename_prefix": f"inverted{number}"},
        },
    }


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def is_inverse(made: bytes, original: bytes) -> bool:
    with Image.open(io.BytesIO(made)) as one, Image.open(io.BytesIO(original)) as other:
        return one.tobytes() == ImageOps.invert(other).tobytes()


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Run a simulator; yield its address."""
    command = (sys.executable, "-m", "everfold.simulator", "--port", "0")
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        told = b""
        try:
            while b"listening on" not in told or not told.endswith(b"\n"):
                told += await process.stdout.receive()
            yield told.decode().split()[-1]
        finally:
            process.terminate()


async def main(assets: Path) -> None:
    config = RunnerConfig(name=runner_name("img2img"), queues=(QUEUE,), drain_s=5)
    # Clients and runners use the same place: a folder of this machine, or s3://bucket/prefix.
    async with (
        server() as first,
        server() as second,
        Log.open(find_server(), actor=config.name) as log,
        Everfold.connect(assets=assets) as everfold,
        anyio.create_task_group() as tasks,
    ):
        backends = [ComfyBackend(first), ComfyBackend(second)]
        runner = Runner(log, backends, config, everfold.assets)
        await tasks.start(runner.run)
        await invert(everfold)
        runner.drain()


async def invert(everfold: Everfold) -> None:
    original, servers = picture(), set[str]()
    made = [
        await everfold.submit(
            inverting(number), user="ada", queue=QUEUE, inputs={"10.image": original}
        )
        for number in range(JOBS)
    ]
    for one in made:
        job = await everfold.wait(one.job_id, timeout_s=60)
        async with everfold.open_output(one.job_id) as output:
            result = await output.read()
        servers.add(job.backend)
        print(job.status, output.file.name, "inverted:", is_inverse(result, original))
    print(f"{JOBS} pictures from {len(servers)} servers")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(main, Path(folder))
