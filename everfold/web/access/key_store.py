"""The keys of a namespace, as they are stored: add, list and revoke them.

Rule: of a key only its digest is stored. A revoked one stays in the list, so that a namespace that
has had keys never answers without one until all of them are removed on purpose.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import cast, get_args

import msgspec
from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import InvalidName, Refused, Unknown
from everfold.streams.events.checks import check_choice, check_text
from everfold.streams.events.json_text import decoder
from everfold.streams.events.limits import ID_LIMIT, NAME_LIMIT
from everfold.streams.events.ranges import check_number
from everfold.streams.leases.acts import note_act
from everfold.streams.redis.redis_errors import command, commands, read_hash
from everfold.streams.redis.server import server_time_ms
from everfold.web.access.key import Key, Shown
from everfold.web.caller import Role

KEYS_LIMIT = 5_000
"""Keys of a namespace, revoked ones included."""

read_key = decoder(Key)
"""Reads a stored key. Raises ValueError for what is none."""


class ListedKey(Struct, frozen=True, kw_only=True):
    """A key as lists show it."""

    key_id: str
    key: Key
    used_ms: int | None
    """When it was used last, to about ten minutes; None for never."""
    state: str
    """good, expired or revoked."""


async def add_key(
    log: Log,
    name: str,
    *,
    role: Role = "user",
    user: str = "",
    expires_in_s: float | None = None,
    requests_per_s: float | None = None,
    streams: int | None = None,
    body_limit_bytes: int | None = None,
) -> tuple[str, Secret]:
    """Make a key; return its id and its text, which can never be shown again.

    A key of the role `user` needs a user; one of another role without a user sees all. Raises
    InvalidName, Refused for too many keys, a leaf of Unavailable.
    """
    check_text("name of the key", name, least=1, most=NAME_LIMIT)
    check_choice("role", role, get_args(Role))
    check_text("user", user, most=ID_LIMIT)
    if role == "user" and not user:
        raise InvalidName("user", user, "a key of the role user needs one: --user ada")
    numbers = {"requests_per_s": requests_per_s, "streams": streams, "body_limit": body_limit_bytes}
    for what, number in (*numbers.items(), ("key_ttl_s", expires_in_s)):
        if number is not None:
            check_number(what, number)
    shown = Shown(secrets.token_hex(5), Secret(secrets.token_hex(32)))
    await log.make()
    now_ms = await server_time_ms(log.redis)
    key = Key(
        name=name,
        role=role,
        sha256=shown.digest(),
        created_ms=now_ms,
        created_by=log.actor,
        user=user,
        expires_ms=None if expires_in_s is None else now_ms + int(expires_in_s * 1000),
        requests_per_s=requests_per_s,
        streams=streams,
        body_limit_bytes=body_limit_bytes,
    )
    await _make_room(log)
    await note_act(log, "add_key", shown.key_id, f"{name}: {role} {user}".strip())
    await log.write("HSET", log.keys.gateway_keys(), shown.key_id, _encoded(key))
    return shown.key_id, shown.text()


async def _make_room(log: Log) -> None:
    """Drop what is known of the keys that were revoked first. Raises Refused without any."""
    found = await stored_keys(log)
    if len(found) < KEYS_LIMIT:
        return
    ended = [(key.revoked_ms, key_id) for key_id, key in found.items() if key and key.revoked_ms]
    if not ended:
        raise Refused(f"there are {KEYS_LIMIT:,} keys, which is the limit: revoke some")
    await _forget(log, [key_id for _, key_id in sorted(ended)[: KEYS_LIMIT // 10]])


async def _forget(log: Log, key_ids: Sequence[str | bytes]) -> None:
    await commands(
        log.redis,
        [
            ("HDEL", log.keys.gateway_keys(), *key_ids),
            ("HDEL", log.keys.gateway_key_uses(), *key_ids),
        ],
    )


async def stored_keys(log: Log) -> dict[str, Key | None]:
    """Return all keys by id, None for one that cannot be read. Raises a leaf of Unavailable."""
    return read_keys(await read_hash(log.redis, log.keys.gateway_keys()))


def read_keys(
    found: Mapping[bytes, bytes], known: Mapping[bytes, Key] | None = None
) -> dict[str, Key | None]:
    """Read what is stored; `known` are texts that were read before."""
    keys = dict[str, Key | None]()
    for name, text in found.items():
        key = known.get(text) if known else None
        if key is None:
            with suppress(ValueError):
                key = read_key(text)
        keys[name.decode(errors="replace")] = key
    return keys


async def list_keys(log: Log) -> list[ListedKey]:
    """Return all keys that can be read, the oldest first. Raises a leaf of Unavailable."""
    now_ms, uses = await server_time_ms(log.redis), await _uses(log)
    rows = [
        ListedKey(
            key_id=key_id,
            key=key,
            used_ms=uses.get(key_id),
            state="good" if key.is_good(now_ms) else "revoked" if key.revoked_ms else "expired",
        )
        for key_id, key in (await stored_keys(log)).items()
        if key is not None
    ]
    return sorted(rows, key=lambda row: (row.key.created_ms, row.key_id))


async def _uses(log: Log) -> dict[str, int]:
    found = await read_hash(log.redis, log.keys.gateway_key_uses())
    return {
        name.decode(errors="replace"): int(text) for name, text in found.items() if text.isdigit()
    }


async def revoke_key(log: Log, which: str) -> str:
    """Revoke a key by its id, its name, or the key itself; return its id.

    Gateways obey within seconds, and end its streams. Raises Unknown where no key fits,
    InvalidName where several do, and a leaf of Unavailable.
    """
    shown = Shown.read(which)
    which = shown.key_id if shown else which
    found = {key_id: key for key_id, key in (await stored_keys(log)).items() if key is not None}
    fitting = [which] if which in found else []
    fitting = fitting or [
        key_id for key_id, key in found.items() if key.name == which and not key.revoked_ms
    ]
    if not fitting:
        raise Unknown("no key has this id or name: see everfold keys ls")
    if len(fitting) > 1:
        some = f"several keys have this name: {', '.join(sorted(fitting))}"
        raise InvalidName("key", which, some)
    key_id, key = fitting[0], found[fitting[0]]
    if key.revoked_ms is None:
        await note_act(log, "revoke_key", key_id, key.name)
        revoked = msgspec.structs.replace(key, revoked_ms=await server_time_ms(log.redis))
        await log.write("HSET", log.keys.gateway_keys(), key_id, _encoded(revoked))
    return key_id


async def remove_keys(log: Log) -> int:
    """Remove all keys; return how many there were. Then only the own machine is served."""
    found = list(await read_hash(log.redis, log.keys.gateway_keys()))
    if found:
        await note_act(log, "revoke_key", "all", f"{len(found)} keys")
        await _forget(log, found)
    return len(found)


async def note_uses(log: Log, uses: Mapping[str, int]) -> None:
    """Write down when keys were used. Raises a leaf of Unavailable."""
    flat = [part for pair in uses.items() for part in pair]
    if flat:
        await command(log.redis, "HSET", log.keys.gateway_key_uses(), *flat)


async def keys_with_time(log: Log) -> tuple[dict[bytes, bytes], int]:
    """Return what is stored of all keys, and the server's time in Unix ms, in one trip."""
    flat, clock = await commands(log.redis, [("HGETALL", log.keys.gateway_keys()), ("TIME",)])
    texts, (seconds, micros) = cast("list[bytes]", flat), cast("list[bytes]", clock)
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    return dict(zip(texts[::2], texts[1::2], strict=True)), now_ms


def _encoded(key: Key) -> bytes:
    return msgspec.json.encode(key)
