"""What `everfold doctor` finds, by the gateway."""

from __future__ import annotations

import httpx
import pytest

from everfold import Everfold
from tests.support.programs.stack import sleeper
from tests.web.farm.page import looking
from tests.web.own.test_scopes import signed

pytestmark = pytest.mark.anyio

DOCTOR = "/everfold/v1/doctor"


async def test_it_says_what_to_change_and_the_board_shows_it(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await everfold.submit(sleeper(1))

    told = (await client.get(DOCTOR)).json()
    again = (await client.get(DOCTOR)).json()
    async with looking(client) as page:
        await page.until(lambda: page.farm.get("alarms"))

    wrong = [one for one in told["findings"] if not one["is_well"]]
    assert told["to_change"] == len(wrong) > 0
    assert told["findings"][: len(wrong)] == wrong
    assert "start `everfold projector`" in " ".join(one["advice"] for one in wrong)
    assert again == told
    alarms = page.member("alarms")
    assert {one["severity"] for one in alarms} <= {"error", "warning"}
    assert any("nobody serves it" in str(one["advice"]) for one in alarms)


async def test_it_is_for_operators(client: httpx.AsyncClient, everfold: Everfold) -> None:
    _, headers = await signed(client, everfold, "reader")

    assert (await client.get(DOCTOR, headers=headers)).status_code == 403
