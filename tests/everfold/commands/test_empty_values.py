"""An empty value, as a script has whose variable is not set, never stands for all."""

from __future__ import annotations

import pytest

from everfold.commands.config.settings import settings_of
from everfold.streams.appending.log import Log
from tests.everfold.commands.test_help import COMMANDS
from tests.everfold.running import Everfold, ended, objects
from tests.projector.jobs import assert_projected, make_jobs, projecting

pytestmark = pytest.mark.anyio

OTHERS = {"user", "key", "metadata", "after"}
"""A job has the user '' where it has none, a projection may have a state of that key, and what is
no name=value is refused as that. A list that begins after nothing is the whole one."""

SAID = "is empty: give it a value, or leave it out"

EMPTY = [
    *(("jobs", "cancel", "--yes", f"--{name}", "") for name in ("kind", "code", "backend")),
    ("jobs", "cancel", "--yes", "--error", "x", ""),
    ("jobs", "rerun", "--yes", "--error="),
    ("jobs", "ls", "--batch", ""),
    ("jobs", "watch", ""),
    ("events", ""),
    ("subscriptions", "retry", "callbacks", ""),
    ("runner", "--comfyui", ""),
    ("health", "--runner", ""),
    ("audit", "show", "job", "--at", ""),
    ("sink", "webhook", "--url", "http://127.0.0.1:1", "--kind", ""),
]


async def test_an_empty_value_is_refused_before_anything_is_done(
    everfold: Everfold, log: Log
) -> None:
    made = await make_jobs(log, 3)
    async with projecting(log):
        await assert_projected(log, made)
        running = {words: everfold(*words) for words in EMPTY}
        for words, program in running.items():
            await ended(program, code=2)
            assert program.error_lines[-1].endswith(SAID), (words, str(program))
        open_jobs = await objects(everfold("jobs", "ls", "--json", "--status", "queued"))
        assert {job["job_id"] for job in open_jobs} == set(made)


async def test_a_variable_that_is_empty_counts_as_not_set(everfold: Everfold, log: Log) -> None:
    assert await ended(everfold("jobs", "ls", EVERFOLD_JOBS_LS_KIND="")) == ["no jobs"]


def test_every_option_that_selects_refuses_an_empty_value() -> None:
    for words, command in COMMANDS.items():
        for setting in settings_of(command, words, described=True):
            parameter = setting.argument.parameter
            is_text = setting.expected in ("string", "list of strings") and not parameter.converter
            selects = (parameter.help or "").startswith("Only ")
            if is_text and selects and setting.key.rpartition(".")[2] not in OTHERS:
                assert parameter.validator, f"{' '.join(words)} {setting.key}"
