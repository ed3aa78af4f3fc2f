"""Files that lie in the folders of ComfyUI servers, as a graph may name them.

Rule: what a server has made and kept is of many users, and it asks nobody who wants it. So who sees
only what is their own names none of it: they have uploads, and the outputs of their own jobs.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping

from everfold.streams.errors import InputRefused
from everfold.web.caller import Caller

USUAL_INPUTS = ("image", "mask", "audio", "video", "file", "model_file", "latent")
"""Inputs by which the usual classes take files."""

PATH_LIMIT = 4_096
"""Characters of a path; a longer text is a picture that is sent as text."""

_OF_ALL = ("[output]", "[temp]")
_INPUT = re.compile(r" ?\[input\]$")
_LEADS_OUT = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)

WHY = (
    "this names a file in a folder of the server that all users share: upload the file, or name "
    "an output of your own job as `JOB_ID/NAME [output]` to POST /prompt"
)


def inputs_of(graph: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield all inputs of a graph, which may be anything: node, dot, name -> value."""
    for node_id, node in graph.items():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        for name, value in inputs.items() if isinstance(inputs, dict) else ():
            yield f"{node_id}.{name}", value


def check_server_files(
    caller: Caller, inputs: Iterable[tuple[str, object]], own: Container[str] = ()
) -> None:
    """Raise InputRefused where a caller names a file that may be somebody else's.

    `own` are the places in the graph whose files were found among those of the caller.
    """
    if caller.sees_all:
        return
    for place, value in inputs:
        takes_file = place.rpartition(".")[2] in USUAL_INPUTS
        if place not in own and any(_is_shared(text, takes_file) for text in _texts_of(value)):
            raise InputRefused(place, WHY)


def _is_shared(text: str, takes_file: bool) -> bool:
    # Any class may read an input so, and ComfyUI looks at nothing but the end.
    if text.endswith(_OF_ALL):
        return True
    path = _INPUT.sub("", text)
    return takes_file and len(path) <= PATH_LIMIT and _LEADS_OUT.match(path) is not None


def _texts_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts_of(one)
