"""The keys of users as the server has them: each wrapped, under a digest of the user's name.

Rule: a user has one key at most. A key that is removed is never stored again: who makes one where
there is none makes a new one, with a new id.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec
from msgspec import Struct

from everfold.streams.border.sealed_form import KEY_ID_LENGTH
from everfold.streams.border.secrets import Secret
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import WrongKeyType
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script
from everfold.streams.redis.server import server_time_ms
from everfold.streams.sealing.cipher import Cipher, Wrapped

DIGEST_LENGTH = 32
"""Hex digits of a user's digest: no two users share one."""

_change_user_key = Script("everfold.streams", "change_user_key")


class UserKey(Struct, frozen=True):
    """A user's key as it is stored, as JSON."""

    id: str
    """It ends the key's id, which begins with the user's digest."""
    by: str
    wrapped: str
    made_at_ms: int = 0


class DataKey(Struct, frozen=True):
    """A user's key, opened."""

    id: str
    content: Secret


read_user_key = decoder(UserKey)


def field_of(user: str) -> str:
    """Return the field under which a user's key is stored, with which its id begins, too."""
    return hashlib.sha256(user.encode(errors="surrogatepass")).hexdigest()[:DIGEST_LENGTH]


async def stored_key(redis: LedgerRedis, keys: Keyspace, field: str) -> UserKey | None:
    """Return a key; None where there is none, or none that can be read.

    Raises a leaf of Unavailable.
    """
    found = await command(redis, "HGET", keys.user_keys(), field)
    return _read(found) if isinstance(found, bytes) else None


def _read(text: bytes) -> UserKey | None:
    try:
        found = read_user_key(text)
    except NotJson:
        return None
    return found if len(found.id) == KEY_ID_LENGTH - DIGEST_LENGTH else None


async def make_key(redis: LedgerRedis, keys: Keyspace, field: str, cipher: Cipher) -> UserKey:
    """Return the key at `field`; make one where there is none. Of two that make it one decides.

    Raises WrongKeyType where something else is stored there, a leaf of Unavailable.
    """
    name = secrets.token_hex((KEY_ID_LENGTH - DIGEST_LENGTH) // 2)
    wrapped = cipher.wrap(cipher.new_key(), field + name)
    made = UserKey(name, wrapped.by, wrapped.text, await server_time_ms(redis))
    entry = msgspec.json.encode(made)
    reply = await _change_user_key.run(redis, (keys.user_keys(),), (field, "", entry))
    if reply[0] == b"changed":
        return made
    found = _read(bytes(reply[1])) if isinstance(reply[1], bytes) else None
    if found is None:
        raise WrongKeyType(f"{keys.user_keys()} holds what is no key, in {field}: restore it")
    return found


def open_key(found: UserKey, field: str, cipher: Cipher) -> DataKey:
    """Unwrap a key. Raises SealKeyMissing or SealBroken."""
    key_id = field + found.id
    return DataKey(key_id, cipher.unwrap(Wrapped(found.by, found.wrapped), key_id))


async def drop_key(redis: LedgerRedis, keys: Keyspace, user: str) -> bool:
    """Throw a user's key away: what was sealed with it is never read again. Say whether there was
    one. Raises a leaf of Unavailable."""
    return await command(redis, "HDEL", keys.user_keys(), field_of(user)) == 1
