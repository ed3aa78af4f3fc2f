"""The rights of several roles at once, on a cluster, where keys are laid out otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.redis.access import Access, Role
from tests.support.groups.cluster import Cluster
from tests.support.programs.programs import StartProgram
from tests.support.servers import client

pytestmark = pytest.mark.anyio

NS = "rights"
ROLES: tuple[Role, ...] = ("runner", "projector", "consumer", "archiver", "operator")


async def test_up_works_with_the_rights_of_its_roles(
    redis_cluster: Cluster, start_program: StartProgram, tmp_path: Path
) -> None:
    async with Log.open(redis_cluster.url, namespace=NS, partitions=3):
        for node in redis_cluster.nodes:
            rules = [Access(role, NS, is_spread=True).rules() for role in ROLES]
            head = "resetkeys resetchannels -@all"
            words = " ".join([head, *(rule.removeprefix(head) for rule in rules)]).split()
            with client(node.url) as admin:
                admin.execute_command("ACL", "SETUSER", "somebody", "on", ">pw", *words)
    url = redis_cluster.url.replace("://", "://somebody:pw@")
    up = start_program(
        *("-m", "everfold", "up", "--namespace", NS, "--comfyui", "http://127.0.0.1:1"),
        environ={"REDIS_URL": url, "EVERFOLD_ASSETS": str(tmp_path)},
    )

    assert "127.0.0.1:1" in await up.line("\u2717", within_s=60), "its runner works"
