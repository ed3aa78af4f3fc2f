"""No command shows a secret, whatever goes wrong: all commands are run, with marked secrets."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from everfold.streams.appending.log import Log
from tests.everfold.walk.calls import command_lines, variables, walked
from tests.everfold.walk.walker import Call, Shown, Walk
from tests.streams.border.test_secrets import FORMS
from tests.support.programs.programs import StartProgram
from tests.support.servers import StartServer

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(300)]

MARK = "Zx9Qv"
USER = f"{MARK}user"
ENDS = {0, 1, 2, 3, 4, 130, -15}
"""The exit codes that the help names, and the end by SIGTERM of what ran for too long."""

WEBHOOK = f"https://127.0.0.1:1/services/{MARK}?token={MARK}"
SIGNING = f"whsec_{MARK}{'A' * 39}"
POSTHOG = f"phc_{MARK}"
SQL = f"postgresql://{USER}:{MARK}@127.0.0.1:1/db?password={MARK}"
COMFYUI = f"http://{USER}:{MARK}@127.0.0.1:1"
AWAY = f"redis://{USER}:{MARK}@127.0.0.1:1/0"

CONFIG = f"""
redis_url = "REDIS"
comfyui = ["{COMFYUI}"]
log = "DEBUG"

[backends.gpu1]
url = "https://127.0.0.1:1"
user = "{USER}"
password = "{MARK}"
headers = {{ X-Api-Key = "{MARK}" }}
client_key_password = "{MARK}"

[backends.gpu2]
url = "http://127.0.0.1:2"
headers_command = {{ Authorization = "cat ../token" }}

[sink.webhook]
url = "{WEBHOOK}"
secret = "{SIGNING}"
allow_private = true

[sink.sql]
url = "{SQL}"

