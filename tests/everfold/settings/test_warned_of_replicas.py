"""Who asks for replicas is told where there are too few of them, or just enough."""

from __future__ import annotations

import logging

import pytest

from everfold import Everfold, sync
from everfold.commands.diagnosis.doctor import _examine
from everfold.streams.appending.log import Log
from tests.support.groups.replicas import replicated
from tests.support.servers import StartServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("count", "asked", "words"),
    [(0, 1, "bring 1 more"), (1, 1, "a failover stops writes"), (2, 1, ""), (1, 0, "")],
)
async def test_connect_and_doctor_say_whether_the_replicas_suffice(
    own_server: StartServer, caplog: pytest.LogCaptureFixture, count: int, asked: int, words: str
) -> None:
    group = await replicated(own_server, count)

    async def replication() -> str:
        async with Log.open(group.url, replicas=asked) as log:
            found = [one async for one in _examine(log) if one.what == "replication"]
        return " ".join(f"{one.found} {one.advice}" for one in found)

    async def is_told() -> bool:
        return words in await replication() and "does not follow" not in await replication()

    await eventually(is_told, 20)
    with caplog.at_level(logging.WARNING, "everfold.server"):
        for _ in range(2):
            async with Everfold.connect(group.url, replicas=asked):
                pass
    said = [text for text in caplog.messages if text.startswith("server_may_stop_writes")]
    assert len(said) == (1 if words else 0)
    assert all(words in text for text in said)


async def test_a_doctor_names_the_primary_of_a_replica(own_server: StartServer) -> None:
    group = await replicated(own_server, 1)
    async with Log.open(group.url):
        pass
    port = group.primary.url.removesuffix("/0").rpartition(":")[2]
    async with Log.open(group.replicas[0].url) as log:
        found = {one.what: one async for one in _examine(log)}
    assert f"this is a replica of 127.0.0.1:{port}" in found["replication"].found


def test_a_client_without_an_event_loop_asks_for_replicas(own_server: StartServer) -> None:
    server = own_server(tcp=True)
    with sync.connect(server.url, replicas=2, replicas_within_s=3, replicas_for="all") as client:

        async def asked(inner: Everfold) -> tuple[int, float, str]:
            found = inner.log.replicas
            return found.count, found.within_s, found.events

        assert client.run(asked) == (2, 3, "all")
