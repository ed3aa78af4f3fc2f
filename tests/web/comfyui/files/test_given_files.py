"""What it costs to look for the files that a graph names."""

from __future__ import annotations

import httpx
import pytest

from everfold.web.comfyui.files import given_files
from everfold.web.comfyui.files.found_file import FileName, FoundFile, find_file
from everfold.web.operation import Call

pytestmark = pytest.mark.anyio


async def test_a_graph_of_very_many_names_is_not_looked_for_name_by_name(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    async def counted(call: Call, name: FileName) -> FoundFile | None:
        asked.append(name.filename)
        return await find_file(call, name)

    monkeypatch.setattr(given_files, "find_file", counted)

    def graph_of(names: list[str]) -> dict[str, object]:
        nodes = enumerate(names)
        return {str(n): {"class_type": "LoadImage", "inputs": {"image": name}} for n, name in nodes}

    await client.post("/prompt", json={"prompt": graph_of(["cat.png"] * 50)})
    assert asked == ["cat.png"]
    await client.post("/prompt", json={"prompt": graph_of([f"{n}.png" for n in range(2_000)])})
    assert len(asked) <= 1 + given_files.LOOKS_LIMIT
