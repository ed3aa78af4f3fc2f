"""Puts the files of jobs where their graphs need them: on the server that was chosen.

Rule: each file is sent once to each boot of a server, whatever jobs need it. A server that does not
take a file gets no job with it for a while. The store's trouble is told from the server's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import anyio
import msgspec
from blake3 import blake3
from msgspec import Struct, field

from everfold.runner.backend import Backend, InputFile, NotPlaced, Placed, Unreachable
from everfold.runner.capabilities.model_names import read_graph
from everfold.streams.assets.asset import HASH_PREFIX
from everfold.streams.assets.asset_store import AssetStore
from everfold.streams.assets.graph_inputs import with_uploads
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.errors import AssetDamaged, AssetGone, EverfoldError
from everfold.streams.events.event import AssetInput, Failure

logger = get_logger("everfold.runner")

REMEMBERED = 10_000
"""Files whose places are known; of one that was forgotten the server is asked again."""

AVOIDED_FIRST_S, AVOIDED_MOST_S = 60.0, 600.0
UNREACHED_FIRST_S = 2.0
"""How long no job with a file is given to a server that did not take it; doubles each time."""

NO_STORE = "this runner has no store of assets, and the job sends files: give it one with --assets"


class StoreAway(Struct, frozen=True):
    """The store cannot be read now: the job waits."""

    why: str


class NotTaken(Struct, frozen=True):
    """The server does not take a file: another one may."""

    why: str
    is_away: bool = False
    """It was not reached."""


PlacedInputs = dict[str, str]
"""Place in the graph -> name of the file at the server."""

Outcome = PlacedInputs | Failure | StoreAway | NotTaken


class _Place(Struct, eq=False):
    """One file at one boot of a server."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    name: str = ""


class _Avoided(Struct):
    why: str
    count: int
    until_s: float


class InputFiles:
    """What one runner has put where. Many job runs use it at once; `assets` may be None."""

    def __init__(self, assets: AssetStore | None) -> None:
        self._assets = assets
        self._places = OrderedDict[tuple[str, str, str], _Place]()
        self._avoided: dict[tuple[str, str], _Avoided] = {}

    def why_none(self, inputs: Mapping[str, AssetInput], backends: Iterable[str]) -> str:
        """Return why none of these backends can be given a job's files; empty where one may."""
        if not inputs:
            return ""
        if self._assets is None:
            return NO_STORE
        names, avoided = list(backends), self.avoided(inputs)
        is_none = names and all(name in avoided for name in names)
        return "; ".join(f"{name}: {avoided[name]}" for name in names) if is_none else ""

    def avoided(self, inputs: Mapping[str, AssetInput]) -> dict[str, str]:
        """Return the backends that lately did not take one of these files, and why."""
        hashes, now_s = {one.hash for one in inputs.values()}, steady_s()
        return {
            backend: found.why
            for (backend, content_hash), found in self._avoided.items()
            if content_hash in hashes and now_s < found.until_s
        }

    async def place(self, backend: Backend, boot: str, inputs: Mapping[str, AssetInput]) -> Outcome:
        """Have the server keep all files of a job; return the names by which it has them."""
        names = dict[str, str]()
        for place, one in inputs.items():
            found = await self._placed(backend, boot, one)
            if isinstance(found, AssetGone | AssetDamaged):
                return _gone(place, one, self._assets, found)
            if not isinstance(found, str):
                return found
            names[place] = found
        return names

    async def _placed(
        self, backend: Backend, boot: str, wanted: AssetInput
    ) -> str | AssetGone | AssetDamaged | StoreAway | NotTaken:
        file = _file(wanted)
        place = self._place_of(backend, boot, file)
        async with place.lock:
            if place.name and await backend.has_input(file, place.name):
                return place.name
            content = _Content(self._assets, wanted)
            outcome = await backend.place_input(file, content.open)
        key = (backend.name, wanted.hash)
        match outcome:
            case Placed(name=name):
                self._avoided.pop(key, None)
                place.name = name
                return name
            case _ if isinstance(content.failure, AssetGone | AssetDamaged):
                return content.failure
            case _ if content.failure is not None:
                return StoreAway(f"the store of assets cannot be read: {content.failure}")
            case NotPlaced(why=why):
                return NotTaken(self._avoid(key, why, AVOIDED_FIRST_S))
            case Unreachable(why=why):
                return NotTaken(self._avoid(key, why, UNREACHED_FIRST_S), is_away=True)

    async def are_there(
        self, backend: Backend, boot: str, inputs: Mapping[str, AssetInput]
    ) -> bool:
        """Say whether a server seems to have all files of a job still; forget those it lost."""
        is_same_boot = await backend.boot() == boot
        for one in inputs.values():
            file = _file(one)
            place = self._place_of(backend, boot, file)
            if not is_same_boot or not await backend.has_input(file, place.name):
                place.name = ""
                return False
        return True

    def _place_of(self, backend: Backend, boot: str, file: InputFile) -> _Place:
        ending = file.name.rpartition(".")[2]
        key = (f"{backend.name} {boot}", file.hash, ending)
        found = self._places.setdefault(key, _Place())
        self._places.move_to_end(key)
        while len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
        return found

    def _avoid(self, key: tuple[str, str], why: str, first_s: float) -> str:
        """Note that a server did not take a file; return why."""
        now_s, earlier = steady_s(), self._avoided.get(key)
        count = 1 if earlier is None else min(earlier.count + 1, 10)
        for_s = min(first_s * 2.0 ** (count - 1), AVOIDED_MOST_S)
        self._avoided[key] = _Avoided(why, count, now_s + for_s)
        if len(self._avoided) > REMEMBERED:
            del self._avoided[next(iter(self._avoided))]
        logger.warning("input_not_taken url=%r file=%r why=%r", *key, why)
        return why


class _Content:
    """The bytes of one file, and what went wrong with reading them from the store."""

    def __init__(self, assets: AssetStore | None, wanted: AssetInput) -> None:
        self._assets, self._wanted = assets, wanted
        self.failure: EverfoldError | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        assert self._assets is not None
        try:
            async with self._assets.open(self._wanted.hash) as chunks:
                yield self._checked(chunks)
        except EverfoldError as error:
            self.failure = error
            raise

    async def _checked(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the bytes. Raises AssetDamaged before the server has all of others."""
        digest, size_bytes = blake3(), 0
        async for chunk in chunks:
            digest.update(chunk)
            size_bytes += len(chunk)
            if size_bytes > self._wanted.size_bytes:
                break
            yield chunk
        found = HASH_PREFIX + digest.hexdigest()
        if found != self._wanted.hash:
            raise AssetDamaged(self._wanted.hash, found)


def sent_graph(workflow: bytes, uploads: PlacedInputs) -> bytes:
    """Return the graph's JSON as it is sent: with the server's names for the job's files."""
    return msgspec.json.encode(with_uploads(read_graph(workflow), uploads)) if uploads else workflow


def _file(wanted: AssetInput) -> InputFile:
    return InputFile(
        hash=wanted.hash,
        size_bytes=wanted.size_bytes,
        name=wanted.name,
        media_type=wanted.media_type,
    )


def _gone(
    place: str,
    wanted: AssetInput,
    assets: AssetStore | None,
    why: AssetGone | AssetDamaged,
) -> Failure:
    where = assets.url if assets is not None else "the store"
    has = "no longer has" if isinstance(why, AssetGone) else "has other bytes in the place of"
    message = f"input {place}: {where} {has} {wanted.name} ({wanted.hash})"
    return Failure(code="input_gone", message=message)
