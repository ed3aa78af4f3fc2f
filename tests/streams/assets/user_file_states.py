"""For each script that knows files and settings of users the states in which it does all it can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from everfold.streams.appending.log import Log
from everfold.streams.user_files.user_files import (
    move_user_file,
    remove_user_file,
    write_user_file,
)
from everfold.streams.user_files.user_settings import read_user_settings, write_user_settings

State = Callable[[Log], Awaitable[object]]


async def write(log: Log) -> object:
    return await write_user_file(log, "ada", "workflows/a.json", b"{}")


async def write_again(log: Log) -> object:
    await write_user_file(log, "ada", "workflows/b.json", b"{}")
    await write(log)
    return await write_user_file(log, "ada", "workflows/a.json", b"[]")


async def move(log: Log) -> object:
    await write(log)
    return await move_user_file(log, "ada", "workflows/a.json", "b.json")


async def move_over_another(log: Log) -> object:
    await write_user_file(log, "ada", "b.json", b"[]")
    return await move(log)


async def remove(log: Log) -> object:
    await write(log)
    return await remove_user_file(log, "ada", "workflows/a.json")


async def set_two(log: Log) -> object:
    await write_user_settings(log, "ada", {"a": b"1"})
    await write_user_settings(log, "ada", {"a": b"2", "b": b"{}"})
    return await read_user_settings(log, "ada")


STATES: dict[str, tuple[State, ...]] = {
    "write_user_file": (write, write_again),
    "move_user_file": (move, move_over_another),
    "remove_user_file": (remove,),
    "write_user_settings": (set_two,),
}
"""Script -> its states."""
