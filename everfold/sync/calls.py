"""Makes calls that wait of the asyncio client's own methods.

Rule: arguments, results and docstrings are those of the method that is called, for type checkers,
editors and `help` alike, so that the two clients cannot differ.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from everfold.client import Everfold as AsyncEverfold
from everfold.sync.connection import Connection
from everfold.sync.items import handed_over

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


class Blocking(Generic[A]):
    """Something of the asyncio client, seen from another thread."""

    def __init__(self, connection: Connection, found: Callable[[AsyncEverfold], A]) -> None:
        self._connection = connection
        self._found = found
        """Returns that thing of an open client."""


class Call(Generic[P, T]):
    """For type checkers: a method with these arguments and this result."""

    @overload
    def __get__(self, one: None, owner: object) -> Callable[Concatenate[Any, P], T]: ...
    @overload
    def __get__(self, one: object, owner: object) -> Callable[P, T]: ...
    def __get__(self, one: object, owner: object) -> Callable[..., T]:
        raise NotImplementedError("a real function stands here")


def blocking(method: Callable[Concatenate[A, P], Awaitable[T]]) -> Call[P, T]:
    """Make a call that returns what the method's coroutine returns."""

    @wraps(method)
    def call(self: Blocking[A], *args: P.args, **kwargs: P.kwargs) -> T:
        found = self._found
        return self._connection.call(lambda client: method(found(client), *args, **kwargs))

    return cast("Call[P, T]", told(call))


def iterating(
    method: Callable[Concatenate[A, P], AsyncIterator[T]],
) -> Call[P, Generator[T, None, None]]:
    """Make a call that yields what the method yields, until it is left."""

    @wraps(method)
    def call(self: Blocking[A], *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        found = self._found

        @contextlib.asynccontextmanager
        async def opening(client: AsyncEverfold) -> AsyncIterator[AsyncIterator[T]]:
            yield method(found(client), *args, **kwargs)

        with handed_over(self._connection, opening, aiter) as (_, items):
            yield from items

    return cast("Call[P, Generator[T, None, None]]", told(call))


def streaming(
    method: Callable[Concatenate[A, P], AbstractAsyncContextManager[AsyncIterator[T]]],
) -> Call[P, AbstractContextManager[Iterator[T], None]]:
    """Make a context of an iterator of such a context; leaving it ends what goes on for it."""

    @wraps(method)
    @contextlib.contextmanager
    def call(self: Blocking[A], *args: P.args, **kwargs: P.kwargs) -> Iterator[Iterator[T]]:
        found = self._found

        def opening(client: AsyncEverfold) -> AbstractAsyncContextManager[AsyncIterator[T]]:
            return method(found(client), *args, **kwargs)

        with handed_over(self._connection, opening, aiter) as (_, items):
            yield items

    return cast("Call[P, AbstractContextManager[Iterator[T], None]]", told(call))


def told(call: Callable[..., object]) -> Callable[..., object]:
    """Let a call say that its results are no asynchronous ones."""
    signature = inspect.signature(call)
    returns = str(signature.return_annotation).replace("Async", "")
    call.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
    call.__annotations__ = {**call.__annotations__, "return": returns}
    return call
