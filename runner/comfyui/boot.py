"""Which boot of the server this is.

ComfyUI never says that it has restarted, and forgets everything when it does. It wipes its temp
folder at every start, so a tiny uploaded temp file lives exactly as long as the boot (seen on
ComfyUI 0.3.64). The file's name is the marker. Two servers that share a temp folder wipe each
other's markers: a false restart, which is the safe error. Where wiping fails, a
prompt number that falls tells the restart.
"""

from __future__ import annotations

from uuid import uuid4

from everfold.runner.backend import Unreachable
from everfold.runner.comfyui.http import Answer, ComfyHttp
from everfold.runner.comfyui.loose_json import as_object, as_text
from everfold.runner.comfyui.shared_read import SharedRead

OLDEST_VERSION = (0, 3, 45)
"""Older servers ignore the prompt_id that a client chooses, so nothing could be found again."""


class BootMarker:
    """The marker of one server, placed at first use and checked at each."""

    def __init__(self, http: ComfyHttp) -> None:
        self._http = http
        self._placed: str | None = None
        self._buried: set[str] = set()
        """Markers of boots that are over although their files were not wiped."""
        self._current = SharedRead(self._check_or_place)

    async def current(self) -> str | Unreachable:
        """Return a marker of the present boot; concurrent calls share one check and one upload."""
        return await self._current.fresh()

    def bury(self) -> None:
        """The boot is over, whatever its file says: the server has begun to count prompts anew."""
        if self._placed is not None:
            self._buried.add(self._placed)
            self._placed = None

    async def is_alive(self, marker: str) -> bool | Unreachable:
        """True while the boot that was given this marker lives; no marker belongs to no boot."""
        if not marker or marker in self._buried:
            return False
        answer = await self._http.small_file(_filename(marker), kind="temp")
        match answer:
            case Answer(status=200):
                return answer.body == marker.encode()
            case Answer(status=404):
                return False
            case Answer(status=status):
                return Unreachable(f"GET /view answered {status} for the boot marker")
        return answer

    async def _check_or_place(self) -> str | Unreachable:
        if self._placed is not None:
            alive = await self.is_alive(self._placed)
            if isinstance(alive, Unreachable):
                return alive
            if alive:
                return self._placed
        return await self._place()

    async def _place(self) -> str | Unreachable:
        if (refusal := await self._refuse_old_server()) is not None:
            return refusal
        marker = f"boot-{uuid4()}"
        answer = await self._http.upload(_filename(marker), marker.encode(), kind="temp")
        if isinstance(answer, Unreachable):
            return answer
        if answer.status != 200:
            return Unreachable(f"POST /upload/image answered {answer.status}: {answer.excerpt()}")
        return await self._confirm(marker)

    async def _confirm(self, marker: str) -> str | Unreachable:
        """A marker that cannot be read back would make every later check cry restart."""
        alive = await self.is_alive(marker)
        if isinstance(alive, Unreachable):
            return alive
        if not alive:
            return Unreachable("the boot marker was uploaded but cannot be read back")
        self._placed = marker
        return marker

    async def _refuse_old_server(self) -> Unreachable | None:
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
    """Return the numbers of a version; empty when it is not one, as in a build from source."""
    parts = text.removeprefix("v").split("-")[0].split("+")[0].split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
