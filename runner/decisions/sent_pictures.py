"""Pictures that nodes send over the connection to their server, and write into no file.

Rule: pure. They are outputs like files, and come once: nobody can ask for them again.
"""

from __future__ import annotations

from collections.abc import Mapping

from everfold.runner.backend import SentPictures

CLASSES = frozenset(("SaveImageWebsocket", "ETN_SendImageWebSocket", "SwarmSaveImageWS"))
"""Node classes whose previews are their outputs: ComfyUI's own, krita's and SwarmUI's."""

PICTURES_LIMIT = 300
"""Pictures of one attempt that are kept: as many as an event can name of one node."""
PICTURES_LIMIT_BYTES = 64 * 2**20
"""All of them together. They are in memory until the attempt has ended."""


def sending_nodes(graph: Mapping[str, Mapping[str, object]]) -> frozenset[str]:
    """Return the nodes of a graph whose outputs are sent."""
    return frozenset(node for node, fields in graph.items() if fields.get("class_type") in CLASSES)


def merged(
    earlier: Mapping[str, SentPictures], later: Mapping[str, SentPictures]
) -> dict[str, SentPictures]:
    """Return what two connections to the same attempt brought: of each node the better one."""
    best = dict(earlier)
    for node, found in later.items():
        known = best.get(node)
        if known is None or _worth(found) > _worth(known):
            best[node] = found
    return best


def _worth(found: SentPictures) -> tuple[bool, int]:
    return found.is_whole, len(found.pictures)
