"""One mistake has one exit code, whichever command meets it: `everfold help exit-codes`."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.client import Everfold as Client
from everfold.streams.appending.log import Log
from everfold.streams.errors import BackendUnknown, ServerUrlInvalid
from everfold.streams.leases.backends import BackendEntry, note_backends
from tests.everfold.running import Everfold, ended
from tests.support.servers import OwnServer

pytestmark = pytest.mark.anyio

FAST = str(Path(__file__).parents[2] / "data" / "workflows" / "fast_success.json")
WRONG_USE, NOT_FOUND = 2, 3

UNKNOWN = [
    ("keys", "revoke", "nobody"),
    ("schema", "script", "nobody"),
    ("schema", "json", "nobody"),
    ("backends", "return", "nobody"),
    ("assets", "rm", "0192a1b2-0000-7000-8000-000000000000"),
    ("queues", "resume", "nobody"),
    ("archive", "forget", "nobody"),
    ("jobs", "show", "nobody"),
]


async def test_a_name_that_nothing_has_is_three(everfold: Everfold, log: Log) -> None:
    running = {words: everfold(*words) for words in UNKNOWN}
    for words, program in running.items():
        assert await program.end(within_s=60) == NOT_FOUND, (words, str(program))


@pytest.mark.parametrize("url", ["nonsense", "redis://h:99999", "redis+sentinel://h"])
async def test_a_url_of_no_form_is_wrong_use(everfold: Everfold, url: str) -> None:
    commands = [("jobs", "ls"), ("submit", FAST), ("archive", "ls"), ("runner",), ("doctor",)]
    running = {words: everfold(*words, REDIS_URL=url) for words in commands}
    for words, program in running.items():
        assert await program.end(within_s=60) == WRONG_USE, (words, str(program))
    with pytest.raises(ServerUrlInvalid, match="is not a Redis URL"):
        async with Client.connect(url):
            raise AssertionError


async def test_a_backend_that_was_retired_or_seen_may_be_returned(server: OwnServer) -> None:
    async with Client.connect(server.url) as everfold:
        await everfold.log.make()
        await note_backends(everfold.log, [BackendEntry(name="http://gpu1:8188", seen_ms=1)])
        assert not await everfold.return_backend("http://gpu1:8188")
        await everfold.retire_backend("http://gpu1:8188")
        assert await everfold.return_backend("gpu1:8188")
        with pytest.raises(BackendUnknown):
            await everfold.return_backend("nobody")
        assert [act.verb for act in await everfold.acts()] == [
            "return_backend",
            "retire_backend",
            "return_backend",
        ]


async def test_a_point_before_the_job_began_is_told(everfold: Everfold, log: Log) -> None:
    job_id = (await log.submit({"1": {"class_type": "EmptyImage", "inputs": {}}})).job_id
    shown = everfold("audit", "show", job_id, "--at", "2020-01-31T12:00:00Z")
    assert await ended(shown) == []
    assert "there was no such job yet: its first event came at" in shown.error_lines[-1]


@pytest.mark.parametrize("namespace", ["a b", "*", "x]"])
async def test_rights_are_printed_for_a_namespace_that_can_be(
    everfold: Everfold, namespace: str
) -> None:
    refused = everfold("acl", "client", "-n", namespace)
    assert await ended(refused, code=WRONG_USE) == []
    assert refused.error_lines[-1].startswith("everfold: namespace ")