[sink.posthog]
key = "{POSTHOG}"
host = "http://127.0.0.1:1"
"""

GRAPH = '{"1": {"class_type": "KSampler", "inputs": {}}}'

BASIC = base64.b64encode(f"{USER}:{MARK}".encode())[:16]
"""How a header shows them."""


def marks(text: bytes) -> list[bytes]:
    """Return the places of a text that show a secret."""
    found = re.finditer(re.escape(MARK.encode()) + b"|" + re.escape(BASIC), text)
    return [text[max(0, at.start() - 200) : at.end() + 50] for at in found]


def faults(one: Shown) -> Iterator[object]:
    """Yield what one command did wrong."""
    for text in (one.out, one.err, *(line.encode() for line in one.processes)):
        yield from marks(text)
    if b"Traceback" in one.err or one.code not in ENDS:
        yield one.code, one.err.decode(errors="replace")


def check(shown: list[Shown]) -> None:
    found = [(" ".join(one.arguments), fault) for one in shown for fault in faults(one)]
    assert not found, "\n".join(f"{words}: {fault}" for words, fault in found)


def values(folder: Path) -> dict[str, str]:
    graph = folder / "graph.json"
    graph.write_text(GRAPH)
    return {
        "path": str(graph),
        "archive export file": str(folder / "exported"),
        "archive parquet file": str(folder / "events.parquet"),
        "archive sql query": "select * from events",
        "audit replay to": str(folder / "replayed.jsonl"),
        "subscriptions reset to": "start",
        "consumers reset to": "start",
        "job_id": "job-1",
        "name": "webhook",
        "sink sql url": SQL,
        "sink webhook url": WEBHOOK,
        "sink webhook test url": WEBHOOK,
        "sink posthog key": POSTHOG,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"Bearer {MARK}\n")
    found = tmp_path / "work"
    found.mkdir()
    return found


def without_secret_flags(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    """Leave to the environment or the file what must not stand on a command line."""
    for line in lines:
        at = next((i for i, word in enumerate(line) if MARK in word), None)
        yield line if at is None else [*line[: at - 1], *line[at + 1 :]]


async def test_no_command_shows_a_secret_of_its_config_file(
    start_program: StartProgram, own_server: StartServer, folder: Path
) -> None:
    server = own_server(tcp=True)
    redis = Redis.from_url(server.url)
    redis.execute_command("ACL", "SETUSER", USER, "on", f">{MARK}", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]
    async with Log.open(server.url) as log:
        await log.submit(GRAPH.encode(), job_id="job-1")
    address = server.url.replace("://", f"://{USER}:{MARK}@", 1)
    (folder / "everfold.toml").write_text(CONFIG.replace("REDIS", address))
    (folder / "everfold.toml").chmod(0o600)
    lines = list(without_secret_flags(command_lines(values(folder))))
    environ = {
        "EVERFOLD_ARCHIVE": str(folder / "archive"),
        "EVERFOLD_DATA": str(folder / "data"),
        "EVERFOLD_SIMULATOR_PORT": "0",
    }
    walk = Walk([Call(line) for line in lines], str(folder), environ, sees_processes=True)
    shown = await walked(start_program, walk)
    check(shown)
    succeeded = {one.arguments[0] for one in shown if one.code == 0}
    assert {"jobs", "events", "audit", "archive", "config", "projector"} <= succeeded
    check_files(folder)
    for key in redis.scan_iter():
        assert not marks(stored(redis, key)), key


def check_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "everfold.toml":
            assert not marks(file.read_bytes()), file


def environ_of(redis_url: str, folder: Path) -> dict[str, str]:
    secrets = variables({"secret": SIGNING, "key": POSTHOG, "host": "http://127.0.0.1:1"})
    urls = {"EVERFOLD_SINK_SQL_URL": SQL, "EVERFOLD_SINK_WEBHOOK_URL": WEBHOOK}
    urls |= {"EVERFOLD_SINK_WEBHOOK_TEST_URL": WEBHOOK, "COMFYUI_URL": COMFYUI}
    gpu1 = "EVERFOLD_BACKENDS_GPU1_"
    urls |= {f"{gpu1}URL": "http://127.0.0.1:1", f"{gpu1}USER": USER, f"{gpu1}PASSWORD": MARK}
    urls[f"{gpu1}HEADERS_COMMAND_X_KEY"] = f"cat {folder.parent}/token"
    data = {"EVERFOLD_DATA": str(folder / "data"), "EVERFOLD_LOG": "DEBUG"}
    data["EVERFOLD_SIMULATOR_PORT"] = "0"
    return {"REDIS_URL": redis_url, **secrets, **urls, **data}


async def walk_all(
    start: StartProgram, folder: Path, environ: dict[str, str], each: list[dict[str, str]]
) -> list[Shown]:
    """Run all commands with one environment; `each` are variables for one of them in turn."""
    lines = without_secret_flags(command_lines(values(folder)))
    calls = [Call(line, each[i % len(each)]) for i, line in enumerate(lines)]
    return await walked(start, Walk(calls, str(folder), environ, sees_processes=True))


async def test_no_command_shows_a_wrong_password(
    start_program: StartProgram, own_server: StartServer, folder: Path
) -> None:
    server = own_server(tcp=True)
    address = server.url.replace("://", f"://{USER}:{MARK}@", 1)
    check(await walk_all(start_program, folder, environ_of(address, folder), [{}]))


async def test_no_command_shows_the_address_of_a_server_that_is_away(
    start_program: StartProgram, folder: Path
) -> None:
    check(await walk_all(start_program, folder, environ_of(AWAY, folder), [{}]))


async def test_no_command_shows_an_address_that_is_none(
    start_program: StartProgram, folder: Path
) -> None:
    each = [
        {
            "REDIS_URL": form,
            "COMFYUI_URL": form,
            "EVERFOLD_ARCHIVE": f"s3://{form}",
            "EVERFOLD_SINK_SQL_URL": form,
            "EVERFOLD_SINK_WEBHOOK_URL": form,
            "EVERFOLD_SINK_POSTHOG_HOST": form,
        }
        for form in FORMS
    ]
    for form in FORMS:
        assert MARK in form
    check(await walk_all(start_program, folder, environ_of(AWAY, folder), each))


def stored(redis: Redis, key: bytes) -> bytes:
    """Return all of a key as text."""
    whole = ("0", "-1")
    read: dict[bytes, list[str]] = {
        b"string": ["GET"],
        b"hash": ["HGETALL"],
        b"stream": ["XRANGE", "-", "+"],
        b"set": ["SMEMBERS"],
        b"zset": ["ZRANGE", *whole],
        b"list": ["LRANGE", *whole],
    }
    name, *rest = read[bytes(redis.execute_command("TYPE", key))]  # type: ignore[no-untyped-call]
    return repr(redis.execute_command(name, key, *rest)).encode()  # type: ignore[no-untyped-call]
