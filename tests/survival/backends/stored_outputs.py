"""The output files of jobs in a store of assets, compared with what the servers wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from everfold.projector.job.job import Job
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.blob_folder import BlobFolder
from everfold.streams.events.event import Outputs, Policy
from tests.support.programs.stack import Comfy, Stack


def store_of(stack: Stack, folder: Path) -> AssetStore:
    return AssetStore(stack.log, BlobFolder(folder))


def has_part_of_a_file(folder: Path) -> bool:
    """Say whether some of a job's file has come; a runner's look at its store is of a few KiB."""
    for part in folder.rglob("*.part"):
        with suppress(FileNotFoundError):
            if part.stat().st_size > 64 * 1024:
                return True
    return False


def references(outputs: Outputs) -> Iterator[dict[str, object]]:
    """Yield the references to files."""
    for output in outputs.values():
        for value in output.values():
            for one in value if isinstance(value, list) else ():
                if isinstance(one, dict) and "filename" in one:
                    yield one


async def check_stored(store: AssetStore, job: Job, *servers: Comfy) -> list[dict[str, object]]:
    """Check that each file of a job is stored, with the bytes that its prompt wrote; return the
    references."""
    rows = [row for server in servers for row in await server.files()]
    written = {
        (row["type"], row["subfolder"], row["filename"]): row["hash"]
        for row in rows
        if row["prompt_id"] == job.prompt_id
    }
    found = list(references(job.outputs))
    assert found, job.outputs
    names = {(one["type"], one["subfolder"], one["filename"]) for one in found}
    assert names == written.keys()
    for one in found:
        assert one.get("hash") == written[one["type"], one["subfolder"], one["filename"]], one
        asset = await store.get(str(one["asset"]))
        assert (asset.hash, asset.job_id, asset.name) == (one["hash"], job.job_id, one["name"])
        async with store.open(asset.hash) as chunks:
            content = b"".join([chunk async for chunk in chunks])
        assert f"blake3:{blake3(content).hexdigest()}" == one["hash"]
        assert len(content) == one["size_bytes"]
    return found


def saver(*nodes: tuple[str, str], kib: int = 64, color: int = 0) -> dict[str, object]:
    """A graph that saves noise: for each of `nodes` its id and the prefix of its file."""
    empty = {"width": 8, "height": 8, "batch_size": 1, "color": color}
    graph: dict[str, object] = {"1": {"class_type": "EmptyImage", "inputs": empty}}
    for node, prefix in nodes:
        seed = int.from_bytes(os.urandom(4), "big")
        values = {"kib": kib, "kind": "png", "filename_prefix": prefix, "seed": seed}
        inputs = {"image": ["1", 0], **values}
        graph[node] = {"class_type": "JTSaveNoise", "inputs": inputs}
    return graph


async def submitted(stack: Stack, graph: dict[str, object], policy: Policy | None = None) -> str:
    return (await stack.log.submit(graph, policy=policy, user="ada")).job_id
