"""Jobs that send files: an asset store beside a stack, and what came of its pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import httpx
from PIL import Image

from everfold.streams.assets.asset import HASH_PREFIX
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.events.event import AssetInput, Policy, Released, Submitting
from everfold.streams.reading.reader import job_events
from tests.support.programs.stack import Comfy, Stack
from tests.support.wait import eventually


def picture(color: tuple[int, int, int], kind: str = "PNG", padding: int = 0) -> bytes:
    """Return a picture of one colour; `padding` bytes after its end do not show."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, kind)
    return buffer.getvalue() + b"\0" * padding


RED, GREEN = (255, 0, 0), (0, 255, 0)
BIG = 6 * 2**20
"""More than the buffers between two processes hold."""


async def uploads(comfy: Comfy) -> list[str]:
    """Return the names of the files that a server has got for jobs, in order."""
    async with httpx.AsyncClient() as client:
        rows = (await client.get(f"{comfy.url}/simulator/uploads")).json()
    return [row["name"] for row in rows if len(row["name"]) > 60]


def name_of(file: AssetInput, ending: str = "png") -> str:
    return f"everfold/{file.hash.removeprefix(HASH_PREFIX)}.{ending}"


class Files:
    """An asset store, and jobs that send what is in it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.store = AssetStore(stack.log, BlobFolder(folder))

    async def put(self, content: bytes, name: str = "photo.png") -> AssetInput:
        asset = (await self.store.put(content, name=name)).asset
        return AssetInput(
            asset=asset.id,
            hash=asset.hash,
            size_bytes=asset.size_bytes,
            media_type=asset.media_type,
            name=asset.name,
        )

    async def submit(
        self, *files: AssetInput, seconds: float = 0.0, policy: Policy | None = None
    ) -> str:
        """Submit a job that loads each file and saves what it shows."""
        graph, inputs = dict[str, object](), dict[str, AssetInput]()
        for number, file in enumerate(files, 1):
            loads, shows = f"{number}0", [f"{number}0", 0]
            image = f"everfold:{file.asset}"
            graph[loads] = {"class_type": "LoadImage", "inputs": {"image": image}}
            inputs[f"{loads}.image"] = file
            if seconds:
                asleep = {"image": shows, "seconds": seconds, "steps": 10, "preview": False}
                shows = [f"{number}1", 0]
                node = {"class_type": "JTSleepProgress", "inputs": {**asleep, "seed": id(files)}}
                graph[f"{number}1"] = node
            saved = {"images": shows, "filename_prefix": f"input{number}"}
            graph[f"{number}2"] = {"class_type": "SaveImage", "inputs": saved}
        return (await self.stack.log.submit(graph, inputs=inputs, policy=policy)).job_id

    async def shown(self, job_id: str) -> list[tuple[int, ...]]:
        """Return a pixel of each picture that a job has saved, in the order of its files."""
        job = await self.stack.until(job_id, "succeeded")
        pixels = list[tuple[int, ...]]()
        for node in sorted(job.outputs):
            (file,) = cast("list[dict[str, str]]", job.outputs[node]["images"])
            async with httpx.AsyncClient() as client:
                found = await client.get(f"{job.backend}/view", params=file)
            with Image.open(io.BytesIO(found.content)) as image:
                pixels.append(cast("tuple[int, ...]", image.convert("RGB").getpixel((0, 0))))
        return pixels

    async def sent(self, job_id: str) -> list[dict[str, str]]:
        """Return what each attempt names, by its intents."""
        events = [record.event for record in await job_events(self.stack.log, job_id)]
        return [one.uploads or {} for one in events if isinstance(one, Submitting)]

    async def releases(self, job_id: str) -> list[Released]:
        events = [record.event for record in await job_events(self.stack.log, job_id)]
        return [one for one in events if isinstance(one, Released)]

    async def until_released(self, job_id: str, *words: str) -> Released:
        """Wait until the job was released because it cannot run, for a reason with these words."""

        async def released() -> Released | None:
            found = [one for one in await self.releases(job_id) if one.reason == "cannot_run"]
            return found[-1] if found else None

        one = await eventually(released, 20)
        assert one is not None
        assert all(word in str(one.why) for word in words), one.why
        return one
