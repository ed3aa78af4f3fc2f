"""Peers in a cache folder, each with an environment of its own: their pins contradict each other.

Rule: made once, by venv and pip or npm, and made anew when a pin has changed.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from benchmarks.peers.peer import BARE, EVERFOLD, Peer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".benchmarks" / "peers"
INSTALL_S = 300


@functools.cache
def pins() -> dict[str, str]:
    """Return package -> what is installed of it, such as `saq[redis]==0.26.4`."""
    lines = (HERE / "requirements.txt").read_text().split()
    found = {re.split(r"[\[=]", line)[0]: line for line in lines}
    package = msgspec.json.decode((HERE / "package.json").read_bytes())
    return found | {name: f"{name}=={at}" for name, at in package["dependencies"].items()}


def version(peer: Peer) -> str:
    """Return the library and its version."""
    if peer == EVERFOLD:
        return "everfold"
    if peer == BARE:
        return f"a bare loop of redis-py {metadata.version('redis')}"
    return re.sub(r"\[.*\]|==", " ", pins()[peer.packages[0]]).replace("  ", " ")


def command(peer: Peer, *arguments: str) -> list[str]:
    """Return the command line of a peer's program; `environ` belongs to it."""
    if not peer.python:
        return ["node", str(HERE / f"{peer.name}.cjs"), *arguments]
    python = sys.executable if peer.own else str(_python(peer))
    return [python, "-m", f"benchmarks.peers.{peer.name}", *arguments]


def environ(peer: Peer, redis_url: str, begin_log: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NODE_PATH": str(CACHE / peer.name / "node_modules"),
        "BENCH_REDIS": redis_url,
        "BENCH_BEGIN_LOG": str(begin_log),
    }


def install(peers: Sequence[Peer]) -> list[Peer]:
    """Install what is missing and return the peers that can be run; say which cannot."""
    return [peer for peer in peers if _install(peer)]


def _install(peer: Peer) -> bool:
    if not peer.python and not (shutil.which("node") and shutil.which("npm")):
        print(f"{peer.name} is left out: there is no node, or no npm", flush=True)
        return False
    wanted = "\n".join(pins()[name] for name in peer.packages)
    mark = CACHE / peer.name / "installed"
    if not mark.exists() or mark.read_text() != wanted:
        print(f"installing {wanted.split()[0]}", flush=True)
        shutil.rmtree(mark.parent, ignore_errors=True)
        mark.parent.mkdir(parents=True)
        if peer.python:
            _install_python(peer, wanted.split())
        else:
            _install_node(mark.parent)
        mark.write_text(wanted)
    return True


def _python(peer: Peer) -> Path:
    return CACHE / peer.name / "bin" / "python"


def _install_python(peer: Peer, wanted: list[str]) -> None:
    _run([sys.executable, "-m", "venv", str(CACHE / peer.name)], ROOT)
    pip = [str(_python(peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *wanted], ROOT)


def _install_node(folder: Path) -> None:
    shutil.copy(HERE / "package.json", folder)
    _run(["npm", "install", "--no-audit", "--no-fund", "--silent"], folder)


def _run(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(
        arguments, cwd=folder, timeout=INSTALL_S, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}")
