"""Every field of a policy by flag, by setting and in Python; the most special one wins."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from msgspec.structs import replace

from everfold.client import Everfold
from everfold.commands.jobs.policy_options import PolicyOptions
from everfold.policy_settings import (
    FIELDS,
    PolicySettings,
    ends,
    from_environment,
    from_table,
)
from everfold.settings.client_settings import read_client_settings
from everfold.streams.appending.log import Log
from everfold.streams.errors import InvalidName, Misconfigured
from everfold.streams.events.event import Policy, Submitted
from everfold.streams.events.policies import COUNTS, WORDS
from everfold.streams.reading.reader import job_events
from tests.architecture.source_tree import ROOT
from tests.everfold.running import Everfold as Command
from tests.everfold.running import ended, objects

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "A", "inputs": {}}}
FAST = str(ROOT / "tests" / "data" / "workflows" / "fast_success.json")
FILE = """
[policy]
retries = 2
outputs = "require"
run_deadline = "10m"
stall_deadline = 90

[policy.queue.video]
run_deadline = "1h"
retries = 4

[policy.kind."nightly batch"]
run_deadline = "none"
"""


def settings(text: str = FILE, **environ: str) -> PolicySettings:
    rows, problems = from_table(tomllib.loads(text).get("policy", {}))
    assert problems == []
    return PolicySettings((*rows, *from_environment(environ)))


async def stored(log: Log, job_id: str) -> Policy:
    first = (await job_events(log, job_id))[0].event
    assert isinstance(first, Submitted)
    return first.policy


def test_there_is_a_flag_and_a_key_for_every_field() -> None:
    flags = {field.rstrip("_") for field in PolicyOptions.__dataclass_fields__}
    assert flags == set(FIELDS)
    assert set(FIELDS.values()) == set(Policy.__struct_fields__)
    page = (ROOT / "docs" / "CONFIGURATION.md").read_text()
    for key in FIELDS:
        assert f"| `{key}` |" in page
        assert f"`EVERFOLD_POLICY_{key.upper()}`" in page


def test_kind_wins_over_queue_and_queue_over_all_field_by_field() -> None:
    found = settings()
    plain = Policy(outputs="require", retries=2, run_deadline_s=600.0, stall_deadline_s=90.0)
    assert found.policy("default", "", {}) == plain
    video = replace(plain, retries=4, run_deadline_s=3600.0)
    assert found.policy("video", "", {}) == video
    assert found.policy("video", "nightly batch", {}) == replace(video, run_deadline_s=None)
    given = found.policy("video", "nightly batch", {"run_deadline_s": 5.0})
    assert given == replace(video, run_deadline_s=5.0)


def test_a_variable_wins_over_the_file_for_the_same_and_not_over_what_is_more_special() -> None:
    found = settings(
        EVERFOLD_POLICY_RETRIES="7",
        EVERFOLD_POLICY_QUEUE_DEADLINE="5m",
        EVERFOLD_POLICY_KIND_NIGHTLY_BATCH_QUEUE_DEADLINE="none",
        EVERFOLD_POLICY_QUEUE_FAST_QUEUE_DEADLINE="1m",
        EVERFOLD_POLICY_STOP_WITHIN="",
        EVERFOLD_POLICY_KIND_DRAFT_OUTPUTS="keep",
    )
    assert found.policy("video", "draft", {}).outputs == "keep"
    assert found.policy("default", "", {}).retries == 7
    assert found.policy("video", "", {}).retries == 4
    assert found.policy("default", "", {}).queue_deadline_s == 300.0
    assert found.policy("fast", "", {}).queue_deadline_s == 60.0
    assert found.policy("fast", "nightly batch", {}).queue_deadline_s is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[policy]\nretrys = 1", "unknown key `retrys` in [policy]; did you mean `retries`?"),
        ("[policy]\nrun_deadline_s = 1", "did you mean `run_deadline`?"),
        ("[policy]\nretries = -1", "must be a whole number from 0 to 1,000"),
        ("[policy]\nretries = true", "must be a whole number"),
        ("[policy.queue.a]\nrun_deadline = 0", "in [policy.queue.a] must be a duration from"),
        ("[policy]\nstop_within = 'none'", "must be a duration from 0.001s to 3650d"),
        ("[policy]\noutputs = 'all'", "must be keep, collect or require"),
        ("[policy]\npreviews = true", "must be skip or collect"),
        ("[policy]\nqueue = 3", "must be a table: write [policy.queue.NAME]"),
        ("[policy.kind]\nvideo = 3", "must be a table: write [policy.kind.video]"),
        ("policy = 3", "`policy` at the top must be a table"),
        ("[policy.kinds.a]\nretries = 3", "unknown key `kinds` in [policy]"),
        ("[policy.kind.a.b]\nretries = 3", "unknown key `b` in [policy.kind.a]"),
    ],
)
async def test_a_mistake_in_the_file_is_named(
    everfold: Command, tmp_path: Path, text: str, problem: str
) -> None:
    rows, problems = from_table(tomllib.loads(text).get("policy", {}))
    assert rows == []
    assert len(problems) == 1
    assert problem in problems[0]
    if text.startswith("[policy]\nretrys"):
        file = tmp_path / "everfold.toml"
        file.write_text(text)
        program = everfold("config", "check", str(file))
        await ended(program, 2)
        assert problems[0] in "".join(program.error_lines)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(Misconfigured, match="did you mean EVERFOLD_POLICY_RETRIES"):
        list(from_environment({"EVERFOLD_POLICY_RETRYS": "1"}))
    with pytest.raises(Misconfigured, match="EVERFOLD_POLICY_RETRIES '-1' is not usable: use a"):
        list(from_environment({"EVERFOLD_POLICY_RETRIES": "-1"}))


async def test_flags_file_and_environment_meet_in_a_submitted_job(
    everfold: Command, log: Log, tmp_path: Path
) -> None:
    file = tmp_path / "everfold.toml"
    file.write_text(FILE)
    environ = {"EVERFOLD_CONFIG": str(file), "EVERFOLD_POLICY_CRASH_LIMIT": "9"}
    flags = ("--queue", "video", "--retries", "0", "--stall-deadline", "none", "--policy")
    [made] = await objects(everfold("submit", FAST, *flags, "backend_away=1h", "--json", **environ))
    assert await stored(log, str(made["job_id"])) == Policy(
        outputs="require", retries=0, crash_limit=9, run_deadline_s=3600.0, backend_away_s=3600.0
    )
    rows = await objects(everfold("config", "show", "--json", **environ))
    shown = {row["setting"]: (row["value"], row["from"]) for row in rows}
    assert shown["policy.outputs"] == ("require", "everfold.toml")
    assert shown["policy.retries"] == (2, "everfold.toml")
    assert shown["policy.crash_limit"] == (9, "EVERFOLD_POLICY_CRASH_LIMIT")
    assert shown["policy.kind.nightly batch.run_deadline"] == ("none", "everfold.toml")
    assert shown["policy.queue.video.run_deadline"] == ("3600s", "everfold.toml")


@pytest.mark.parametrize("key", FIELDS)
async def test_a_flag_outside_of_its_range_writes_nothing(everfold: Command, key: str) -> None:
    value = "1001" if FIELDS[key] in COUNTS else "9999d"
    program = everfold("submit", FAST, f"--{key.replace('_', '-')}", value)
    await ended(program, 2)
    said = "".join(program.error_lines)
    if FIELDS[key] in WORDS:
        assert all(word in said for word in WORDS[FIELDS[key]])
    else:
        assert ends(key).rpartition("from")[2] in said


async def test_a_field_that_is_set_twice_is_refused(everfold: Command) -> None:
    program = everfold("submit", FAST, "--retries", "1", "--policy", "retries=2")
    await ended(program, 2)
    assert "give it once" in "".join(program.error_lines)


async def test_in_python_a_mapping_sets_its_fields_and_a_policy_is_taken_as_it_is(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "everfold.toml"
    file.write_text(FILE)
    async with Everfold.connect(redis_url, namespace=namespace, config=file) as everfold:
        for policy, wanted in (
            (
                None,
                Policy(outputs="require", retries=2, run_deadline_s=600.0, stall_deadline_s=90.0),
            ),
            (
                {"retries": 5},
                Policy(outputs="require", retries=5, run_deadline_s=600.0, stall_deadline_s=90.0),
            ),
            (Policy(retries=5), Policy(retries=5)),
        ):
            made = await everfold.submit(GRAPH, policy=policy)
            assert await stored(everfold.log, made.job_id) == wanted
        for odd in ({"retrys": 1}, {"retries": -1}, {1: 2}, {"run_deadline_s": "10m"}):
            with pytest.raises(InvalidName, match="policy"):
                await everfold.submit(GRAPH, policy=odd)  # type: ignore[arg-type]
    with pytest.raises(InvalidName, match="config"):
        read_client_settings(7)  # type: ignore[arg-type]
    for place in ("x\0y", tmp_path, tmp_path / "none"):
        with pytest.raises(Misconfigured):
            read_client_settings(place)
    file.write_text("[policy]\nretries = 'x'")
    with pytest.raises(Misconfigured, match="`retries` in"):
        async with Everfold.connect(redis_url, namespace=namespace, config=file):
            pass
