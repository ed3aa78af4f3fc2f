"""comfy-cli, as the index has it, against a gateway. `make clients` installs it and runs this."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from tests.support.programs.stack import Stack, sleeper
from tests.web.site import Site

ROOT = Path(__file__).parents[4]
INSTALLED = ROOT / ".venv-clients" / "bin" / "comfy"
COMFY = str(INSTALLED) if INSTALLED.exists() else shutil.which("comfy")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(COMFY is None, reason="comfy-cli is not here: make clients"),
]


async def comfy(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run comfy-cli with a home of its own; return its exit code, and what it printed."""
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "COMFY_NO_TRACKING": "1"}
    assert COMFY is not None
    with anyio.fail_after(90):
        done = await anyio.run_process(
            [COMFY, "--skip-prompt", *arguments], env=environ, check=False, cwd=folder
        )
    return done.returncode, done.stdout.decode() + done.stderr.decode()


async def test_comfy_cli_runs_a_workflow_to_its_end(
    site: Site, stack: Stack, tmp_path: Path
) -> None:
    await stack.runner(await stack.comfy(), assets=site.everfold.assets.url)
    home = tmp_path / "home"
    home.mkdir()
    graph = home / "graph.json"
    graph.write_text(json.dumps(sleeper(0.5)))
    address = urlsplit(site.url)

    code, printed = await comfy(
        home, "run", "--workflow", str(graph), "--wait", "--timeout", "60",
        "--host", str(address.hostname), "--port", str(address.port),
    )  # fmt: skip

    assert code == 0, printed
    [job] = (await site.everfold.list()).jobs
    assert job.status == "succeeded"
    [file] = await site.everfold.output_files(job.job_id)
    assert file.filename in printed, printed


async def test_comfy_cli_is_told_what_is_wrong_with_a_workflow(
    site: Site, stack: Stack, tmp_path: Path
) -> None:
    await stack.runner(await stack.comfy())
    home = tmp_path / "home"
    home.mkdir()
    graph = home / "graph.json"
    graph.write_text(json.dumps({"1": {"class_type": "NoSuchNode", "inputs": {}}}))
    address = urlsplit(site.url)

    code, printed = await comfy(
        home, "run", "--workflow", str(graph), "--wait", "--timeout", "60",
        "--host", str(address.hostname), "--port", str(address.port),
    )  # fmt: skip

    assert code != 0, printed
    assert "NoSuchNode" in printed
    assert (await site.everfold.list()).jobs == []
