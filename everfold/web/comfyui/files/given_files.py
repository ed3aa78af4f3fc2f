"""The uploads and outputs that a graph names, as files of its job.

Rule: only inputs that take uploads are looked at, as the servers describe them: a text for people
may be any name. What the caller has not uploaded stays as it is, for the server may have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from everfold.streams.assets.asset import REFERENCE
from everfold.streams.events.limits import INPUTS_LIMIT
from everfold.web.comfyui.files.found_file import FoundFile, find_file, named_in_graph
from everfold.web.comfyui.server.union import Union, upload_inputs
from everfold.web.files.server_files import USUAL_INPUTS
from everfold.web.operation import Call

LOOKS_LIMIT = 4 * INPUTS_LIMIT
"""Names of one graph that are looked for: each costs a trip to Redis."""
LOADS = "Load"
"""Begins the names of those classes."""


class GivenFiles(Struct, frozen=True):
    """Files of one job."""

    inputs: dict[str, str] = {}
    """Place in the graph, such as 10.image -> everfold:<asset id>."""
    names: dict[str, str] = {}
    """Place -> what the graph has there, where that is not the name of the asset."""


async def files_of(call: Call, graph: Mapping[str, object]) -> GivenFiles:
    """Return the files that a graph names. Raises a leaf of Unavailable."""
    inputs, names = dict[str, str](), dict[str, str]()
    union = (await call.gateway.catalogue.known()).union
    looked = dict[str, FoundFile | None]()
    for place, text in _texts(graph, union):
        if text not in looked:
            if len(looked) == LOOKS_LIMIT:
                break
            looked[text] = await find_file(call, named_in_graph(text))
        found = looked[text]
        if len(inputs) == INPUTS_LIMIT:
            break
        if found is None:
            continue
        inputs[place] = REFERENCE + found.asset.id
        if text != found.asset.name:
            names[place] = text
    return GivenFiles(inputs, names)


def _texts(graph: Mapping[str, object], union: Union) -> Iterator[tuple[str, str]]:
    for node_id, node in graph.items():
        given = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(node, dict) or not isinstance(given, dict):
            continue
        for name in _inputs_of(str(node.get("class_type")), union):
            text = given.get(name)
            if isinstance(text, str) and text:
                yield f"{node_id}.{name}", text


def _inputs_of(class_type: str, union: Union) -> tuple[str, ...]:
    if class_type in union.uploads:
        return tuple(upload_inputs(union.uploads[class_type]))
    is_likely = class_type.startswith(LOADS) and class_type not in union.encoded
    return USUAL_INPUTS if is_likely else ()
