"""Which servers have an extension, and which jobs need one."""

from __future__ import annotations

import pytest

from everfold.operations import BackendStatus
from everfold.web.comfyui.extensions.naming import labels_of, servers_of


def backend(*labels: str, unseen_s: float = 0.0, retired_by: str = "") -> BackendStatus:
    return BackendStatus(
        name="http://gpu:8188", unseen_s=unseen_s, why="", retired_by=retired_by, labels=labels
    )


GRAPH = {
    "1": {"class_type": "ETN_LoadImageCache", "inputs": {"id": "a"}},
    "2": {"class_type": "KSampler", "inputs": {}},
}


@pytest.mark.parametrize(
    ("labels", "needed"),
    [
        (("extension:etn",), ("extension:etn",)),
        (("extension:etn", "extension:other", "gpu:24gb"), ("extension:etn",)),
        (("extension:et",), ()),
        (("gpu:24gb",), ()),
        ((), ()),
    ],
)
def test_a_job_needs_the_extensions_of_its_nodes(
    labels: tuple[str, ...], needed: tuple[str, ...]
) -> None:
    assert labels_of(GRAPH, [backend(*labels), backend()]) == needed


@pytest.mark.parametrize("graph", [{"1": None}, {"1": []}, {"1": {"class_type": 7}}, {}])
def test_odd_graphs_need_nothing(graph: dict[str, object]) -> None:
    assert labels_of(graph, [backend("extension:etn")]) == ()


def test_servers_that_are_away_or_retired_are_not_asked() -> None:
    there = backend("extension:etn")
    others = [
        backend("extension:etn", unseen_s=61),
        backend("extension:etn", retired_by="ada"),
        backend("etn"),
        backend(),
    ]
    assert servers_of("etn", [*others, there]) == [there]
