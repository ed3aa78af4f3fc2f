"""Which boot of the server this is.

ComfyUI never says that it restarted. It wipes its temp folder at every start, so that a small file
there lives as long as the boot (seen on 0.3.64); its name is the marker. It counts once several new
connections find it: of several servers one has it. Two that share a temp folder wipe each other's:
like a restart, the safe error. Where wiping fails, a falling prompt number shows the restart.
"""

from __future__ import annotations

from uuid import uuid4

import anyio

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui.http import ComfyHttp, SharedRead
from everfold.runner.comfyui.identity import OneServer, has_temp_file
from everfold.runner.loose_json import as_object, as_text

OLDEST_VERSION = (0, 3, 45)
"""Older servers ignore the prompt_id that a client chooses, so nothing could be found again."""

OLDEST = ".".join(map(str, OLDEST_VERSION))

LATELY_S = 0.25
"""No ComfyUI starts anew within so short a time."""


class BootMarker:
    """The boot marker of one server, uploaded at first use and checked at each use."""

    def __init__(self, http: ComfyHttp) -> None:
        self._http = http
        self._one_server = OneServer(http)
        self._placed: str | None = None
        self._ended: set[str] = set()
        """Markers of boots that are over, although their files may still be there."""
        self._tried = ""
        """The marker that was uploaded last."""
        self._current = SharedRead(self._check_or_place)
        self._doubt = SharedRead(self._look_for_others)
        self._seen: tuple[str, float] = ("", 0.0)
        """The marker that was seen last, and when the question for it was sent."""
        self._unfit: tuple[str, str] = ("", "")
        """The marker of a boot that is sent nothing more, and why."""

    async def current(self) -> str | Unreachable:
        """Return the marker of the present boot, uploading it if needed.

        Concurrent calls share one check and one upload. Unreachable also for a server that is
        older than OLDEST_VERSION or does not give the marker back, and for several servers.
        """
        return await self._current.fresh()

    @property
    def is_doubted(self) -> bool:
        """Whether several servers have answered, so that `current` decides what holds now."""
        return self._one_server.is_doubted

    async def doubt(self) -> Unreachable | None:
        """Return why what one server does not have may be had by another one at this address; None
        where one server answers there."""
        return await self._doubt.fresh()

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

    async def mark_unfit(self, why: str) -> None:
        """Treat the server as out of service, and say `why`, for as long as this boot lives."""
        marker = await self.current()
        if isinstance(marker, str):
            self._unfit = (marker, why)

    async def why_unfit(self) -> Unreachable | None:
        """Return why the present boot is sent nothing more; None while it may be sent something."""
        marker, why = self._unfit
        if not marker:
            return None
        alive = await self.is_alive(marker)
        if isinstance(alive, Unreachable):
            return alive
        if alive:
            return Unreachable(why, refuses=True)
        self._unfit = ("", "")
        return None

    async def is_alive(self, marker: str) -> bool | Unreachable:
        """Return whether the boot with this marker still lives; False for an empty marker."""
        if not marker or marker in self._ended:
            return False
        asked_s, self._seen = anyio.current_time(), ("", 0.0)
        found = await has_temp_file(self._http, _filename(marker), marker)
        if found is True:
            self._seen = (marker, asked_s)
        return found

    async def _check_or_place(self) -> str | Unreachable:
        if (refusal := self._one_server.refusal) is not None:
            return refusal
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
        if self.is_doubted and await self._is_had_by_one(self._tried) is None:
            return self._give_up()
        for _ in range(2):  # a restart in between looks as several servers do, once
            marker = await self._upload()
            if isinstance(marker, Unreachable):
                return marker
            is_proven = await self._is_had_by_one(marker)
            if isinstance(is_proven, Unreachable):
                return is_proven
            if is_proven:
                self._placed, self._one_server.is_doubted = marker, False
                return marker
        if is_proven is None:
            return self._give_up()
        # Every check would find a restart.
        return Unreachable("the boot marker was uploaded but cannot be read back")

    async def _upload(self) -> str | Unreachable:
        marker = self._tried = f"boot-{uuid4()}"
        answer = await self._http.upload(_filename(marker), marker.encode(), kind="temp")
        if isinstance(answer, Unreachable):
            return answer
        if answer.status != 200:
            return Unreachable(f"POST /upload/image answered {answer.status}: {answer.excerpt()}")
        return marker

    async def _is_had_by_one(self, marker: str) -> bool | Unreachable | None:
        """Return whether the server has the marker; None where only some of the answers say so."""
        is_alive = await self.is_alive(marker)
        if isinstance(is_alive, Unreachable):
            return is_alive
        found = await self._one_server.has(_filename(marker), marker)
        return None if isinstance(found, bool) and found != is_alive else found

    def _give_up(self) -> Unreachable:
        self._placed = None
        return self._one_server.doubt()

    async def _look_for_others(self) -> Unreachable | None:
        """Compare what the server has, as `_place` does. One that takes no marker has an identity,
        perhaps."""
        present = await self.current()
        if self.is_doubted and isinstance(present, Unreachable):
            return present
        marker = present if isinstance(present, str) else ""
        for _ in range(2):
            found = await self._one_server.has(_filename(marker) if marker else "", marker)
            if found is not None:
                return found if isinstance(found, Unreachable) else None
        return self._give_up()

    async def _check_version(self) -> Unreachable | None:
        answer = await self._http.system_stats()
        if isinstance(answer, Unreachable):
            return answer
        version = as_text(as_object(as_object(answer.json()).get("system")).get("comfyui_version"))
        if (numbers := _read_version(version)) and numbers < OLDEST_VERSION:
            return Unreachable(f"ComfyUI {version} is too old; Everfold needs {OLDEST} or newer")
        return None


def _filename(marker: str) -> str:
    return f"{marker}.txt"


def _read_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version; empty when it is none, as in a build from source."""
    parts = text.removeprefix("v").split("-")[0].split("+")[0].split(".")
    is_version = all(part.isdecimal() and len(part) < 10 for part in parts)
    return tuple(map(int, parts)) if is_version else ()
