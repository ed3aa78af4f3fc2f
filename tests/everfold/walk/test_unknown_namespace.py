"""A namespace that does not exist: what reads makes none and says so, what writes makes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from everfold.commands.config.settings import settings_of
from tests.everfold.walk.calls import RUNNABLE, command_lines, walked
from tests.everfold.walk.test_json import COMMANDS, MORE, OTHER_TESTS, name_of, values
from tests.everfold.walk.walker import Call, Shown, Walk
from tests.support.programs.programs import StartProgram
from tests.support.servers import OwnServer, client

pytestmark = [pytest.mark.anyio, pytest.mark.long]

MAKES = {
    "archive run", "assets put", "keys add", "limits set", "projector", "queues pause", "runner",
    "serve", "sink callbacks", "sink posthog", "sink sql", "sink webhook", "submit", "up",
}  # fmt: skip
"""Commands that make the namespace that they need."""

ASSET = "00000000-0000-0000-0000-000000000000"

WAITS_FOR_IT = {"metrics"}
"""Commands that show that there is none, until another program has made it."""

ASKS_NO_SERVER = {
    "acl", "config check", "config show", "schema asyncapi", "schema json", "schema openapi",
    "schema script", "sink webhook test", "simulator", "archive import", "health", "help",
}  # fmt: skip
"""Commands that end before they look at a namespace; `archive import` has no file to read here."""


def calls(folder: Path) -> Iterator[Call]:
    for number, line in enumerate(command_lines(values(folder, ASSET, ASSET))):
        name = name_of(line)
        if name in COMMANDS and name not in OTHER_TESTS | ASKS_NO_SERVER:
            more = ["--json"] if _has_json(line) else []
            space = {"EVERFOLD_NAMESPACE": f"typo{number}"}
            yield Call([*line, *MORE.get(name, []), *more], space)


def _has_json(line: list[str]) -> bool:
    words = tuple(name_of(line).split())
    return any(setting.key == "json" for setting in settings_of(RUNNABLE[words], words))


def faults(one: Shown, keys: list[str]) -> Iterator[str]:
    said = one.err.decode()
    if name_of(one.arguments) in MAKES:
        if not any(key.endswith(":meta") for key in keys):
            yield f"makes no namespace, ends with {one.code}: {said}"
    elif keys:
        yield f"leaves {keys}"
    elif name_of(one.arguments) not in WAITS_FOR_IT and (
        one.code != 2 or "there is no namespace 'typo" not in said or "studio" not in said
    ):
        yield f"ends with {one.code}: {one.out.decode()[:200]} {said[:300]}"


async def test_every_command_on_a_namespace_that_does_not_exist(
    start_program: StartProgram, server: OwnServer, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    environ = {"REDIS_URL": server.url, "COMFYUI_URL": "http://one:1", "EVERFOLD_LOG": "CRITICAL"}
    environ |= {"EVERFOLD_ASSETS": str(folder / "assets"), "EVERFOLD_ARCHIVE": str(folder / "kept")}
    environ["EVERFOLD_SINK_WEBHOOK_SECRET"] = f"whsec_{'A' * 44}"
    with client(server.url) as redis:
        redis.hset("studio:meta", "partitions", "8")
        made = list(calls(folder))
        shown = await walked(start_program, Walk(made, str(folder), environ, 5.0))
        spaces = {tuple(call.arguments): call.environ["EVERFOLD_NAMESPACE"] for call in made}
        found = [
            (name_of(one.arguments), fault)
            for one in shown
            for fault in faults(one, _keys(redis.keys("*"), spaces[tuple(one.arguments)]))
        ]
    assert len(shown) > 50
    assert not found, "\n".join(f"{name}: {fault}" for name, fault in found)


def _keys(keys: object, namespace: str) -> list[str]:
    assert isinstance(keys, list)
    texts = [key.decode() for key in keys]
    return [text for text in texts if text.startswith((f"{namespace}:", f"{{{namespace}:"))]
