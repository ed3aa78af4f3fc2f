"""What ComfyUI's queue says: what runs, what waits, and in which order.

Rule: pure. `queue_pending` comes as a heap array and not in order of execution, so it is sorted by
(number, prompt_id), as the server takes from it. Source: ComfyUI 0.3.64.
"""

from __future__ import annotations

from msgspec import Struct

from everfold.runner.backend import Load, Pending, Running
from everfold.runner.comfyui.history import outputs_to_execute
from everfold.runner.comfyui.loose_json import as_list, as_object


class Item(Struct, frozen=True):
    number: float
    prompt_id: str
    outputs: frozenset[str]
    """The output nodes that ComfyUI means to execute."""


class Queue(Struct, frozen=True):
    running: list[Item]
    pending: list[Item]
    """In the order in which they will run."""

    def find(self, prompt_id: str) -> Running | Pending | None:
        if any(item.prompt_id == prompt_id for item in self.running):
            return Running()
        for position, item in enumerate(self.pending):
            if item.prompt_id == prompt_id:
                return Pending(position)
        return None

    def load(self) -> Load:
        return Load(running=len(self.running), pending=len(self.pending))


def read_queue(body: object) -> Queue | None:
    """Interpret the body of GET /queue; None when it is not one."""
    parts = as_object(body)
    if "queue_running" not in parts or "queue_pending" not in parts:
        return None
    pending = sorted(
        _read_items(parts["queue_pending"]), key=lambda item: (item.number, item.prompt_id)
    )
    return Queue(_read_items(parts["queue_running"]), pending)


def _read_items(value: object) -> list[Item]:
    return [item for item in map(_read_item, as_list(value)) if item is not None]


def _read_item(value: object) -> Item | None:
    fields = as_list(value)
    if len(fields) < 2 or not isinstance(fields[1], str):
        return None
    number = fields[0] if isinstance(fields[0], int | float) else 0
    return Item(float(number), fields[1], outputs_to_execute(fields))
