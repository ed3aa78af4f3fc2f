"""A stored file of a job that a thread reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from everfold.assets.getting import OpenOutput as AsyncOpenOutput
from everfold.assets.job_files import JobFile
from everfold.client import Everfold as AsyncEverfold
from everfold.streams.assets.asset import Asset
from everfold.sync.calls import Blocking, Call, told
from everfold.sync.items import handed_over

P = ParamSpec("P")


class OpenOutput:
    """A stored file of a job, to be read once: iterate over it, or `read()`."""

    def __init__(self, file: JobFile, asset: Asset, chunks: Iterator[bytes]) -> None:
        self.file = file
        self.asset = asset
        """Its record: name, media type, size, hash, expiry. Of the thumbnail, if it was asked."""
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def read(self) -> bytes:
        """Return all of it."""
        return b"".join(self._chunks)


def reading(
    method: Callable[Concatenate[AsyncEverfold, P], AbstractAsyncContextManager[AsyncOpenOutput]],
) -> Call[P, AbstractContextManager[OpenOutput, None]]:
    """Make a context of an open file of such a context of the asyncio client."""

    @wraps(method)
    @contextlib.contextmanager
    def call(
        self: Blocking[AsyncEverfold], *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[OpenOutput]:
        found = self._found

        def opening(client: AsyncEverfold) -> AbstractAsyncContextManager[AsyncOpenOutput]:
            return method(found(client), *args, **kwargs)

        with handed_over(self._connection, opening, aiter) as (output, chunks):
            yield OpenOutput(output.file, output.asset, chunks)

    return cast("Call[P, AbstractContextManager[OpenOutput, None]]", told(call))
