"""A server whose wall clock a test sets: a library that is loaded before libc moves it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")


class WallClock:
    """The wall clock of the processes that are started with `environ`."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self._library = folder / "wall_clock.so"
        self._offset.write_bytes(bytes(8))
        self._offset_ms = 0

    @staticmethod
    def why_not() -> str:
        """Return why there can be none here, empty when there can."""
        return "" if shutil.which("gcc") else "there is no gcc to build it with"

    def build(self) -> None:
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE)]
        subprocess.run(command, check=True)

    @property
    def environ(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_OFFSET": str(self._offset)}

    def step(self, seconds: float) -> None:
        """Set the clock forward by so many seconds; back when they are negative."""
        self._offset_ms += int(seconds * 1000)
        with self._offset.open("r+b") as file:
            file.write(self._offset_ms.to_bytes(8, "little", signed=True))
