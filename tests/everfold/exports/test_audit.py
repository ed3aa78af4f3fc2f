"""`everfold audit verify` as people and programs meet it: its words, its JSON, its exit code."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.redis.redis_errors import command
from tests.support.programs.programs import Program, StartProgram
from tests.support.trouble.rewinds import taken

pytestmark = pytest.mark.anyio

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.fixture
async def log(redis_url: str, namespace: str) -> AsyncIterator[Log]:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        yield log


async def audited(start_program: StartProgram, log: Log, code: int, *arguments: str) -> Program:
    names = {"REDIS_URL": log.url.reveal(), "EVERFOLD_NAMESPACE": log.keys.namespace}
    program = start_program("-m", "everfold", "audit", "verify", *arguments, environ=names)
    assert await program.end(within_s=60) == code, program
    return program


async def test_a_sound_namespace_is_counted_and_called_sound(
    log: Log, start_program: StartProgram
) -> None:
    for _ in range(3):
        await log.submit(GRAPH)
    told = await audited(start_program, log, 0)
    assert told.lines[-1] == "3 events of 3 jobs, 3 of them open: all as it must be"
    found = json.loads((await audited(start_program, log, 0, "--json")).lines[-1])
    assert (found["sound"], found["jobs"], found["differences"]) == (True, 3, [])


async def test_what_is_wrong_is_named_in_a_sentence_and_as_json_with_exit_code_one(
    log: Log, start_program: StartProgram
) -> None:
    made = await log.submit(GRAPH)
    partition = log.keys.partition_of(made.job_id)
    await command(log.redis, "DEL", log.keys.waiting(partition, "default"))
    told = await audited(start_program, log, 1)
    sentence = (
        f"invariant 5: job {made.job_id}, partition {partition}, dispatch, waiting or later "
        "(phase waiting): expected 1 entries, found 0"
    )
    assert sentence in told.lines
    assert told.lines[-1].endswith("1 difference")
    found = json.loads((await audited(start_program, log, 1, "--json")).lines[-1])
    assert not found["sound"]
    assert [d["job_id"] for d in found["differences"]] == [made.job_id]
    assert found["differences"][0]["partition"] == partition


async def test_it_changes_nothing(log: Log, start_program: StartProgram) -> None:
    # Whoever was told of a write notes from time to time which server has it.
    async with Log.open(log.url.reveal(), namespace=log.keys.namespace) as gone:
        made = await gone.submit(GRAPH)
    before = sorted((await taken(log)).keys)
    await audited(start_program, log, 0)
    assert sorted((await taken(log)).keys) == before
    assert made.created
