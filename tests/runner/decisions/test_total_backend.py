"""An adapter that raises or hangs in any call holds nobody up, and costs its backend alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import anyio
import pytest

from everfold.runner.adapters.total_backend import TotalBackend
from everfold.runner.backend import (
    Ambiguous,
    Attempt,
    Backend,
    DownloadBroken,
    InputBytes,
    InputFile,
    Load,
    NotPlaced,
    Observation,
    OutputAnswer,
    OutputBody,
    OutputFile,
    OutputGone,
    PlaceOutcome,
    Sighting,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.capabilities.object_info import ObjectInfo

pytestmark = pytest.mark.anyio

ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id="p", client_id="c")
WITHIN_S = 0.05


async def _raise() -> None:
    raise ZeroDivisionError("a bug")


class Strange:
    """A backend that does something strange in each call; `place` is where its observation does."""

    name = "http://strange"

    def __init__(self, strange: Callable[[], Awaitable[None]], place: str) -> None:
        self._strange, self._place = strange, place

    async def boot(self) -> str | Unreachable:
        await self._strange()
        return ""

    async def server(self) -> str | Unreachable:
        await self._strange()
        return ""

    async def capabilities(self) -> ObjectInfo | Unreachable | None:
        await self._strange()
        return None

    async def load(self) -> Load | Unreachable:
        await self._strange()
        return Load(0, 0)

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        await self._strange()
        return Unreachable("")

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        await self._strange()
        return Ambiguous("")

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        await self._strange()
        return Unreachable("")

    async def has_input(self, file: InputFile, name: str) -> bool:
        await self._strange()
        return True

    async def cancel(self, attempt: Attempt) -> None:
        await self._strange()

    @asynccontextmanager
    async def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AsyncIterator[OutputAnswer]:
        await self._at("begin")
        yield OutputBody(8, self._chunks())
        await self._at("end")

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield b"half"
        await self._at("next")
        yield b"file"

    async def aclose(self) -> None:
        await self._strange()

    @asynccontextmanager
    async def observe(self, attempt: Attempt, workflow: bytes) -> AsyncIterator[Observation]:
        await self._at("begin")
        yield self
        await self._at("end")

    async def next(self, timeout_s: float) -> Sighting:
        await self._at("next")
        return Sighting(heard=True)

    async def reconnect(self) -> None:
        await self._at("reconnect")

    def pass_on(self, is_wanted: bool) -> None:
        if self._place == "pass_on":
            raise RuntimeError("strange")

    async def _at(self, place: str) -> None:
        if place == self._place:
            await self._strange()


FILE = InputFile(hash="blake3:" + "ab" * 32, size_bytes=0, name="a.png", media_type="image/png")


@asynccontextmanager
async def no_content() -> AsyncIterator[AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        yield b""

    yield chunks()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALL_WITHIN_S", "SUBMIT_WITHIN_S", "OBSERVE_WITHIN_S", "PLACE_WITHIN_S"):
        monkeypatch.setattr(f"everfold.runner.adapters.total_backend.{name}", WITHIN_S)


@pytest.mark.parametrize(
    ("strange", "word"), [(_raise, "ZeroDivisionError: a bug"), (anyio.sleep_forever, "in time")]
)
async def test_each_call_ends_with_the_reason(
    strange: Callable[[], Awaitable[None]], word: str
) -> None:
    backend = TotalBackend(Strange(strange, ""))
    with anyio.fail_after(10):
        answers = [
            await backend.boot(),
            await backend.server(),
            await backend.capabilities(),
            await backend.load(),
            await backend.truth("p", "", ""),
            await backend.place_input(FILE, no_content),
        ]
        assert not await backend.has_input(FILE, "everfold/ab.png")
        outcome = await backend.submit(ATTEMPT, b"{}", lambda: True)
        await backend.cancel(ATTEMPT)
        await backend.aclose()
    for answer in answers:
        assert isinstance(answer, Unreachable)
        assert word in answer.why
    assert isinstance(outcome, Ambiguous)
    assert word in outcome.why


@pytest.mark.parametrize("strange", [_raise, anyio.sleep_forever])
@pytest.mark.parametrize("place", ["begin", "next", "reconnect", "end"])
async def test_an_observation_goes_on_without_the_adapter(
    strange: Callable[[], Awaitable[None]], place: str
) -> None:
    with anyio.fail_after(10):
        async with TotalBackend(Strange(strange, place)).observe(ATTEMPT, b"{}") as seen:
            assert (await seen.next(0.0)).heard == (place not in ("begin", "next"))
            await seen.reconnect()
            assert (await seen.next(0.0)).heard == (place == "end")


@pytest.mark.parametrize("strange", [_raise, anyio.sleep_forever])
@pytest.mark.parametrize("place", ["begin", "next", "end"])
async def test_a_file_is_unreachable_or_breaks_off(
    strange: Callable[[], Awaitable[None]], place: str
) -> None:
    backend = TotalBackend(Strange(strange, place))
    with anyio.fail_after(10):
        async with backend.open_output(OutputFile("output", "", "a"), "") as answer:
            if place == "begin":
                assert isinstance(answer, Unreachable)
                return
            assert isinstance(answer, OutputBody)
            if place == "next":
                with pytest.raises(DownloadBroken):
                    [chunk async for chunk in answer.chunks]
            else:
                assert [chunk async for chunk in answer.chunks] == [b"half", b"file"]


async def test_an_adapter_that_knows_no_files_has_none() -> None:
    class Older(Strange):
        open_output = None  # type: ignore[assignment]

    older = TotalBackend(Older(_raise, ""))  # type: ignore[arg-type]
    async with older.open_output(OutputFile("output", "", "a"), "") as found:
        assert found == OutputGone()


async def test_an_error_of_who_reads_a_file_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with TotalBackend(Strange(_raise, "end")).open_output(OutputFile("", "", "a"), ""):
            raise KeyError


async def test_an_error_of_the_observer_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with TotalBackend(Strange(_raise, "end")).observe(ATTEMPT, b"{}"):
            raise KeyError


async def test_an_adapter_that_cannot_send_files_is_a_server_that_takes_none() -> None:
    backend = TotalBackend(cast("Backend", object()))
    assert await backend.place_input(FILE, no_content) == NotPlaced("its adapter cannot send files")
