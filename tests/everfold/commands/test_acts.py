"""What operators did is listed with who did it, and bounded."""

from __future__ import annotations

import pytest

from everfold.client import Everfold
from everfold.commands.session import operator_name
from everfold.streams.appending.log import Log
from everfold.streams.errors import BackendUnknown, InvalidName
from everfold.streams.leases import acts
from everfold.streams.leases.acts import note_act
from everfold.streams.leases.backends import BackendEntry, note_backends
from everfold.streams.redis.redis_errors import command
from tests.everfold.running import Everfold as Command
from tests.everfold.running import ended, objects

pytestmark = pytest.mark.anyio

URL = "http://gpu1:8188"


async def test_each_act_is_listed_with_its_actor(redis_url: str, namespace: str) -> None:
    async with Everfold.connect(redis_url, namespace=namespace, actor="ada") as everfold:
        await everfold.log.make()
        await note_backends(everfold.log, [BackendEntry(name=URL, seen_ms=1)])
        await everfold.retire_backend(URL)
        assert await everfold.return_backend(URL)
        with pytest.raises(BackendUnknown):
            await everfold.retire_backend("http://nobody")
        found = await everfold.acts()
    assert [(act.actor, act.verb, act.subject) for act in found] == [
        ("ada", "retire_backend", URL),
        ("ada", "return_backend", URL),
    ]
    assert found[0].at_ms > 1_600_000_000_000


async def test_a_client_acts_under_another_actor(redis_url: str, namespace: str) -> None:
    async with Everfold.connect(redis_url, namespace=namespace, actor="gateway") as everfold:
        await everfold.acting_as("key-1").pause_queue("default")
        await everfold.resume_queue("default")
        assert [act.actor for act in await everfold.acts()] == ["key-1", "gateway"]
        for wrong in ("", "a b", None, 7):
            with pytest.raises(InvalidName):
                everfold.acting_as(wrong)  # type: ignore[arg-type]


async def test_the_command_names_the_person_and_passes_over_what_others_wrote(
    everfold: Command, log: Log
) -> None:
    await note_backends(log, [BackendEntry(name=URL, seen_ms=1)])
    await ended(everfold("backends", "retire", URL))
    await command(log.redis, "XADD", log.keys.audit(), "*", b"\xff", "x")
    [act] = await objects(everfold("audit", "acts", "--json"))
    assert (act["actor"], act["verb"], act["subject"]) == (operator_name(), "retire_backend", URL)
    [head, line] = await ended(everfold("audit", "acts"))
    assert head.split() == ["time", "who", "what", "to"]
    assert line.endswith(f"retire backend  {URL}")
    [row] = await objects(everfold("backends", "ls", "--json"))
    assert row["retired_by"] == operator_name()


async def test_the_oldest_acts_are_dropped(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "ACTS_LIMIT", 100)
    for number in range(450):
        await note_act(log, "give_up", f"job-{number}", "x" * 5_000)
    found = await acts.acts(log)
    assert 100 <= len(found) <= 250  # the server drops whole nodes of entries
    assert found[-1].subject == "job-449"
    assert len(found[-1].detail) == 1_000
    assert await acts.acts(log, found[-1].at_ms + 1) == []


async def test_a_key_of_another_type_is_named_by_doctor(everfold: Command, log: Log) -> None:
    await command(log.redis, "SET", log.keys.audit(), "x")
    lines = await ended(everfold("doctor"), 1)
    assert any("everfold:audit" in line for line in lines)
