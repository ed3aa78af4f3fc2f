"""An archive in an S3-compatible store, through obstore; AWS_ variables configure it.

Rule: nothing is contacted that nobody has named. Every call blocks in a thread: obstore's own event
loop may end a program by SIGABRT when the interpreter ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar, TypeVarTuple

import anyio
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from everfold.buckets.access import check_credentials, told
from everfold.streams.archive.folder import FILE_LIMIT_BYTES
from everfold.streams.errors import ArchiveDamaged, ArchiveUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Bucket:
    """A `Store` at `s3://bucket/prefix`.

    Raises Misconfigured without a variable that names credentials, ArchiveUnavailable for settings
    that are wrong.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        if url.startswith("s3:"):
            check_credentials(url)
        try:
            self._store = from_url(url)
        except BaseError as error:
            raise ArchiveUnavailable(url, told(error)) from None  # it shows addresses whole

    async def create(self, name: str, content: bytes) -> bool:
        """Store an object; False when the name is taken. Raises ArchiveUnavailable."""
        return await self._run(self._create, name, content)

    async def create_all(self, files: Mapping[str, bytes]) -> None:
        """Store objects, all at once; those that are there stay. Raises ArchiveUnavailable."""
        await _all([partial(self.create, *file) for file in files.items()])

    async def read(self, name: str) -> bytes | None:
        """Return an object, None when there is none. Raises ArchiveUnavailable."""
        return await self._run(self._read, name)

    async def read_all(self, names: Sequence[str], most_bytes: int) -> list[bytes | None]:
        """Return objects, all at once, None for what is not there. Raises ArchiveUnavailable."""
        return await _all([partial(self._run, self._read, name, most_bytes) for name in names])

    async def _run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        try:
            return await anyio.to_thread.run_sync(call, *arguments)
        except (BaseError, OSError) as error:
            raise ArchiveUnavailable(self.url, told(error)) from None  # it shows addresses whole

    def _create(self, name: str, content: bytes) -> bool:
        try:
            obstore.put(self._store, name, content, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def _read(self, name: str, most_bytes: int = FILE_LIMIT_BYTES) -> bytes | None:
        try:
            found = obstore.get(self._store, name)
        except FileNotFoundError:
            return None
        if found.meta["size"] > most_bytes:
            raise ArchiveDamaged(name, f"it has more than {most_bytes:,} bytes")
        return bytes(found.bytes())


async def _all(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Make all calls at once; when all are over, return the answers or raise the first error."""
    answers, errors = dict[int, T](), list[Exception]()

    async def make(number: int, call: Callable[[], Awaitable[T]]) -> None:
        try:
            answers[number] = await call()
        except Exception as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(make, number, call)
    if errors:
        raise errors[0]
    return [answers[number] for number in range(len(calls))]
