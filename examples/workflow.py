"""The graph that the examples submit: it runs on a real ComfyUI and on the simulator."""

from __future__ import annotations


def small_picture(color: int = 0x336699) -> dict[str, object]:
    """Return a graph that makes, blurs and saves a small image; no model is needed."""
    image = {"width": 64, "height": 64, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {
            "class_type": "ImageBlur",
            "inputs": {"image": ["1", 0], "blur_radius": 3, "sigma": 1.0},
        },
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": "example"},
        },
    }
