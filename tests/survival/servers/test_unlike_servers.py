"""A farm of unlike servers: a job goes only to a server that has all that it needs."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from everfold.runner.capabilities.capability_store import stored_capabilities
from everfold.streams.events.event import Claimed, Released, Submitting
from everfold.streams.leases.backends import BackendEntry, backend_entries, retire_backend
from everfold.streams.reading.reader import job_events
from tests.support.programs.stack import Stack, sleeper
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

JOBS = 20


def inverted() -> dict[str, object]:
    graph = sleeper(0.02)
    invert = {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}}
    saved = {"images": ["4", 0], "filename_prefix": "inverted"}
    return {**graph, "4": invert, "3": {"class_type": "SaveImage", "inputs": saved}}


def with_model(name: str) -> dict[str, object]:
    load = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}
    seed = int.from_bytes(os.urandom(3), "big")
    text = {"class_type": "CLIPTextEncode", "inputs": {"text": str(seed), "clip": ["1", 1]}}
    size = {"width": 64, "height": 64, "batch_size": 1}
    sampled = {
        "model": ["1", 0],
        "seed": seed,
        "steps": 1,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": ["2", 0],
        "negative": ["2", 0],
        "latent_image": ["3", 0],
        "denoise": 1.0,
    }
    return {
        "1": load,
        "2": text,
        "3": {"class_type": "EmptyLatentImage", "inputs": size},
        "4": {"class_type": "KSampler", "inputs": sampled},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "m"}},
    }


async def sent_to(stack: Stack, job_id: str) -> list[str]:
    """Return the backends that the job was sent to, refusals included."""
    events = [record.event for record in await job_events(stack.log, job_id)]
    return [event.backend for event in events if isinstance(event, Submitting)]


async def known(stack: Stack, count: int = 1) -> list[BackendEntry]:
    """Wait until it is published what so many backends have."""

    async def published() -> list[BackendEntry]:
        entries = [entry for entry in await backend_entries(stack.log) if entry.object_info]
        return entries if len(entries) >= count else []

    return await eventually(published, 20)


async def looked_at(stack: Stack) -> None:
    """Wait until a runner has looked at all jobs that wait: one that was submitted now has run."""
    await stack.until((await stack.log.submit(sleeper(0.02))).job_id, "succeeded")


async def test_no_job_is_ever_sent_to_a_server_that_lacks_a_node(stack: Stack) -> None:
    lacks, whole = await stack.comfy("--without", "ImageInvert"), await stack.comfy()
    await stack.runner(lacks, whole)
    jobs = [(await stack.log.submit(inverted())).job_id for _ in range(JOBS)]

    for job_id in jobs:
        await stack.until(job_id, "succeeded")
        assert await sent_to(stack, job_id) == [whole.url]


async def test_each_model_is_loaded_where_it_is(stack: Stack) -> None:
    one = await stack.comfy("--models", "checkpoints=one.safetensors")
    two = await stack.comfy("--models", "checkpoints=xl\\two.safetensors")
    await stack.runner(one, two)
    names = ["one.safetensors", "xl/two.safetensors"] * 3
    jobs = [(await stack.log.submit(with_model(name))).job_id for name in names]

    for job_id, name in zip(jobs, names, strict=True):
        await stack.until(job_id, "succeeded")
        there = one if name == "one.safetensors" else two
        assert await sent_to(stack, job_id) == [there.url]


async def test_a_job_that_no_server_can_run_waits_for_one_that_can(stack: Stack) -> None:
    lacks = await stack.comfy("--without", "ImageInvert")
    await stack.runner(lacks)
    job_id = (await stack.log.submit(inverted())).job_id
    await looked_at(stack)

    assert (await stack.job(job_id)).status == "queued"
    await stack.runner(await stack.comfy())
    await stack.until(job_id, "succeeded")
    assert lacks.url not in await sent_to(stack, job_id)


async def test_a_job_goes_to_a_server_with_its_label(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    job_id = (await stack.log.submit(sleeper(0.02), needs=["gpu:24gb"])).job_id
    await looked_at(stack)

    assert (await stack.job(job_id)).status == "queued"
    assert await sent_to(stack, job_id) == []


async def test_what_a_server_has_is_published_once_by_its_content(stack: Stack) -> None:
    lacks, whole = await stack.comfy("--without", "ImageInvert"), await stack.comfy()
    same = await stack.comfy()
    await stack.runner(lacks, whole, same)
    hashes = {entry.name: entry.object_info for entry in await known(stack, 3)}

    assert hashes[whole.url] == hashes[same.url] != hashes[lacks.url]
    for url, has_it in ((whole.url, True), (lacks.url, False)):
        info = await stored_capabilities(stack.log, hashes[url])
        assert info is not None
        assert ("ImageInvert" in info.classes) is has_it


async def test_a_server_that_lost_a_node_in_a_restart_gets_no_job_for_it(stack: Stack) -> None:
    comfy = await stack.comfy()
    await stack.runner(comfy)
    first = (await stack.log.submit(inverted())).job_id
    await stack.until(first, "succeeded")
    comfy.kill()
    comfy.options = ("--without", "ImageInvert")
    await comfy.up()
    job_id = (await stack.log.submit(inverted())).job_id
    await looked_at(stack)

    assert await sent_to(stack, job_id) == []


async def test_a_job_that_only_a_drained_server_may_run_does_not_take_turns_without_end(
    stack: Stack,
) -> None:
    refuses, drained = await stack.comfy(), await stack.comfy()
    await stack.runner(refuses, drained)
    await known(stack, 2)
    await retire_backend(stack.log, drained.url, is_drain=True)

    async def is_drained() -> bool:
        return any("drains" in entry.why for entry in await backend_entries(stack.log))

    await eventually(is_drained, 20)
    graph = sleeper(0.02)
    scale = {"width": 8, "height": 8, "crop": "disabled", "upscale_method": "magic"}
    graph["2"] = {"class_type": "ImageScale", "inputs": {"image": ["1", 0], **scale}}
    job_id = (await stack.log.submit(graph)).job_id

    async def waits() -> list[float]:
        """Return the seconds between each release and the claim that follows."""
        records = await job_events(stack.log, job_id)
        return [
            (b.time_ms - a.time_ms) / 1000
            for a, b in pairwise(records)
            if isinstance(a.event, Released) and isinstance(b.event, Claimed)
        ]

    assert min(await eventually(waits, 20)) >= 0.9
