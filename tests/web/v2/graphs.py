"""Graphs that the tests of the Comfy API v2 submit."""

from __future__ import annotations

import os

from comfy_sdk.workflows import Workflow

from tests.support.programs.stack import sleeper


def short(seconds: float = 0.05) -> Workflow:
    """A graph that makes one picture."""
    return Workflow(sleeper(seconds))


def failing(message: str = "this node is broken") -> Workflow:
    """A graph of which a node raises."""
    graph = sleeper(0.05)
    raising = {"image": ["1", 0], "message": message, "seconds": 0.0}
    graph["2"] = {"class_type": "JTRaise", "inputs": raising}
    return Workflow(graph)


def talking(text: str) -> Workflow:
    """A graph that puts out a text, and no file."""
    color = int.from_bytes(os.urandom(3), "big")
    image = {"width": 16, "height": 16, "batch_size": 1, "color": color}
    return Workflow(
        {
            "1": {"class_type": "EmptyImage", "inputs": image},
            "2": {"class_type": "JTText", "inputs": {"image": ["1", 0], "text": text}},
        }
    )
