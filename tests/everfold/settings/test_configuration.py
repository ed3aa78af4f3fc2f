"""The config file as commands meet it: where it is found, what wins, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cyclopts import App

from everfold.commands.config.config_file import read_config
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured
from tests.support.programs.programs import ROOT, Program, StartProgram
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

NOWHERE = "redis://127.0.0.1:1/0"
VARIABLES = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "COMFYUI_URL", "EVERFOLD_CONFIG")

IN_FOLDER = "import os, sys; os.chdir(sys.argv.pop(1)); sys.path.insert(0, {root!r})\n"
EVERFOLD = "from everfold.__main__ import main; main()"

WITH_A_NEW_COMMAND = """
from dataclasses import dataclass
from typing import Annotated
from pathlib import Path
from cyclopts import Parameter
from everfold.commands.app import app

@dataclass(frozen=True)
class Sql:
    url: str = ""
    batch: Annotated[int, Parameter(env_var="SQL_BATCH")] = 5

@app.command
def extra(*, sql: Sql | None = None, live: bool = True,
          files: list[Path] | None = None):
    print(sql, live, [str(file) for file in files or []])
"""

Start = Callable[..., Program]


@pytest.fixture
def start(start_program: StartProgram, tmp_path: Path) -> Start:
    """Start `everfold <arguments>` in a folder, with nothing set but what is given."""

    def run(*arguments: str, folder: Path = tmp_path, before: str = "", **environ: str) -> Program:
        unset = {name: "" for name in os.environ if name.startswith("EVERFOLD_")}
        unset |= dict.fromkeys(VARIABLES, "") | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
        program = IN_FOLDER.format(root=str(ROOT)) + before + EVERFOLD
        return start_program("-c", program, str(folder), *arguments, environ={**unset, **environ})

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "everfold.toml"


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def said(program: Program, code: int = 0) -> str:
    assert await program.end(within_s=30) == code, program
    assert "Traceback" not in str(program), program
    return "\n".join(program.error_lines if code else program.lines)


async def settings(program: Program) -> dict[str, tuple[object, str]]:
    rows = [json.loads(line) for line in (await said(program)).splitlines()]
    return {row["setting"]: (row["value"], row["from"]) for row in rows}


# Where it is.


async def test_the_nearest_file_above_is_taken_and_else_that_of_the_user(
    start: Start, file: Path, tmp_path: Path
) -> None:
    below = tmp_path / "work" / "deep"
    below.mkdir(parents=True)
    user = tmp_path / "xdg" / "everfold" / "everfold.toml"
    user.parent.mkdir(parents=True)
    write(user, 'namespace = "user"')
    show = ("config", "show", "--json")
    assert (await settings(start(*show, folder=below)))["namespace"][0] == "user"
    write(file, 'namespace = "above"')
    assert (await settings(start(*show, folder=below)))["namespace"][0] == "above"
    write(below / "everfold.toml", 'namespace = "here"')
    assert (await settings(start(*show, folder=below)))["namespace"][0] == "here"


async def test_a_named_file_comes_before_one_that_is_found(
    start: Start, file: Path, tmp_path: Path
) -> None:
    write(file, 'namespace = "found"')
    write(tmp_path / "flag.toml", 'namespace = "flag"')
    write(tmp_path / "variable.toml", 'namespace = "variable"')
    show, named = ("config", "show", "--json"), {"EVERFOLD_CONFIG": "variable.toml"}
    assert (await settings(start(*show, **named)))["namespace"][0] == "variable"
    for arguments in (("--config", "flag.toml", *show), (*show, "--config=flag.toml")):
        assert (await settings(start(*arguments, **named)))["namespace"][0] == "flag"
    assert await settings(start(*show, "--config", os.devnull)) == {}


async def test_a_named_file_that_is_missing_is_an_error(start: Start) -> None:
    words = await said(start("jobs", "ls", "--config", "none.toml"), code=2)
    sentence = "there is no config file none.toml (--config or EVERFOLD_CONFIG names it)"
    assert words == f"everfold: {sentence}"
    words = await said(start("jobs", "ls", EVERFOLD_CONFIG="none.toml"), code=2)
    assert words == f"everfold: {sentence}"
    assert "needs a file" in await said(start("jobs", "ls", "--config"), code=2)


async def test_a_current_folder_that_is_gone_has_no_file(start: Start) -> None:
    gone = "import tempfile; f = tempfile.mkdtemp(); os.chdir(f); os.rmdir(f)\n"
    assert "127.0.0.1:1" in await said(start("jobs", "ls", before=gone, REDIS_URL=NOWHERE), code=4)


async def test_help_is_there_even_with_a_file_that_is_wrong(start: Start, file: Path) -> None:
    write(file, "nonsense")
    assert "--config" in await said(start("runner", "--help"))


def test_the_flag_is_taken_out_wherever_it_stands_before_two_hyphens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for arguments in (["--config", "a", "jobs", "ls"], ["jobs", "--config=a", "ls"]):
        monkeypatch.setenv("EVERFOLD_CONFIG", "")
        assert read_config(App(), arguments) == ["jobs", "ls"]
        assert os.environ["EVERFOLD_CONFIG"] == "a"
    monkeypatch.setenv("EVERFOLD_CONFIG", "")
    rest = ["jobs", "--", "--config", "a"]
    assert read_config(App(), rest) == rest
    assert os.environ["EVERFOLD_CONFIG"] == ""
    with pytest.raises(Misconfigured, match="needs a file"):
        read_config(App(), ["jobs", "--config="])


# What wins.


async def test_a_flag_beats_the_environment_which_beats_the_table_which_beats_the_top(
    start: Start, file: Path, own_server: StartServer
) -> None:
    url = own_server().url
    write(file, 'namespace = "top"\n[jobs.ls]\nnamespace = "table"')
    variable = {"EVERFOLD_NAMESPACE": "variable"}
    assert "'top'" in await said(start("batches", "ls", "--redis-url", url), code=2)
    assert "'table'" in await said(start("jobs", "ls", "--redis-url", url), code=2)
    assert "'variable'" in await said(start("jobs", "ls", REDIS_URL=url, **variable), code=2)
    flags = ("--redis-url", url, "--namespace", "flag")
    assert "'flag'" in await said(start("jobs", "ls", *flags, **variable), code=2)


async def test_the_server_of_the_file_is_used_unless_the_environment_names_one(
    start: Start, file: Path, own_server: StartServer
) -> None:
    url = own_server().url
    async with Log.open(url):
        pass
    write(file, f'redis_url = "{url}"')
    assert await said(start("jobs", "ls")) == "no jobs"
    for variable in (
        {"REDIS_URL": "redis://127.0.0.1:1/0"},
        {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"},
    ):
        assert "127.0.0.1:1" in await said(start("jobs", "ls", **variable), code=4)
    write(file, f'redis_url = "{NOWHERE}"')
    assert await said(start("jobs", "ls", REDIS_URL=url)) == "no jobs"
    assert await said(start("jobs", "ls", "--redis-url", url)) == "no jobs"


async def test_options_of_one_command_come_from_its_table(
    start: Start, file: Path, own_server: StartServer
) -> None:
    url = own_server().url
    write(file, f'redis_url = "{url}"\n[runner]\nslots = 0\ncomfyui = "http://a"')
    assert "from 1 to" in await said(start("runner"), code=2)
    assert "from 1 to" in await said(start("runner", "--slots", "-1"), code=2)
    assert "`slots` in [runner]" in await said(start("up"), code=2)
    write(file, f'redis_url = "{url}"\n[runner]\ncomfyui = "http://a"')
    assert "no ComfyUI is named" in await said(start("up"), code=2)
    write(file, 'comfyui = ["http://a", "ftp://gpu"]')
    assert "the scheme is 'ftp'" in await said(start("runner", REDIS_URL=url), code=2)
    write(file, 'comfyui = ["http://a"]\n[up]\nslots = 0')
    assert "from 1 to" in await said(start("up", REDIS_URL=url), code=2)


async def test_the_log_and_the_folder_reach_what_reads_the_environment(
    start: Start, file: Path, tmp_path: Path
) -> None:
    write(file, 'data = "store"\nlog = "info"\nassets = "files"')
    words = await said(start("jobs", "ls"), code=4)
    assert str(tmp_path / "store") in words
    other = str(tmp_path / "other")
    assert other in await said(start("jobs", "ls", EVERFOLD_DATA=other), code=4)
    read = "print(os.environ['EVERFOLD_LOG'], os.environ['EVERFOLD_ASSETS'])"
    printed = f"import atexit; atexit.register(lambda: {read})\n"
    listed = start("jobs", "ls", before=printed)
    await said(listed, code=4)
    assert listed.lines == [f"info {tmp_path / 'files'}"]


async def test_commands_and_nested_options_are_known_by_themselves(
    start: Start, file: Path, tmp_path: Path
) -> None:
    write(
        file,
        '[extra]\nlive = false\nfiles = ["a", "/b"]\n[extra.sql]\nurl = "postgres://x"',
    )
    rest = f"False ['{tmp_path / 'a'}', '/b']"
    words = await said(start("extra", before=WITH_A_NEW_COMMAND))
    assert words == f"Sql(url='postgres://x', batch=5) {rest}"
    again = start("extra", "--sql.url", "y", before=WITH_A_NEW_COMMAND, SQL_BATCH="7")
    assert await said(again) == f"Sql(url='y', batch=7) {rest}"
    write(file, '[extra.sql]\nurll = "x"')
    refused = await said(start("jobs", "ls", before=WITH_A_NEW_COMMAND), code=2)
    assert "unknown key `urll` in [extra.sql]; did you mean `url`?" in refused


# What is refused and told.


async def test_every_command_refuses_what_is_wrong_in_the_table_of_another(
    start: Start, file: Path
) -> None:
    write(file, "[runner]\nslot = 3")
    for command in (("jobs", "ls"), ("simulator",), ("archive", "run"), ("config", "show")):
        words = await said(start(*command, REDIS_URL=NOWHERE), code=2)
        assert words == (
            "everfold: everfold.toml: unknown key `slot` in [runner]; did you mean `slots`?"
        )


async def test_show_tells_what_is_in_effect_and_where_it_is_from(start: Start, file: Path) -> None:
    write(
        file,
        'redis_url = "redis://ada:s3cret@h/0"\nnamespace = "n"\n[runner]\nslots = 3\nname = "gpu"',
    )
    environ = {"EVERFOLD_RUNNER_SLOTS": "4", "COMFYUI_URL": "http://a:pw@b"}
    show = ("config", "show")
    assert await settings(start(*show, "--json", **environ)) == {
        "redis_url": ("redis://***@h/0", "everfold.toml"),
        "namespace": ("n", "everfold.toml"),
        "runner.slots": ("4", "EVERFOLD_RUNNER_SLOTS"),
        "runner.name": ("gpu", "everfold.toml"),
        "comfyui": ("http://***@b", "COMFYUI_URL"),
    }
    lines = (await said(start(*show, REDIS_HOST="other"))).splitlines()
    assert lines[0] == f"file  {file}"
    assert ["redis_url", "REDIS_HOST", "redis://other:6379/0"] in [row.split() for row in lines]


async def test_show_without_a_file_says_where_one_would_be(start: Start) -> None:
    assert "there is no everfold.toml here" in await said(start("config", "show"))


async def test_check_names_all_that_is_wrong(start: Start, file: Path, tmp_path: Path) -> None:
    assert "no config file" in await said(start("config", "check"), code=2)
    write(file, "[runner]\nslots = 3\ndrain = 1")
    assert await said(start("config", "check")) == "everfold.toml: 2 settings, all known"
    other = tmp_path / "other.toml"
    write(other, "[runner]\nslot = 3\n[up]\ndrian = 1")
    words = (await said(start("config", "check", "other.toml"), code=2)).splitlines()
    assert words == [
        "other.toml: unknown key `slot` in [runner]; did you mean `slots`?",
        "other.toml: unknown key `drian` in [up]; did you mean `drain`?",
    ]
    assert "cannot be read" in await said(start("config", "check", "none.toml"), code=2)
