"""`[limits]` in everfold.toml: what it sets at the start, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.simulator import simulate
from everfold.streams.appending.log import Log
from everfold.streams.leases.acts import acts
from everfold.streams.queues.limits import Limit, limits, set_limit
from tests.everfold.running import Everfold, ended

pytestmark = pytest.mark.anyio

FILE = """
[limits.running.user]
"*" = 2
"ada@studio.example" = 4
[limits.share.user]
ada = 0.5
"""
KEPT = Limit("waiting", "queue", "default", 1000)


async def test_a_runner_sets_what_the_file_names_and_nothing_else(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    file = tmp_path / "everfold.toml"
    file.write_text(FILE)
    await set_limit(log, KEPT)
    wanted = [
        Limit("running", "user", "*", 2),
        Limit("running", "user", "ada@studio.example", 4),
        Limit("share", "user", "ada", 0.5),
        KEPT,
    ]
    async with simulate() as comfy:
        for _ in range(2):  # the second one changes nothing
            runner = everfold("runner", COMFYUI_URL=comfy.url, EVERFOLD_CONFIG=str(file))
            await runner.line("takes jobs", within_s=20)
            assert await limits(log) == wanted
            assert len(await acts(log)) == 3
            runner.kill()
        await set_limit(log, Limit("running", "user", "*", 9))
        runner = everfold("runner", COMFYUI_URL=comfy.url, EVERFOLD_CONFIG=str(file))
        await runner.line("limit    running user * 2", within_s=20)
    noted = [(act.verb, act.subject, act.detail) for act in await acts(log)]
    assert noted[0] == ("set_limit", "running user *", "2 by everfold.toml")


async def test_check_names_each_mistake_and_show_each_limit(
    everfold: Everfold, tmp_path: Path
) -> None:
    file = tmp_path / "everfold.toml"
    file.write_text(FILE)
    assert "3 settings, all known" in (await ended(everfold("config", "check", str(file))))[0]
    lines = await ended(everfold("config", "show", EVERFOLD_CONFIG=str(file)))
    assert any(line.split()[0] == "limits.running.user.*" for line in lines)
    file.write_text(
        '[limits.running.usr]\n"*" = 2\n[limits.waiting.user]\nada = 2\n[limits.share]\n'
        'user = 3\n[limits.running.user]\nada = -1\nbob = "x"\n[limits.runing.user]\nada = 2\n'
        "[limits.running.kind]\nvideo = true\n"
    )
    wrong = everfold("config", "check", str(file))
    await ended(wrong, 2)
    told = "\n".join(wrong.error_lines)
    for part in (
        "unknown key `usr` in [limits.running]; there are queue, user, kind",
        "unknown key `user` in [limits.waiting]; there are queue",
        "`user` in [limits.share] must be a table: write [limits.share.user]",
        "`ada` in [limits.running.user] must be",
        "`bob` in [limits.running.user] must be",
        "`video` in [limits.running.kind] must be",
        "unknown table [limits.runing]",
    ):
        assert part in told
