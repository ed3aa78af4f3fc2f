"""The thirteen jobs of the demo: what they are and how each is meant to end."""

from __future__ import annotations

import colorsys

from msgspec import Struct

Graph = dict[str, dict[str, object]]


class DemoJob(Struct, frozen=True):
    name: str
    graph: Graph
    meant_to: str = "succeeded"


def demo_jobs() -> list[DemoJob]:
    portraits = [
        DemoJob(f"picture {number}", picture(number, seconds))
        for number, seconds in enumerate((4.0, 4.0, 1.0, 0.8, 1.5, 1.0, 0.8, 1.5, 1.0), 1)
    ]
    return [
        *portraits[:4],
        DemoJob("invalid", invalid(), "failed"),
        DemoJob("failing", failing(), "failed"),
        DemoJob("canceled", picture(10, 8.0), "canceled"),
        *portraits[4:],
    ]


def landscape() -> DemoJob:
    """The job whose ComfyUI is killed for good in the middle."""
    return DemoJob("landscape", picture(11, 4.0))


def _image(number: int) -> dict[str, object]:
    red, green, blue = colorsys.hsv_to_rgb(number / 11, 0.6, 0.9)
    color = int(red * 255) << 16 | int(green * 255) << 8 | int(blue * 255)
    inputs = {"width": 128, "height": 128, "batch_size": 1, "color": color}
    return {"class_type": "EmptyImage", "inputs": inputs}


def picture(number: int, seconds: float) -> Graph:
    """Sleep like a sampler, twenty steps, then blur and save an image."""
    sleep = {"image": ["1", 0], "seconds": seconds, "steps": 20, "preview": False, "seed": number}
    return {
        "1": _image(number),
        "2": {"class_type": "JTSleepProgress", "inputs": sleep},
        "3": {
            "class_type": "ImageBlur",
            "inputs": {"image": ["2", 0], "blur_radius": 3, "sigma": 1.0},
        },
        "4": {
            "class_type": "SaveImage",
            "inputs": {"images": ["3", 0], "filename_prefix": f"demo_{number}"},
        },
    }


def invalid() -> Graph:
    """ComfyUI refuses this one: there is no such way to scale."""
    scale = {
        "image": ["1", 0],
        "upscale_method": "magic",
        "width": 64,
        "height": 64,
        "crop": "disabled",
    }
    return {
        "1": _image(0),
        "2": {"class_type": "ImageScale", "inputs": scale},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def failing() -> Graph:
    """This one fails while it runs."""
    raises = {"image": ["1", 0], "message": "the node gave up", "seconds": 0.5}
    return {
        "1": _image(0),
        "2": {"class_type": "JTRaise", "inputs": raises},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
