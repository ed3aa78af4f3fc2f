"""Keys, as clients and operators meet them."""

from __future__ import annotations

import asyncio
import hmac
import re
import sys

import httpx
import pytest
from starlette.routing import Route

from everfold import Everfold
from everfold.streams.border.addresses import masked_text
from everfold.streams.errors import InvalidName, TooLarge, Unavailable, Unknown
from everfold.streams.redis.redis_errors import command
from everfold.web import add_key, list_keys, remove_keys, revoke_key
from everfold.web.access import key_table
from everfold.web.access.key import Key, Shown
from everfold.web.access.key_table import KeyTable
from everfold.web.access.sessions import KNOWN_LIMIT, Sessions
from everfold.web.problem import Problem
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.web.site import Site, client_of

pytestmark = pytest.mark.anyio

READ = "/features"
"""What a reader may ask."""


async def status(client: httpx.AsyncClient, key: str = "", **headers: str) -> int:
    shown = {"Authorization": f"Bearer {key}"} if key else {}
    return (await client.get(READ, headers={**shown, **headers})).status_code


async def test_without_keys_this_machine_is_served(client: httpx.AsyncClient) -> None:
    assert await status(client) == 200
    assert await status(client, "anything") == 200


async def test_from_the_first_key_on_each_call_needs_one(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    assert await status(client) == 200
    _, key = await add_key(everfold.log, "one", user="ada")

    async def is_asked() -> bool:
        return await status(client) == 401

    await eventually(is_asked)
    assert await status(client, key.reveal()) == 200
    assert await status(client, **{"X-API-Key": key.reveal()}) == 200
    refused = await client.get(READ)
    assert refused.headers["www-authenticate"] == 'Bearer realm="everfold"'
    assert refused.json()["error"]["type"] == "unauthorized"
    assert (await client.get("/livez")).status_code == 200


async def test_each_contract_refuses_in_its_own_form(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await add_key(everfold.log, "one", user="ada")
    await eventually(lambda: _is_refused(client))
    told = (await client.get("/api/v2/jobs")).json()["error"]
    assert told == {"code": "unauthorized", "message": told["message"], "details": None}
    assert (await client.get("/queue")).json()["error"]["type"] == "unauthorized"


async def _is_refused(client: httpx.AsyncClient) -> bool:
    return await status(client) == 401


@pytest.mark.parametrize(
    "wrong",
    [
        "ef_0123456789_" + "0" * 64,
        "ef_0123456789",
        "Bearer",
        "x" * 5000,
        "ef_\u00e9_x",
    ],
)
async def test_a_wrong_key_is_refused(
    wrong: str, client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await add_key(everfold.log, "one", user="ada")
    raw = f"Bearer {wrong}".encode("latin-1")

    async def is_refused() -> bool:
        return (await client.get(READ, headers={b"Authorization": raw})).status_code == 401

    await eventually(is_refused)


async def test_a_new_key_counts_at_once_and_a_revoked_one_within_seconds(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    await add_key(everfold.log, "first", user="ada")
    await eventually(lambda: _is_refused(client))
    key_id, key = await add_key(everfold.log, "second", role="reader")
    assert await status(client, key.reveal()) == 200
    assert await revoke_key(everfold.log, "second") == key_id

    async def is_over() -> bool:
        return await status(client, key.reveal()) == 401

    await eventually(is_over)


async def test_after_the_last_key_is_revoked_nobody_is_served_until_all_are_removed(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    key_id, _ = await add_key(everfold.log, "only", user="ada")
    await eventually(lambda: _is_refused(client))
    await revoke_key(everfold.log, key_id)
    await asyncio.sleep(key_table.REFRESH_S)
    assert await status(client) == 401
    assert await remove_keys(everfold.log) == 1

    async def is_served() -> bool:
        return await status(client) == 200

    await eventually(is_served)


async def test_an_expired_key_is_refused(client: httpx.AsyncClient, everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "short", role="reader", expires_in_s=1)
    assert await eventually(lambda: status(client, key.reveal())) == 200

    async def is_over() -> bool:
        return await status(client, key.reveal()) == 401

    await eventually(is_over)
    assert [one.state for one in await list_keys(everfold.log)] == ["expired"]


async def test_a_role_may_do_what_it_may(everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "r", role="reader")
    table = KeyTable(everfold.log)
    found = await table.find(key.reveal())
    assert found is not None
    caller = found[1].caller(found[0])
    assert (caller.role, caller.scope, caller.actor) == ("reader", None, f"key-{found[0]}")
    for role, user, scope in [
        ("user", "ada", "ada"),
        ("operator", "", None),
        ("operator", "bob", "bob"),
        ("reader", "bob", "bob"),
    ]:
        _, key = await add_key(everfold.log, "x", role=role, user=user)  # type: ignore[arg-type]
        found = await table.find(key.reveal())
        assert found is not None
        assert found[1].caller(found[0]).scope == scope


async def test_what_is_stored_shows_nothing_of_the_key(everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "one", user="ada")
    text = key.reveal()
    assert re.fullmatch(r"ef_[0-9a-f]{10}_[0-9a-f]{64}", text)
    stored = await command(everfold.log.redis, "HGETALL", everfold.log.keys.gateway_keys())
    assert text.rpartition("_")[2] not in str(stored)
    assert text not in repr(key) + str(key) + f"{key}"
    assert text not in masked_text(f"tried {text} twice")
    listed = await list_keys(everfold.log)
    assert text.rpartition("_")[2] not in repr(listed)


async def test_odd_arguments_are_refused(everfold: Everfold) -> None:
    for arguments in (
        {"name": ""},
        {"name": "x" * 100, "user": "a"},
        {"name": "x"},
        {"name": "x", "role": "king"},
        {"name": "x", "user": "a", "streams": -1},
        {"name": "x", "user": "a", "expires_in_s": float("nan")},
    ):
        with pytest.raises((InvalidName, TooLarge)):
            await add_key(everfold.log, **arguments)
    with pytest.raises(Unknown, match="no key has this id or name"):
        await revoke_key(everfold.log, "nobody")
    await add_key(everfold.log, "twin", user="a")
    await add_key(everfold.log, "twin", user="b")
    with pytest.raises(InvalidName, match="several keys have this name"):
        await revoke_key(everfold.log, "twin")
    assert await list_keys(everfold.log)


def test_a_known_and_an_unknown_key_are_compared_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared has the same length, and the comparison is one of constant time."""
    seen = list[tuple[int, int]]()
    whole = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((len(one), len(other)))
        return whole(one, other)

    monkeypatch.setattr("everfold.web.access.key.hmac.compare_digest", compare)
    shown = Shown.read("ef_0123456789_" + "a" * 64)
    assert shown is not None
    stored = Key(name="x", role="reader", sha256=shown.digest(), created_ms=1)
    assert shown.fits(stored)
    assert not shown.fits(None)
    assert not shown.fits(Key(name="x", role="reader", sha256="0" * 64, created_ms=1))
    assert seen == [(64, 64)] * 3


async def test_wrong_keys_cost_neither_memory_nor_trips(everfold: Everfold) -> None:
    await add_key(everfold.log, "one", user="ada")
    table, reads = KeyTable(everfold.log), 0
    whole = table._read

    async def read() -> None:
        nonlocal reads
        reads += 1
        await whole()

    table._read = read  # type: ignore[method-assign]
    size = sum(map(sys.getsizeof, vars(table).values()))
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for number in range(100_000):
        assert await table.find(f"ef_{number:010x}_{number:064x}") is None
    took_s = loop.time() - began_s
    assert reads <= 12 + took_s * key_table.AGAIN_PER_S
    assert sum(map(sys.getsizeof, vars(table).values())) <= size + 1000


async def test_wrong_logins_are_bounded(everfold: Everfold) -> None:
    sessions, refused = Sessions(everfold.log), list[Problem]()
    for number in range(5_000):
        try:
            assert await sessions.key_id(f"{number:064x}") == ""
        except Problem as problem:
            refused.append(problem)
    assert len(refused) > 1_000
    assert {(one.status, one.retry_after_s) for one in refused} == {(429, 1)}
    assert len(sessions._known) <= KNOWN_LIMIT


async def test_while_redis_is_away_nobody_is_told_that_a_key_is_wrong(
    everfold: Everfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known keys go on, unknown ones are told to come again."""
    _, key = await add_key(everfold.log, "one", user="ada")
    table = KeyTable(everfold.log)
    assert await table.find(key.reveal())

    async def away(_: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(key_table, "keys_with_time", away)
    monkeypatch.setattr(key_table, "REFRESH_S", 0.0)
    assert await table.find(key.reveal())
    for _ in range(50):
        with pytest.raises(Unavailable):
            await table.find("ef_0123456789_" + "0" * 64)
    monkeypatch.setattr(key_table, "STALE_S", 0.0)
    with pytest.raises(Unavailable):
        await table.find(key.reveal())


async def test_a_damaged_record_opens_nothing(
    client: httpx.AsyncClient, everfold: Everfold
) -> None:
    log = everfold.log
    await command(log.redis, "HSET", log.keys.gateway_keys(), "0123456789", "{broken")
    await eventually(lambda: _is_refused(client))
    assert await status(client, "ef_0123456789_" + "0" * 64) == 401
    assert await list_keys(log) == []


async def test_uses_are_noted_coarsely(client: httpx.AsyncClient, everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "one", role="reader")
    await eventually(lambda: _is_refused(client))
    assert await status(client, key.reveal()) == 200

    async def noted() -> bool:
        return (await list_keys(everfold.log))[0].used_ms is not None

    await eventually(noted)


async def test_limits_of_a_key(site: Site, everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "slow", user="a", requests_per_s=0.2, body_limit_bytes=10)
    shown = {"Authorization": f"Bearer {key.reveal()}"}
    async with client_of(site) as client:
        await eventually(lambda: _is_refused(client))
        first = await client.post("/prompt", headers=shown, content=b"x" * 11)
        assert first.status_code == 413
        answer = await client.get(READ, headers=shown)
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 5


async def test_the_command_line_adds_lists_and_revokes(
    start_program: StartProgram, stack: Stack
) -> None:
    async def run(*words: str, code: int = 0) -> list[str]:
        program = start_program("-m", "everfold", "keys", *words, environ=stack.names)
        assert await program.end(20) == code, program
        return program.lines if code == 0 else program.error_lines

    lines = await run("add", "studio", "--user", "ada", "--expires-in", "30d")
    assert Shown.read(lines[0])
    assert max(map(len, lines)) <= 80
    assert "needs one" in (await run("add", "x", code=2))[0]
    table = await run("ls")
    assert "studio" in table[1]
    assert lines[0].rpartition("_")[2] not in "".join(table)
    await run("add", "spare", "--role", "reader")
    assert len(await run("revoke", "spare")) == 1
    told = await run("revoke", lines[0])
    assert told[0].endswith("is revoked")
    assert "the last one" in told[1]
    doctor = start_program("-m", "everfold", "doctor", environ=stack.names)
    await doctor.end(20)
    [line] = [one for one in doctor.lines if "gateway keys" in one]
    assert "0 good of 2" in line
    assert "the gateway answers nobody" in line
    assert max(map(len, told)) <= 80
    assert "revoked" in (await run("ls"))[1]
    assert "no key has" in (await run("revoke", "nobody", code=3))[0]
    assert await run("revoke", "--all") == ["2 keys are removed"]
    assert (await run("ls"))[0].startswith("there are no keys")


async def test_it_does_not_listen_to_others_without_keys(
    start_program: StartProgram, stack: Stack
) -> None:
    arguments = ("-m", "everfold", "serve", "--host", "0.0.0.0", "--port", "0")
    program = start_program(*arguments, environ=stack.names)
    assert await program.end(20) == 2, program
    assert "keys add" in " ".join(program.error_lines)
    await add_key(stack.log, "one", role="operator")
    program = start_program(*arguments, environ=stack.names)
    await program.line("ready", within_s=20)


async def test_every_route_but_the_public_ones_needs_a_key(site: Site, everfold: Everfold) -> None:
    await add_key(everfold.log, "one", user="ada")
    routes = [one for one in site.application.routes if isinstance(one, Route)]
    open_paths = {"/login", "/logout", "/livez", "/readyz", "/openapi.json"}
    async with client_of(site) as client:
        await eventually(lambda: _is_refused(client))
        for route in routes:
            path = re.sub(r"\{[^}]*\}", "x", route.path)
            for method in sorted((route.methods or set()) - {"OPTIONS"}):
                answer = await client.request(method, path)
                if answer.status_code != 401 and path not in open_paths:
                    assert answer.status_code == 404, (method, path, answer.status_code)
                    assert "there is nothing" in answer.text or method == "HEAD", path
