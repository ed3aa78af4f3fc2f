"""Nodes that sleep, fail or misbehave on purpose, as a pack of custom nodes would."""

from __future__ import annotations

import asyncio
import os

from everfold.simulator.nodes import images
from everfold.simulator.nodes.node import (
    IMAGE,
    JPEG,
    PREFIX,
    SEED,
    Action,
    Inputs,
    Node,
    NodeRun,
    OutOfMemory,
    Result,
    batch,
    integer,
    number,
)
from everfold.simulator.nodes.noise_files import KINDS
from everfold.simulator.nodes.shapes import InputSpec, whole

_SECONDS: InputSpec = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3600.0})


async def _sleep_progress(run: NodeRun, inputs: Inputs) -> Result:
    seconds, steps = number(inputs, "seconds"), integer(inputs, "steps")
    for step in range(1, steps + 1):
        await run.sleep(seconds / steps)
        await run.progress(step, steps)
        if inputs["preview"]:
            await run.preview(images.encoded(batch(inputs)[0], "JPEG"), JPEG)
    return Result((inputs["image"],))


async def _sleep_deaf(run: NodeRun, inputs: Inputs) -> Result:
    await run.sleep(number(inputs, "seconds"), deaf=True)
    return Result((inputs["image"],))


async def _raise(run: NodeRun, inputs: Inputs) -> Result:
    await run.sleep(number(inputs, "seconds"), deaf=True)
    raise RuntimeError(str(inputs["message"]))


async def _oom(run: NodeRun, inputs: Inputs) -> Result:
    raise OutOfMemory("fake CUDA out of memory")


async def _text(run: NodeRun, inputs: Inputs) -> Result:
    await run.text(str(inputs["text"]))
    return Result((inputs["image"],), ui={"text": [str(inputs["text"])]})


async def _big_ui(run: NodeRun, inputs: Inputs) -> Result:
    return Result(ui={"text": ["x" * 1024 * integer(inputs, "kib")]})


async def _bad_ui(run: NodeRun, inputs: Inputs) -> Result:
    return Result(ui={"bad": [object()]})


async def _save_noise(run: NodeRun, inputs: Inputs) -> Result:
    kind, size_bytes = str(inputs["kind"]), 1024 * integer(inputs, "kib")
    prefix, seed = str(inputs["filename_prefix"]), integer(inputs, "seed")
    saved = await asyncio.to_thread(run.folders.save_noise, prefix, kind, size_bytes, seed)
    return Result(ui={"images": saved, "animated": [kind != "png"]})


async def _exit(run: NodeRun, inputs: Inputs) -> Result:
    os._exit(integer(inputs, "code"))


_TIMED: dict[str, InputSpec] = {"image": IMAGE, "seconds": _SECONDS}
_WITH_STEPS: dict[str, InputSpec] = {
    **_TIMED,
    "steps": whole(4, 1, 10000),
    "preview": ("BOOLEAN", {"default": False}),
}
_NOISE: dict[str, InputSpec] = {
    "image": IMAGE,
    "kib": whole(2048, 1, 8 * 2**20),
    "kind": (KINDS, {}),
    "filename_prefix": PREFIX,
    "seed": SEED,
}
_MESSAGE: InputSpec = ("STRING", {"default": "boom"})
_TEXT: InputSpec = ("STRING", {"default": ""})


def _node(
    action: Action,
    required: dict[str, InputSpec],
    returns: tuple[str, ...] = ("IMAGE",),
    is_output: bool = False,
) -> Node:
    return Node(
        required,
        returns,
        is_output=is_output,
        module="custom_nodes.everfold_faults",
        category="faults",
        action=action,
    )


FAULT_NODES: dict[str, Node] = {
    "JTSleepProgress": _node(_sleep_progress, {**_WITH_STEPS, "seed": SEED}),
    "JTSleepDeaf": _node(_sleep_deaf, {**_TIMED, "seed": SEED}),
    "JTRaise": _node(_raise, {"image": IMAGE, "message": _MESSAGE, "seconds": _SECONDS}),
    "JTOom": _node(_oom, {"image": IMAGE}),
    "JTText": _node(_text, {"image": IMAGE, "text": _TEXT}, is_output=True),
    "JTBigUI": _node(_big_ui, {"image": IMAGE, "kib": whole(1, 1, 65536)}, (), is_output=True),
    "JTBadUI": _node(_bad_ui, {"image": IMAGE}, (), is_output=True),
    "JTSaveNoise": _node(_save_noise, _NOISE, (), is_output=True),
    "JTExit": _node(_exit, {"image": IMAGE, "code": whole(1, 0, 255)}),
}
"""A runner's tests send these; the recordings of the real server were made with the same ones."""
