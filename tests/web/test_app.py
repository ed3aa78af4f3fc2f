"""The application as a whole."""

from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_the_process_answers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/livez")

    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_a_large_body_that_comes_at_once_is_no_head(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/api/v2/jobs", content=b"[" * 200_000) for _ in range(2)]

    assert [one.status_code for one in answers] == [400, 400]
    assert "nested" in answers[0].text
