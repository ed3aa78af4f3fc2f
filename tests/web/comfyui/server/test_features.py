"""GET /features."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("under", ["", "/api"])
async def test_the_gateway_says_what_it_can_do(client: httpx.AsyncClient, under: str) -> None:
    answer = await client.get(f"{under}/features")

    assert answer.status_code == 200
    assert answer.json() == {"supports_preview_metadata": True, "max_upload_size": 1024 * 2**20}
