from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfold.streams.appending.log import Log
from everfold.streams.errors import InvalidName, TooLarge, WrongKeyType
from everfold.streams.events.limits import (
    USER_FILE_LIMIT_BYTES,
    USER_FILES_LIMIT,
    USER_SETTINGS_LIMIT,
)
from everfold.streams.redis.redis_errors import command
from everfold.streams.user_files import user_files
from everfold.streams.user_files.user_file import UserFile, below, user_path
from everfold.streams.user_files.user_files import (
    forget_user,
    list_user_files,
    move_user_file,
    read_user_file,
    remove_user_file,
    write_user_file,
)
from everfold.streams.user_files.user_settings import (
    read_user_setting,
    read_user_settings,
    write_user_settings,
)

pytestmark = [pytest.mark.anyio, pytest.mark.server]


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=3) as log:
        yield log


async def written(log: Log, path: str, content: bytes = b"{}", user: str = "ada") -> UserFile:
    made = await write_user_file(log, user, path, content)
    assert made is not None
    return made


async def paths(log: Log, user: str = "ada") -> list[str]:
    return [file.path for file in await list_user_files(log, user)]


async def test_a_file_is_read_as_it_was_written(log: Log) -> None:
    content = bytes(range(256))

    made = await written(log, "workflows/a.json", content)

    assert await read_user_file(log, "ada", "workflows/a.json") == content
    assert await list_user_files(log, "ada") == [made]
    assert (made.path, made.size_bytes) == ("workflows/a.json", 256)
    assert made.created_ms == made.modified_ms > 0


async def test_one_that_is_replaced_keeps_the_time_of_its_making(log: Log) -> None:
    first = await written(log, "a.json")
    await anyio.sleep(0.005)

    second = await written(log, "a.json", b"[1]")

    assert second.created_ms == first.created_ms < second.modified_ms
    assert await read_user_file(log, "ada", "a.json") == b"[1]"


async def test_one_that_may_not_be_replaced_stays(log: Log) -> None:
    await written(log, "a.json", b"first")

    assert await write_user_file(log, "ada", "a.json", b"second", overwrite=False) is None

    assert await read_user_file(log, "ada", "a.json") == b"first"


async def test_of_writers_that_may_not_replace_one_writes(log: Log) -> None:
    made = []

    async def write(number: int) -> None:
        content = str(number).encode()
        made.append(await write_user_file(log, "ada", "a.json", content, overwrite=False))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(write, number)

    assert len([one for one in made if one is not None]) == 1


async def test_users_do_not_see_each_others_files(log: Log) -> None:
    await written(log, "a.json", b"ada's", "ada")
    await written(log, "a.json", b"bob's", "bob")

    assert await read_user_file(log, "ada", "a.json") == b"ada's"
    await remove_user_file(log, "bob", "a.json")
    assert await paths(log) == ["a.json"]
    assert await paths(log, "bob") == []


async def test_a_moved_file_keeps_its_times(log: Log) -> None:
    made = await written(log, "a.json", b"a")
    await anyio.sleep(0.005)

    moved = await move_user_file(log, "ada", "a.json", "workflows/b.json")

    assert isinstance(moved, UserFile)
    assert (moved.created_ms, moved.modified_ms) == (made.created_ms, made.modified_ms)
    assert await paths(log) == ["workflows/b.json"]
    assert await read_user_file(log, "ada", "a.json") is None


async def test_a_move_over_another_file_is_asked_for(log: Log) -> None:
    await written(log, "a.json", b"a")
    await written(log, "b.json", b"b")

    assert await move_user_file(log, "ada", "a.json", "b.json", overwrite=False) == "exists"
    assert await read_user_file(log, "ada", "b.json") == b"b"
    assert await move_user_file(log, "ada", "none.json", "b.json") == "unknown"
    assert isinstance(await move_user_file(log, "ada", "a.json", "b.json"), UserFile)
    assert await read_user_file(log, "ada", "b.json") == b"a"


async def test_a_file_that_is_moved_to_itself_stays(log: Log) -> None:
    await written(log, "a.json", b"a")

    await move_user_file(log, "ada", "a.json", "./a.json")

    assert await read_user_file(log, "ada", "a.json") == b"a"
    assert await paths(log) == ["a.json"]


