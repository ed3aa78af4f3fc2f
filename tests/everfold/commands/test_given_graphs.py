"""What a graph may be called, and what is said of a request of another service in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from everfold import Everfold, EverfoldError
from tests.everfold.client.odd_values import GRAPH, NODE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(redis_url: str, namespace: str) -> AsyncIterator[Everfold]:
    async with Everfold.connect(redis_url, namespace=namespace, partitions=2) as client:
        await client.log.make()
        yield client


@pytest.mark.parametrize("name", ["prompt", "input", "workflow", "nodes", "output", "extra_data"])
async def test_a_node_may_have_any_name(client: Everfold, name: str) -> None:
    for graph in ({name: NODE}, {name: NODE, "1": NODE}):
        assert (await client.submit(graph)).created


@pytest.mark.parametrize(
    ("workflow", "words"),
    [
        ({"prompt": GRAPH, "client_id": "c"}, "the value of its `prompt` only"),
        ({"input": {"workflow": GRAPH, "images": []}}, "the value of its `input.workflow` only"),
        ({"id": "j", "body": {"input": {"prompt": GRAPH}}}, "its `body.input.prompt` only"),
        (
            {"workflow": {"nodes": [], "links": []}},
            r"`workflow`\) is in the format of ComfyUI's ed",
        ),
        ({"nodes": [], "links": [], "version": 0.4}, r"Export \(API\)"),
        (b"\xef\xbb\xbf", "it is empty|Expecting value"),
    ],
)
async def test_a_request_of_another_service_is_told_where_its_graph_is(
    client: Everfold, workflow: Mapping[str, object], words: str
) -> None:
    with pytest.raises(EverfoldError, match=words):
        await client.submit(workflow)
