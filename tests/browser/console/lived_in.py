"""A farm with something to see on each screen: jobs of all kinds, runners, files, an archive."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from everfold import Everfold
from everfold.archives.opening import open_store, remember_archive
from everfold.projector.subscribing import admin
from everfold.projector.subscribing.subscription import Subscription
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from tests.support.programs.programs import Program
from tests.support.programs.stack import Stack
from tests.web.farm.test_previews import pictured

GRAPH = Path(__file__).parents[2] / "data" / "workflows" / "default_graph.json"

NAMES = ("studio-a", "studio-b")
"""What people call its two servers."""


class Farm(NamedTuple):
    """What runs there, and the ids of its jobs."""

    runners: list[Program]
    made: str
    """A job that has made a picture."""
    failed: str
    waits: str
    runs: str
    """A job that runs for minutes."""


def picture(seed: int) -> dict[str, object]:
    """Return the graph that ComfyUI begins with, for a picture of its own."""
    graph: dict[str, dict[str, dict[str, object]]] = msgspec.json.decode(GRAPH.read_bytes())
    for node in graph.values():
        if "seed" in node["inputs"]:
            node["inputs"].update(seed=seed, steps=4)
    return dict(graph)


def failing(message: str) -> dict[str, object]:
    """Return a graph whose second node fails."""
    image = {"width": 16, "height": 16, "batch_size": 1, "color": 1}
    raises = {"image": ["1", 0], "message": message, "seconds": 0.05}
    saved = {"images": ["2", 0], "filename_prefix": "fails"}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "JTRaise", "inputs": raises},
        "3": {"class_type": "SaveImage", "inputs": saved},
    }


async def live_in(everfold: Everfold, stack: Stack, folder: Path) -> Farm:
    """Start the farm and let it come to a state in which all screens have something to show."""
    servers = [await stack.comfy(), await stack.comfy()]
    titles = {comfy.url: name for comfy, name in zip(servers, NAMES, strict=True)}
    assets = everfold.assets.url
    runners = [
        await stack.runner(*servers, titles=titles, assets=assets, thumbnails=True)
        for _ in range(2)
    ]
    await stack.projector()
    await admin.create(everfold.log, Subscription("mail"))
    made = [
        (await everfold.submit(picture(seed), user=user, kind="portrait", batch="tuesday")).job_id
        for seed, user in enumerate(("ada", "grace", "ada"))
    ]
    failed = (await everfold.submit(failing("out of colours"), user="grace")).job_id
    for job_id in made:
        await stack.until(job_id, "succeeded")
    await stack.until(failed, "failed")
    archive = Archive(open_store(str(folder / "archive")))
    await remember_archive(everfold.log, archive)
    await Archiver(everfold.log, archive).run(everything=True)
    runs = (await everfold.submit(pictured(600), user="ada", kind="video")).job_id
    await stack.until_progress(runs, 0.001)
    # No runner serves this queue.
    waits = (await everfold.submit(picture(9), user="ada", queue="night")).job_id
    return Farm(runners, made[0], failed, waits, runs)
