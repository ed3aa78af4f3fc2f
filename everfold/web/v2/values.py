"""What nodes of a job have put out besides files: texts, tables, numbers.

Rule: pure and total; a node may put out anything. Nothing of it is dropped, but for the flags with
which ComfyUI marks a node's pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from everfold.projector.job.job import Job
from everfold.runner.decisions.output_files import references
from everfold.streams.assets.asset import safe_name
from everfold.web.v2.output_ids import Place

FLAGS = ("animated",)
"""Names under which ComfyUI's own nodes say something of the pictures beside them."""

TEXT, JSON = "text/plain", "application/json"


class Value(Struct, frozen=True):
    """One value that is no file."""

    place: Place
    name: str
    media_type: str
    content: bytes


def values_of(job: Job) -> list[Value]:
    """Return the values of a job's outputs, in their order."""
    return [value for node in job.outputs for value in values_of_node(job, node)]


def values_of_node(job: Job, node: str) -> Iterator[Value]:
    """Yield the values of one node. What is no file of a list is one value each."""
    for kind, whole in job.outputs.get(node, {}).items():
        if kind in FLAGS:
            continue
        parts = whole if isinstance(whole, list) else [whole]
        for index, part in enumerate(parts):
            if not _holds_files(kind, part) and part not in (None, "", [], {}):
                yield _value(Place(job.job_id, node, kind, index), part)


def _holds_files(kind: str, part: object) -> bool:
    return isinstance(part, Mapping | list) and bool(references({kind: [part]}))


def _value(place: Place, part: object) -> Value:
    is_text = isinstance(part, str)
    content = part.encode(errors="replace") if isinstance(part, str) else msgspec.json.encode(part)
    name = safe_name(f"{place.node}_{place.kind}_{place.index}.{'txt' if is_text else 'json'}")
    return Value(place, name, TEXT if is_text else JSON, content)
