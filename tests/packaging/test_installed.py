"""Installed, Everfold works in an application that has modules named as its own folders are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import everfold
from tests.packaging.conftest import Installed
from tests.support.programs.programs import ROOT, Program, StartProgram, programs
from tests.support.servers import StartServer

pytestmark = pytest.mark.anyio

TRAP = "raise AssertionError(f'{__name__} is the application\\'s own')\n"
OWN_MODULES = ("runner.py", "streams/__init__.py", "projector.py")


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A folder whose own modules have the names of our folders, and raise when imported."""
    folder = tmp_path / "application"
    for name in OWN_MODULES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TRAP)
    return folder


@pytest.fixture
def environ(application: Path, tmp_path: Path) -> dict[str, str]:
    ours = ("EVERFOLD_", "REDIS_", "COMFYUI_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(application), "EVERFOLD_DATA": str(tmp_path / "data")}


@pytest.fixture
def start(
    installed: Installed, application: Path, environ: dict[str, str]
) -> Iterator[StartProgram]:
    """Start programs with the installed Everfold, in the application's folder."""
    with programs(installed.python, application, environ) as start_program:
        yield start_program


async def lines_of(program: Program) -> list[str]:
    """Wait for the end of a program that must succeed; return what it printed."""
    assert await program.end(60) == 0, str(program)
    return program.lines


def copy_examples(application: Path, *names: str) -> None:
    (application / "examples").mkdir()
    for name in names:
        shutil.copy(ROOT / "examples" / name, application / "examples")


async def test_the_application_is_a_trap_for_bare_names(start: StartProgram) -> None:
    for name in ("runner", "streams", "projector"):
        assert await start("-c", f"import {name}").end(60) == 1


async def test_it_is_imported(start: StartProgram, installed: Installed) -> None:
    everything = "import everfold; [getattr(everfold, n) for n in everfold.__all__]"

    (place,) = await lines_of(start("-c", f"{everything}; print(everfold.__path__[0])"))
    assert Path(place) == installed.package
    assert await lines_of(start("-m", "everfold", "--version")) == [everfold.__version__]


def test_the_command_is_installed(
    installed: Installed, application: Path, environ: dict[str, str]
) -> None:
    command = installed.python.with_name("everfold")
    done = subprocess.run(
        [command, "--version"], cwd=application, env=environ, capture_output=True, timeout=60
    )

    assert (done.returncode, done.stdout.decode().split()) == (0, [everfold.__version__])


async def test_everything_runs_and_stops_when_told(start: StartProgram, application: Path) -> None:
    copy_examples(application, "submit_and_wait.py", "workflow.py")
    simulator = start("-m", "everfold", "simulator", "--port", "0")
    url = (await simulator.line("http://")).split()[-1]
    up = start("-m", "everfold", "up", "--comfyui", url)
    await up.line("stop", within_s=30)

    # Carried out by a runner that, by then, obeys signals.
    assert "succeeded" in "\n".join(await lines_of(start("-m", "examples.submit_and_wait")))
    up.send(signal.SIGTERM)

    assert await up.end(30) == 0, str(up)


async def test_a_runner_runs_inside_the_application(
    start: StartProgram, application: Path, own_server: StartServer
) -> None:
    copy_examples(application, "own_runner.py", "workflow.py")
    simulator = start("-m", "everfold", "simulator", "--port", "0")
    url = (await simulator.line("http://")).split()[-1]
    environ = {"REDIS_URL": own_server().url, "COMFYUI_URL": url}

    printed = await lines_of(start("-m", "examples.own_runner", environ=environ))

    assert printed[0].startswith("succeeded by app-")