async def test_a_removed_file_is_gone(log: Log) -> None:
    await written(log, "a.json")

    assert await remove_user_file(log, "ada", "a.json")

    assert await paths(log) == []
    assert not await remove_user_file(log, "ada", "a.json")


async def test_a_file_over_the_limit_is_refused(log: Log) -> None:
    with pytest.raises(TooLarge):
        await written(log, "a.json", bytes(USER_FILE_LIMIT_BYTES + 1))

    assert await paths(log) == []


async def test_the_bytes_of_all_files_have_a_limit(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_files, "USER_FILES_LIMIT_BYTES", 10)
    await written(log, "a.json", b"1234567")

    with pytest.raises(TooLarge, match="together"):
        await written(log, "b.json", b"1234")

    await written(log, "a.json", b"1234567890")  # in place of the first
    assert await paths(log) == ["a.json"]


async def test_the_number_of_files_has_a_limit(log: Log) -> None:
    flat = [text for n in range(USER_FILES_LIMIT) for text in (f"{n}.json", "{}")]
    await command(log.redis, "HSET", log.keys.user_files("ada"), *flat)

    with pytest.raises(TooLarge, match="files"):
        await written(log, "more.json")

    await written(log, "7.json", b"[]")


async def test_what_another_program_wrote_hides_no_file(log: Log) -> None:
    await written(log, "a.json")
    await command(log.redis, "HSET", log.keys.user_file_times("ada"), "b", "?", b"\xff", "1 1 1")

    assert await paths(log) == ["a.json"]


async def test_a_key_of_another_type_is_named(log: Log) -> None:
    await command(log.redis, "SET", log.keys.user_files("ada"), "x")

    with pytest.raises(WrongKeyType, match="user_files:ada"):
        await written(log, "a.json")


@pytest.mark.parametrize(
    "path",
    ["", "/", ".", "..", "a/../b", "../a", "a\x00b", "a\nb", "\x1b[2J", "a" * 513, "é" * 300],
)
def test_what_is_no_path_of_a_file_is_refused(path: str) -> None:
    with pytest.raises(InvalidName):
        user_path(path)


@given(st.text())
def test_a_path_has_one_form_that_leads_nowhere_else(text: str) -> None:
    try:
        path = user_path(text)
    except InvalidName:
        return
    assert user_path(path) == path
    assert not {"", ".", ".."} & set(path.split("/"))


def test_a_path_is_seen_from_a_folder_that_holds_it() -> None:
    assert below("workflows", "workflows/sub/a.json") == "sub/a.json"
    assert below("", "a.json") == "a.json"
    assert below("workflows", "workflows.json") is None
    assert below("workflows", "workflowsa/b.json") is None


async def test_settings_are_kept_beside_each_other(log: Log) -> None:
    await write_user_settings(log, "ada", {"Comfy.A": b"1", "Comfy.B": b'{"x":[]}'})
    await write_user_settings(log, "ada", {"Comfy.A": b"2"})
    await write_user_settings(log, "ada", {})

    assert await read_user_settings(log, "ada") == {"Comfy.A": b"2", "Comfy.B": b'{"x":[]}'}
    assert await read_user_setting(log, "ada", "Comfy.A") == b"2"
    assert await read_user_setting(log, "ada", "Comfy.C") is None
    assert await read_user_settings(log, "bob") == {}


async def test_settings_have_a_limit(log: Log) -> None:
    many = {f"s{number}": b"1" for number in range(USER_SETTINGS_LIMIT)}
    await write_user_settings(log, "ada", many)

    with pytest.raises(TooLarge, match="settings"):
        await write_user_settings(log, "ada", {"one more": b"1"})
    with pytest.raises(TooLarge, match="settings"):
        await write_user_settings(log, "bob", {**many, "one more": b"1"})
    with pytest.raises(TooLarge, match="together"):
        await write_user_settings(log, "ada", {"s1": bytes(1024 * 1024)})

    await write_user_settings(log, "ada", {"s1": b"2"})
    assert await read_user_setting(log, "ada", "s1") == b"2"


async def test_all_of_a_user_is_forgotten(log: Log) -> None:
    await written(log, "a.json")
    await written(log, "b.json", user="bob")
    await write_user_settings(log, "ada", {"x": b"1"})

    assert await forget_user(log, "ada") == 1

    assert await paths(log) == []
    assert await read_user_settings(log, "ada") == {}
    assert await paths(log, "bob") == ["b.json"]
