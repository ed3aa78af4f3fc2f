"""No command answers bad surroundings with a traceback: each says in a sentence what is wrong."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis import Redis

from everfold.commands.app import ALIASES
from tests.everfold.walk.calls import command_lines, walked
from tests.everfold.walk.surroundings import (
    HTTP_ANSWER,
    TLS_ALERT,
    Kind,
    listening,
    of_settings,
    of_the_process,
    of_the_server,
)
from tests.everfold.walk.walker import Call, Shown, Walk
from tests.support.programs.programs import StartProgram
from tests.support.servers import StartServer, client

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

FEW = 16
"""Of so many commands one is called in each of the surroundings; in full length all are."""

LIMIT_S = 3.0
LEFT_OUT = {"demo"}
"""It has no use for any of this: it starts all that it needs in a folder of its own."""

MOST_LINES = 24


def lines(folder: Path) -> list[list[str]]:
    """Return a line for each command, under one of its names."""
    graph = folder / "graph.json"
    graph.write_text('{"1":{"class_type":"A","inputs":{}}}')
    values = {
        "path": str(graph),
        "archive export file": str(folder / "exported"),
        "archive parquet file": str(folder / "events.parquet"),
        "audit replay to": str(folder / "replayed.jsonl"),
    }
    aliases = LEFT_OUT | set(ALIASES.values())
    return [line for line in command_lines(values) if line[0] not in aliases]


def calls(kinds: dict[str, Kind], folder: Path, *, are_all: bool) -> Iterator[Call]:
    every = lines(folder)
    for number, (name, kind) in enumerate(kinds.items()):
        step = 1 if are_all else 3 * FEW if kind.is_slow else FEW
        for line in every[number % step :: step]:
            yield replace(kind.change(Call(line)), label=name)


def faults(one: Shown, kind: Kind) -> Iterator[str]:
    """Yield what a command did wrong."""
    err = one.err.decode(errors="replace")
    runs_until_a_signal = one.code in (-signal.SIGTERM, 130) and one.code not in kind.codes
    if one.code not in kind.codes and not (runs_until_a_signal and one.code == -signal.SIGTERM):
        yield f"ended with {one.code}: {err}"
    if "Traceback" in err or "mistake of Everfold" in err or "Exception ignored" in err:
        yield err
    if err.count("\n") > MOST_LINES:
        yield f"says too much: {err}"
    if one.code not in (0, -signal.SIGTERM) and not (err or one.out or kind.is_silent):
        yield "says nothing"


def server_with_strange_keys(server_url: str) -> str:
    """Put a value of a wrong type where a namespace has its record; return a URL to it."""
    with client(server_url) as redis:
        redis.set("everfold:meta", "no hash")
    return server_url


def rightless(redis: Redis) -> None:
    """Make a user that may connect, and nothing else."""
    redis.execute_command("ACL", "SETUSER", "nobody", "on", ">x", "-@all", "+ping")  # type: ignore[no-untyped-call]


async def test_each_command_says_in_a_sentence_what_is_wrong(
    start_program: StartProgram, own_server: StartServer, tmp_path: Path, full_length: bool
) -> None:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    good, locked, odd = (own_server(tcp=True) for _ in range(3))
    with client(locked.url) as redis:
        rightless(redis)
    place = locked.url.removeprefix("redis://")
    with ExitStack() as stack:
        urls = {
            "no server": "redis://127.0.0.1:1/0",
            "the server speaks HTTP": stack.enter_context(listening(HTTP_ANSWER)),
            "the server speaks TLS": stack.enter_context(listening(TLS_ALERT)),
            "the server is silent": stack.enter_context(listening(None)),
            "there is no such database": f"{good.url.removesuffix('/0')}/99",
            "the password is wrong": f"redis://:wrong@{place}",
            "the user has no rights": f"redis://nobody:x@{place}",
            "a key has a wrong type": server_with_strange_keys(odd.url),
            "the URL is nonsense": "nonsense{ff}",
        }
        port = int(urls["the server is silent"].rpartition(":")[2].removesuffix("/0"))
        kinds = of_the_process(home) | of_settings(tmp_path / "bad.toml", port)
        kinds |= of_the_server(urls)
        walk = Walk(
            [*calls(kinds, folder, are_all=full_length)],
            str(folder),
            {"REDIS_URL": good.url, "HOME": str(home)},
            LIMIT_S,
        )
        shown = await walked(start_program, walk, within_s=850)
    found = [
        (one.label, " ".join(one.arguments), fault)
        for one in shown
        for fault in faults(one, kinds[one.label])
    ]
    assert not found, "\n".join(f"{name}: {words}: {fault}" for name, words, fault in found)
    assert {one.label for one in shown} == {*kinds}
