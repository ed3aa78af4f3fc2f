"""Truth, cancel and load of one server, over real connections."""

from __future__ import annotations

import json
import shutil
import ssl
from pathlib import Path

import anyio
import pytest

from everfold.runner.backend import (
    Absent,
    Attempt,
    Backend,
    Ended,
    Load,
    Pending,
    Running,
    Unreachable,
)
from everfold.runner.comfyui import ComfyBackend
from tests.comfyui.hostile.raw_server import Exchange, raw_server
from tests.comfyui.recordings.replay_server import ReplayServer, until

pytestmark = pytest.mark.anyio

P, Q = "d984aab4-3a3b-4f2d-af1c-10b365b79190", "f8cb288c-7a3c-4a38-9957-b606f1410ac4"
ATTEMPT = Attempt(job_id="job-1", number=1, prompt_id=P, client_id="client-1")
SUCCESS = {"outputs": {}, "status": {"status_str": "success", "messages": []}}


def item(prompt_id: str, number: int = 0, outputs: tuple[str, ...] = ()) -> list[object]:
    return [number, prompt_id, {}, {}, list(outputs)]


def test_it_is_a_backend() -> None:
    backend: Backend = ComfyBackend("HTTP://user:word@Example.org:8188/")
    assert backend.name == "http://example.org:8188"


