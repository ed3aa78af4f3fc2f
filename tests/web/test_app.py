"""The application as a whole."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_the_process_answers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/livez")

    assert (answer.status_code, answer.text) == (200, "ok\n")
