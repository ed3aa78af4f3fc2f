"""A newer server cancels a prompt in one step; an old one does not have the route."""

from __future__ import annotations

import httpx
import pytest

from everfold.simulator.simulator import simulate

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("is_old", "status"), [(False, 200), (True, 404)])
async def test_an_unknown_prompt_is_not_canceled(is_old: bool, status: int) -> None:
    async with simulate(is_old=is_old) as simulator, httpx.AsyncClient() as client:
        answer = await client.post(f"{simulator.url}/api/jobs/none/cancel")
        assert answer.status_code == status
        assert is_old or answer.json() == {"cancelled": False}
        assert simulator.ledger.cancels == ([] if is_old else ["none"])
