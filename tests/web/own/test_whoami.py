"""What a page is told of the caller before it shows anything."""

from __future__ import annotations

import httpx
import pytest

from everfold import Everfold, __version__
from everfold.streams.errors import Misconfigured
from everfold.web.settings import WebSettings
from tests.support.programs.stack import Stack
from tests.web.own.test_scopes import signed
from tests.web.site import client_of, serving

pytestmark = pytest.mark.anyio

WHO = "/everfold/v1/whoami"


async def test_without_keys_the_caller_may_do_everything(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    told = (await client.get(WHO)).json()

    assert told == {
        "role": "operator",
        "user": "",
        "sees_all": True,
        "key_id": "",
        "namespace": everfold.log.keys.namespace,
        "version": __version__,
        "trace_url": "",
    }
    assert (await client.get(f"{WHO}?user=ada")).status_code == 422


async def test_it_says_where_traces_are_seen(everfold: Everfold, stack: Stack) -> None:
    address = "https://traces.example/trace/{trace_id}?org=1"
    async with (
        serving(everfold, stack, WebSettings(trace_url=address)) as site,
        client_of(site) as client,
    ):
        assert (await client.get(WHO)).json()["trace_url"] == address


@pytest.mark.parametrize(
    "address", ["https://traces.example", "javascript:x{trace_id}", "https://a{b}/{trace_id}", "{}"]
)
def test_an_address_of_traces_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(Misconfigured, match="trace_id"):
        WebSettings(trace_url=address)


async def test_a_key_is_told_its_role_and_user(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    key_id, headers = await signed(client, everfold, user="ada")

    told = (await client.get(WHO, headers=headers)).json()

    assert (told["role"], told["user"], told["sees_all"]) == ("user", "ada", False)
    assert told["key_id"] == key_id
    assert (await client.get(WHO)).status_code == 401
