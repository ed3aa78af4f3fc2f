"""Completion in the real bash, installed as a person installs it; scripts for zsh and fish."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from everfold.commands.app import app

INSTALLED = ".local/share/bash-completion/completions/everfold"
TRY = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_everfold
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "everfold", "--install-completion", "--shell", "bash"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert INSTALLED in (tmp_path / ".bashrc").read_text()
    return tmp_path / INSTALLED


COMPLETED = {
    ("jo",): {"jobs"},
    ("he",): {"health", "help"},
    ("jobs", "w"): {"watch", "wait", "why"},
    ("audit", "ti"): {"timeline"},
    ("jobs", "ls", "--st"): {"--status"},
    ("jobs", "ls", "--names"): {"--namespace"},
    ("jobs", "ls", "--status", "c"): {"canceling", "canceled"},
    ("submit", "--outputs", ""): {"keep", "collect", "require"},
    ("audit", "timeline", "--group-by", "qu"): {"queue"},
    ("limits", "set", "wa"): {"waiting"},
}


def test_bash_completes_commands_options_and_values(script: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    for words, completed in COMPLETED.items():
        done = subprocess.run(
            [bash, "--norc", "-c", TRY, "bash", str(script), "everfold", *words],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (0, ""), words
        assert set(done.stdout.split()) == completed, words


def test_zsh_and_fish_have_scripts_with_all_commands() -> None:
    zsh = app.generate_completion(prog_name="everfold", shell="zsh")
    fish = app.generate_completion(prog_name="everfold", shell="fish")
    for script in (zsh, fish):
        assert all(name in script for name in app if not name.startswith("-"))
        assert "--group-by" in script or "-l group-by" in script
