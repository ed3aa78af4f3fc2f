"""Which servers have an extension, and which jobs need one.

Rule: no I/O. An operator gives a server the label `extension:etn`; then it gets what is sent to
/api/etn, and jobs with nodes whose class begins with ETN_ run only at servers with that label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from everfold.operations import BackendStatus

LABEL = "extension:"
AWAY_S = 60.0
"""A server that nobody has reached for so long is not asked."""


def label_of(extension: str) -> str:
    """Return the label of the servers that have an extension."""
    return LABEL + extension


def servers_of(extension: str, backends: Iterable[BackendStatus]) -> list[BackendStatus]:
    """Return the servers in service that have an extension."""
    return [
        one
        for one in backends
        if label_of(extension) in one.labels and not one.retired_by and one.unseen_s < AWAY_S
    ]


def labels_of(graph: Mapping[str, object], backends: Sequence[BackendStatus]) -> tuple[str, ...]:
    """Return the labels of the extensions whose nodes a graph has, as far as servers have any."""
    known = {label for one in backends for label in one.labels if label.startswith(LABEL)}
    nodes = [node for node in graph.values() if isinstance(node, Mapping)] if known else []
    classes = {str(node.get("class_type", "")) for node in nodes}
    return tuple(
        label
        for label in sorted(known)
        if any(name.startswith(f"{label[len(LABEL) :].upper()}_") for name in classes)
    )