async def test_the_queue_is_asked_before_the_history(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.history[P] = SUCCESS
    assert isinstance(await backend.truth(P, ""), Ended)
    assert server.seen == ["GET /queue", f"GET /history/{P}"]


async def test_what_is_queued_needs_no_history(server: ReplayServer, backend: ComfyBackend) -> None:
    server.running, server.pending = [item(P)], [item(Q, 1)]
    server.history[P] = SUCCESS
    assert await backend.truth(P, "") == Running()
    assert await backend.truth(Q, "") == Pending(0)
    assert server.seen == ["GET /queue"] * 2


async def test_a_settled_end_is_read_from_the_history_alone(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    message = {"type": "executing", "data": {"node": None, "prompt_id": P}}
    async with backend.observe(ATTEMPT, b"{}") as observation:
        await until(lambda: bool(server.sockets["client-1"]), "it has connected")
        await server.send("client-1", json.dumps(message))
        with anyio.fail_after(10):
            while not (await observation.next(1.0)).is_settled:
                pass
        server.seen.clear()
        assert await backend.truth(P, "") == Absent(same_boot=False)
        assert server.seen[:3] == [f"GET /history/{P}", "GET /queue", f"GET /history/{P}"]
        server.history[P] = SUCCESS
        server.seen.clear()
        assert isinstance(await backend.truth(P, ""), Ended)
        assert server.seen == [f"GET /history/{P}"]


async def test_the_marker_of_a_moment_ago_proves_which_server_it_is(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    await backend.boot()
    mine = await backend.server()
    await backend.boot()
    server.seen.clear()
    assert await backend.server() == mine
    assert server.seen == []
    server.files.clear()
    assert await backend.boot() != ""
    assert await backend.server() not in ("", mine), "its files are another server's"


async def test_absent_says_whether_the_boot_is_the_same(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    boot = await backend.boot()
    assert isinstance(boot, str)
    assert await backend.truth(P, boot) == Absent(same_boot=True)
    assert await backend.truth(P, "boot-of-before") == Absent(same_boot=False)
    assert await backend.truth(P, "") == Absent(same_boot=False)


async def test_one_queue_read_serves_many(server: ReplayServer, backend: ComfyBackend) -> None:
    server.running = [item(P)]
    truths: list[object] = []

    async def ask() -> None:
        truths.append(await backend.truth(P, ""))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert truths == [Running()] * 50
    assert server.seen.count("GET /queue") <= 2


# Left out are the two that mean something: a missing marker, and an entry that cannot be told.
@pytest.mark.parametrize(
    ("path", "status"),
    [(path, status) for path in ("/queue", f"/history/{P}", "/view") for status in (301, 401, 503)]
    + [("/queue", 404), ("/queue", 500), (f"/history/{P}", 404), ("/view", 500)],
)
async def test_a_read_that_is_not_answered_is_unknown_and_never_lost(
    path: str, status: int, server: ReplayServer, backend: ComfyBackend
) -> None:
    server.failing[path] = status
    assert isinstance(await backend.truth(P, "boot-1"), Unreachable)


async def test_a_server_that_is_down_is_unreachable(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    await server.stop()
    assert isinstance(await backend.truth(P, "boot-1"), Unreachable)
    assert isinstance(await backend.load(), Unreachable)
    await backend.cancel(ATTEMPT)


async def test_an_entry_that_cannot_be_told_has_ended(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.unreadable.add(P)
    truth = await backend.truth(P, "")
    assert isinstance(truth, Ended)
    assert truth.failure is not None
    assert (truth.failure.code, truth.failure.retryable) == ("unreadable_outputs", False)


async def test_a_server_that_answers_500_to_everything_is_in_trouble() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.read_request()
        if b"GET /queue " in exchange.received:
            body = b'{"queue_running": [], "queue_pending": []}'
            await exchange.answer(200, body, b"Connection: close\r\n")
        else:
            await exchange.answer(500, b"", b"Connection: close\r\n")

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url)
        assert isinstance(await backend.truth(P, ""), Unreachable)
        await backend.aclose()


async def test_a_server_that_never_answers_is_unreachable_in_time() -> None:
    async def serve(exchange: Exchange) -> None:
        await anyio.sleep_forever()

    async with raw_server(serve) as server:
        backend = ComfyBackend(server.url, timeout_s=0.2)
        with anyio.fail_after(5):
            assert isinstance(await backend.truth(P, ""), Unreachable)
        await backend.aclose()


async def test_bare_nan_in_a_body_is_read(server: ReplayServer, backend: ComfyBackend) -> None:
    server.history[P] = {**SUCCESS, "outputs": {"1": {"loss": [float("nan"), 0.5]}}}
    truth = await backend.truth(P, "")
    assert isinstance(truth, Ended)
    assert truth.outputs == {"1": {"loss": [None, 0.5]}}


async def test_load_counts_the_prompts_of_all_clients(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.running, server.pending = [item(P)], [item(Q, 1), item("x", 2)]
    assert await backend.load() == Load(running=1, pending=2, running_ids=(P,))


async def test_a_running_prompt_is_interrupted_by_its_id(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.running = [item(P)]
    await backend.cancel(ATTEMPT)
    assert server.cancels == ["delete d984aab4", "interrupt d984aab4"]


async def test_a_newer_server_cancels_in_one_step(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.has_jobs = True
    server.running = [item(P)]
    await backend.cancel(ATTEMPT)
    assert server.cancels == ["cancel d984aab4"]


async def test_cancel_never_interrupts_another_prompt(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    server.running, server.pending = [item(Q)], [item(P, 1)]
    await backend.cancel(ATTEMPT)
    await backend.cancel(Attempt(job_id="j", number=1, prompt_id="", client_id="c"))
    assert server.cancels == ["delete d984aab4"]


async def test_an_interrupt_without_an_id_is_a_mistake(backend: ComfyBackend) -> None:
    with pytest.raises(ValueError, match="prompt_id"):
        await backend.http.interrupt("")


async def test_the_queue_tells_the_observer_which_nodes_are_outputs(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    workflow = b"""{"1": {"class_type": "EmptyImage", "inputs": {}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        "9": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}}"""
    server.running = [item(P, outputs=("2",))]
    async with backend.observe(ATTEMPT, workflow) as observation:
        await server.send("client-1", f'{{"type":"execution_start","data":{{"prompt_id":"{P}"}}}}')
        totals: list[int] = []
        with anyio.fail_after(5):
            while not totals:
                progress = (await observation.next(1.0)).progress
                totals += [progress.nodes_total] if progress else []
        await backend.truth(P, "")
        progress = (await observation.next(1.0)).progress
    assert totals == [3]
    assert progress is not None
    assert progress.nodes_total == 2


async def assert_everything_works(server: ReplayServer, backend: ComfyBackend) -> None:
    server.running = [item(P)]
    assert isinstance(await backend.boot(), str)
    assert await backend.truth(P, "") == Running()
    async with backend.observe(ATTEMPT, b"{}"):
        await until(lambda: len(server.sockets["client-1"]) == 1, "the websocket is open")


async def test_a_path_prefix_and_a_password_are_used_everywhere() -> None:
    server = ReplayServer(prefix="/gpu/0", authorization="Basic dXNlcjp3b3Jk")
    await server.start()
    url = server.url.replace("://", "://user:word@") + "/"
    backend = ComfyBackend(url)
    await assert_everything_works(server, backend)
    assert backend.name == server.url
    await backend.aclose()
    await server.stop()


async def test_extra_headers_are_sent_everywhere() -> None:
    server = ReplayServer(authorization="Bearer token")
    await server.start()
    backend = ComfyBackend(server.url, headers={"Authorization": "Bearer token"})
    await assert_everything_works(server, backend)
    await backend.aclose()
    await server.stop()


async def test_https_works_with_the_given_certificates(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make a certificate")
    await anyio.run_process(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 "
        "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1",
        cwd=tmp_path,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = ReplayServer(tls=tls)
    await server.start()
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    backend = ComfyBackend(server.url, ssl_context=trust)
    await assert_everything_works(server, backend)
    await backend.aclose()
    stranger = ComfyBackend(server.url)
    assert isinstance(await stranger.load(), Unreachable)
    await stranger.aclose()
    await server.stop()


async def test_another_server_at_the_address_is_unknown_and_not_restarted(
    server: ReplayServer, backend: ComfyBackend
) -> None:
    mine = await backend.server()
    assert isinstance(mine, str)
    other = ComfyBackend(server.url)
    assert await other.server() == mine
    await other.aclose()
    assert await backend.truth(P, "boot-of-before", mine) == Absent(same_boot=False)
    truth = await backend.truth(P, "boot-of-before", "server-of-another-host")
    assert truth == Unreachable("another server answers there")
    server.running = [item(P)]
    assert await backend.truth(P, "boot-of-before", "server-of-another-host") == Running()
