"""The settings of a user: names with JSON values, bounded in number and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from everfold.streams.appending.log import Log
from everfold.streams.errors import TooLarge
from everfold.streams.events.limits import USER_SETTINGS_LIMIT, USER_SETTINGS_LIMIT_BYTES
from everfold.streams.redis.pages import read_large_hash
from everfold.streams.redis.redis_errors import command
from everfold.streams.redis.script import Script

_write_user_settings = Script("everfold.streams", "write_user_settings")


async def read_user_settings(log: Log, user: str) -> dict[str, bytes]:
    """Return all settings of a user, each value as JSON. Raises a leaf of Unavailable."""
    found = await read_large_hash(log.redis, log.keys.user_settings(user))
    return {name.decode(errors="replace"): value for name, value in found.items()}


async def read_user_setting(log: Log, user: str, name: str) -> bytes | None:
    """Return one setting as JSON; None where there is none. Raises a leaf of Unavailable."""
    found = await command(log.redis, "HGET", log.keys.user_settings(user), name)
    return cast("bytes | None", found)


async def write_user_settings(log: Log, user: str, settings: Mapping[str, bytes]) -> None:
    """Write some settings, each value as JSON; others stay as they are.

    Raises TooLarge, a leaf of Unavailable.
    """
    if not settings:
        return
    if len(settings) > USER_SETTINGS_LIMIT:  # more than a script takes as arguments
        raise TooLarge("this user", len(settings), USER_SETTINGS_LIMIT, "settings")
    flat = [part for name, value in settings.items() for part in (name, value)]
    limits = (USER_SETTINGS_LIMIT, USER_SETTINGS_LIMIT_BYTES)
    reply = await _write_user_settings.run(
        log.redis, (log.keys.user_settings(user),), (*limits, *flat)
    )
    if reply[0] == b"full":
        count, size = cast("tuple[int, int]", reply[1:])
        if count > USER_SETTINGS_LIMIT:
            raise TooLarge("this user", count, USER_SETTINGS_LIMIT, "settings")
        raise TooLarge("all settings of this user together", size, USER_SETTINGS_LIMIT_BYTES)
