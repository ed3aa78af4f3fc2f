"""The thirteen jobs of the demo: what they are and how each is meant to end."""

from __future__ import annotations

import colorsys

from msgspec import Struct

BLUR = "ImageBlur"
"""The node class that one of the servers lacks."""

Graph = dict[str, dict[str, object]]


class DemoJob(Struct, frozen=True):
    name: str
    graph: Graph
    meant_to: str = "succeeded"
    user: str = "ada"

    @property
    def needs_blur(self) -> bool:
        """Whether it has the node that the slow server lacks."""
        return any(node["class_type"] == BLUR for node in self.graph.values())


def demo_jobs() -> list[DemoJob]:
    """Return twelve jobs; the last one is of another user than all before it."""
    seconds = (3.0, 1.6, 1.0, 0.8, 1.5, 1.0, 0.8, 1.5)
    pictures = [
        DemoJob(f"ada {number}", picture(number, each, has_blur=number % 2 == 1))
        for number, each in enumerate(seconds, 1)
    ]
    return [
        *pictures[:4],
        DemoJob("invalid", invalid(), "failed"),
        DemoJob("failing", failing(), "failed"),
        DemoJob("canceled", picture(10, 8.0), "canceled"),
        *pictures[4:],
        DemoJob("bob 1", picture(9, 1.0), user="bob"),
    ]


def landscape() -> DemoJob:
    """The job whose ComfyUI is killed for good in the middle."""
    return DemoJob("landscape", picture(11, 2.5))


def _image(number: int) -> dict[str, object]:
    red, green, blue = colorsys.hsv_to_rgb(number / 11, 0.6, 0.9)
    color = int(red * 255) << 16 | int(green * 255) << 8 | int(blue * 255)
    inputs = {"width": 128, "height": 128, "batch_size": 1, "color": color}
    return {"class_type": "EmptyImage", "inputs": inputs}


def picture(number: int, seconds: float, *, has_blur: bool = False) -> Graph:
    """Sleep like a sampler, twenty steps, then save an image, blurred or not."""
    sleep = {"image": ["1", 0], "seconds": seconds, "steps": 20, "preview": False, "seed": number}
    blur = {"image": ["2", 0], "blur_radius": 3, "sigma": 1.0}
    image = ["3" if has_blur else "2", 0]
    return {
        "1": _image(number),
        "2": {"class_type": "JTSleepProgress", "inputs": sleep},
        **({"3": {"class_type": BLUR, "inputs": blur}} if has_blur else {}),
        "4": {
            "class_type": "SaveImage",
            "inputs": {"images": image, "filename_prefix": f"demo_{number}"},
        },
    }


def invalid() -> Graph:
    """Every ComfyUI refuses this one: it does not say how high the image is to be."""
    scale = {"image": ["1", 0], "upscale_method": "area", "width": 64, "crop": "disabled"}
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
