"""What a killed test leaves behind: nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from everfold.embedded.engines import Engine
from tests.support.groups import networks
from tests.support.programs.programs import StartProgram
from tests.support.wait import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.long]

STARTS = """
import time
from everfold.embedded.engines import Engine
from tests.support.groups.cluster import cluster

engine = Engine(name={name!r}, version={version}, program={program!r}, source="path")
with cluster(engine, 3, 0, network={network}) as made:
    made.nodes[0].freeze()
    print(made.nodes[0].folder.parents[1], *(node.pid for node in made.nodes), flush=True)
    time.sleep(60)
"""


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(
            True,
            marks=pytest.mark.skipif(not networks.can_be_made(), reason="no root, or no iproute2"),
        ),
        False,
    ],
)
async def test_nothing_is_left_of_a_group_whose_test_is_killed(
    engine: Engine, start_program: StartProgram, network: bool
) -> None:
    code = STARTS.format(
        name=engine.name, version=engine.version, program=engine.program, network=network
    )
    program = start_program("-c", code)
    folder, *pids = (await program.line("everfold-group", within_s=60)).split()

    program.kill()

    await eventually(lambda: not any(lives(int(pid)) for pid in pids))
    await eventually(lambda: not Path(folder).exists())
