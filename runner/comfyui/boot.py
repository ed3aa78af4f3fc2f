"""Which boot of the server this is.

ComfyUI forgets everything when it restarts, and never says that it has. It wipes its temp folder
at every start, so a small uploaded temp file lives exactly as long as the boot (seen on ComfyUI
0.3.64). The file's name is the marker. Two servers that share a temp folder wipe each other's
markers: that looks like a restart, which is the safe error. Where wiping fails, a falling prompt
number shows the restart.
"""

from __future__ import annotations

from uuid import uuid4

import anyio

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui.http import Answer, ComfyHttp, SharedRead
from everfold.runner.loose_json import as_object, as_text

OLDEST_VERSION = (0, 3, 45)
"""Older servers ignore the prompt_id that a client chooses, so nothing could be found again."""

LATELY_S = 0.25
"""No ComfyUI starts anew within so short a time."""


class BootMarker:
    """The boot marker of one server, uploaded at first use and checked at each use."""

    def __init__(self, http: ComfyHttp) -> None:
        self._http = http
        self._placed: str | None = None
        self._ended: set[str] = set()
        """Markers of boots that are over, although their files may still be there."""
        self._current = SharedRead(self._check_or_place)
        self._seen: tuple[str, float] = ("", 0.0)
        """The marker that was seen last, and when the question for it was sent."""

    async def current(self) -> str | Unreachable:
        """Return the marker of the present boot, uploading it if needed.

        Concurrent calls share one check and one upload. Unreachable also for a server that is
        older than OLDEST_VERSION or does not give the marker back.
        """
        return await self._current.fresh()

    @property
    def seen_lately(self) -> str:
        """The marker that the server had within the last LATELY_S; empty where that is not so."""
        marker, at_s = self._seen
        is_recent = anyio.current_time() - at_s < LATELY_S
        return marker if is_recent and marker not in self._ended else ""

    def mark_restarted(self) -> None:
        """Treat the present boot as over, even if its file is still there."""
        if self._placed is not None:
            self._ended.add(self._placed)
            self._placed = None

    async def is_alive(self, marker: str) -> bool | Unreachable:
        """Return whether the boot with this marker still lives; False for an empty marker."""
        if not marker or marker in self._ended:
            return False
        asked_s, self._seen = anyio.current_time(), ("", 0.0)
        answer = await self._http.small_file(_filename(marker), kind="temp")
        match answer:
            case Answer(status=200) if answer.body == marker.encode():
                self._seen = (marker, asked_s)
                return True
            case Answer(status=404):
                return False
            case Answer(status=status):
                return Unreachable(f"GET /view answered {status} and not the boot marker")
        return answer

    async def _check_or_place(self) -> str | Unreachable:
        placed = self._placed
        if placed is not None:
            alive = await self.is_alive(placed)
            if isinstance(alive, Unreachable):
                return alive
            if alive and self._placed == placed:  # a restart may have been noticed meanwhile
                return placed
        return await self._place()

    async def _place(self) -> str | Unreachable:
        if (refusal := await self._check_version()) is not None:
            return refusal
        marker = f"boot-{uuid4()}"
        answer = await self._http.upload(_filename(marker), marker.encode(), kind="temp")
        if isinstance(answer, Unreachable):
            return answer
        if answer.status != 200:
            return Unreachable(f"POST /upload/image answered {answer.status}: {answer.excerpt()}")
        return await self._confirm(marker)

    async def _confirm(self, marker: str) -> str | Unreachable:
        """Read the marker back: if it cannot be read, every check would find a restart."""
        alive = await self.is_alive(marker)
        if isinstance(alive, Unreachable):
            return alive
        if not alive:
            return Unreachable("the boot marker was uploaded but cannot be read back")
        self._placed = marker
        return marker

    async def _check_version(self) -> Unreachable | None:
        answer = await self._http.system_stats()
        if isinstance(answer, Unreachable):
            return answer
        version = as_text(as_object(as_object(answer.json()).get("system")).get("comfyui_version"))
        if (numbers := _read_version(version)) and numbers < OLDEST_VERSION:
            oldest = ".".join(map(str, OLDEST_VERSION))
            return Unreachable(f"ComfyUI {version} is too old; Everfold needs {oldest} or newer")
        return None


def _filename(marker: str) -> str:
    return f"{marker}.txt"


def _read_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version; empty when it is none, as in a build from source."""
    parts = text.removeprefix("v").split("-")[0].split("+")[0].split(".")
    is_version = all(part.isdecimal() and len(part) < 10 for part in parts)
    return tuple(map(int, parts)) if is_version else ()
