"""`everfold up|runner`: the processes that do the work, until a signal ends them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter

from everfold.commands.operate.process import ending_signals, log_to_stderr
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.sinks import PostHogOptions, SqlOptions, WebhookOptions, consuming
from everfold.commands.words import console
from everfold.embedded import find_server, server_url
from everfold.projector.projector import Projector
from everfold.runner.comfyui import ComfyBackend
from everfold.runner.config import RunnerConfig, runner_name
from everfold.runner.runner import Runner
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured

ComfyUrls = Annotated[
    list[str] | None, Parameter(name="--comfyui", env_var="COMFYUI_URL", negative="")
]
Queues = Annotated[list[str] | None, Parameter(name="--queue", negative="")]

INTERRUPTED = 130


async def up(
    *,
    comfyui: ComfyUrls = None,
    queue: Queues = None,
    slots: int = 2,
    drain: float = 10.0,
    data: Annotated[Path | None, Parameter(env_var="EVERFOLD_DATA")] = None,
    sql: SqlOptions | None = None,
    webhook: WebhookOptions | None = None,
    posthog: PostHogOptions | None = None,
    session: Session = DEFAULT,
) -> int:
    """Run everything in one process: an embedded server unless one is named, projector, runner,
    and the sinks that are asked for.

    Parameters
    ----------
    comfyui
        Address of a ComfyUI server; several times for several.
    queue
        A queue to serve; several times for several. Default: default.
    slots
        Jobs that one ComfyUI may hold at a time: one runs, the others wait there.
    drain
        Seconds that running jobs may take to end after Ctrl-C; then they are handed over.
    data
        Folder of the embedded server's data.
    """
    urls = _urls(comfyui)
    log_to_stderr()
    async with _server(session, data) as redis_url:
        config = _config("", urls, queue, slots, drain)
        async with (
            Log.open(redis_url, namespace=session.namespace, actor=config.name) as log,
            anyio.create_task_group() as tasks,
        ):
            _announce(redis_url, urls, session)
            await tasks.start(Projector(log, config.name).run)
            wanted = [one for one in (sql, webhook, posthog) if one]
            # A database that is away must not keep the jobs from running.
            async with consuming(log, wanted, patient=True) as sinks:
                for sink in sinks:
                    console.print(f"sink     {sink.about}", markup=False)
                code = await _run_until_signal(_runner(log, urls, config))
            tasks.cancel_scope.cancel()
    return code


async def runner(
    *,
    comfyui: ComfyUrls = None,
    queue: Queues = None,
    name: str = "",
    slots: int = 2,
    drain: float = 10.0,
    lease_ttl: float = 10.0,
    session: Session = DEFAULT,
) -> int:
    """Run a runner: takes jobs, drives ComfyUI, recovers the jobs of dead runners.

    Ctrl-C or SIGTERM drains it; a second one stops it at once.

    Parameters
    ----------
    name
        Prefix of its name in events and lists; default: the host's name.
    lease_ttl
        Seconds after which a frozen runner's jobs are taken over; the same for all runners.
    """
    urls = _urls(comfyui)
    log_to_stderr()
    config = _config(name, urls, queue, slots, drain, lease_ttl)
    redis_url = session.redis_url or find_server()
    async with Log.open(redis_url, namespace=session.namespace, actor=config.name) as log:
        console.print(f"runner {config.name} serves {', '.join(config.queues)}", markup=False)
        return await _run_until_signal(_runner(log, urls, config))


def _urls(given: list[str] | None) -> list[str]:
    text = ",".join(given or [])
    urls = [url.strip() for url in text.split(",") if url.strip()]
    if not urls:
        raise Misconfigured(
            "no ComfyUI is named: use --comfyui http://host:8188 or COMFYUI_URL "
            "(`everfold simulator` stands in for one)"
        )
    return urls


def _config(
    name: str,
    urls: list[str],
    queues: list[str] | None,
    slots: int,
    drain_s: float,
    lease_ttl_s: float = 10.0,
) -> RunnerConfig:
    return RunnerConfig(
        name=runner_name(name),
        queues=tuple(queues or ("default",)),
        slots=slots,
        drain_s=drain_s,
        lease_ttl_s=lease_ttl_s,
        renew_every_s=min(2.0, lease_ttl_s / 5),
        lease_margin_s=min(1.0, lease_ttl_s / 5),
    )


def _runner(log: Log, urls: list[str], config: RunnerConfig) -> Runner:
    return Runner(log, [ComfyBackend(url) for url in urls], config)


@contextlib.asynccontextmanager
async def _server(session: Session, data: Path | None) -> AsyncIterator[str]:
    if session.redis_url:
        yield session.redis_url
    else:
        async with server_url(data) as url:
            yield url


def _announce(redis_url: str, urls: list[str], session: Session) -> None:
    console.print(f"server   {redis_url}", markup=False)
    console.print(f"comfyui  {', '.join(urls)}", markup=False)
    space = "" if session.namespace == "everfold" else f" --namespace {session.namespace}"
    console.print(f"now      everfold submit workflow.json --wait{space}", markup=False)
    console.print("stop     Ctrl-C: drains; once more: stops at once")


async def _run_until_signal(runner: Runner) -> int:
    """Run until a signal drains the runner; a second one cancels it."""
    code = 0
    async with anyio.create_task_group() as tasks:

        async def obey() -> None:
            nonlocal code
            async with ending_signals() as signals:
                await anext(signals)
                held = runner.jobs_in_flight
                console.print(f"draining: {held} job(s) in hand" if held else "stopping")
                runner.drain()
                await anext(signals)
            console.print("stopping at once; other runners take over")
            code = INTERRUPTED
            tasks.cancel_scope.cancel()

        tasks.start_soon(obey)
        await runner.run()
        tasks.cancel_scope.cancel()
    return code
