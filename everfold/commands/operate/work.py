"""`everfold up|runner`: the processes that run jobs, until a signal ends them.

Rule: what works with ComfyUI is loaded when it runs, not to describe the options.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import anyio.lowlevel
from cyclopts import Parameter

from everfold.commands.app import app
from everfold.commands.config.config_file import limit_settings
from everfold.commands.gateway.serve import GATEWAY, WebOptions, serving
from everfold.commands.numbers import duration, number
from everfold.commands.options import (
    AssetsPlace,
    ComfyUrls,
    DataFolder,
    Drain,
    IndexMetadata,
    Queues,
    Slots,
)
from everfold.commands.process.keep_options import KEEP_HERE, KeepHere, keeping
from everfold.commands.process.long_run import long_run
from everfold.commands.process.process import RunningProcess, run_until_signal, running
from everfold.commands.process.process_options import PROCESS, ProcessOptions
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.sinks import (
    CALLBACKS,
    CallbackOptions,
    Options,
    PostHogOptions,
    SqlOptions,
    WebhookOptions,
    consuming,
    signed,
)
from everfold.queue_operations import apply_limits
from everfold.runner.config import RunnerConfig, runner_name
from everfold.streams.assets.asset import OUTPUT_KEEP_S
from everfold.streams.border.quantity import quantity
from everfold.streams.events.limits import EVENT_LIMIT_BYTES
from everfold.streams.redis.access import Access as Rights
from everfold.streams.redis.access import Role, check_access

if TYPE_CHECKING:
    from everfold.commands.config.backends import Backends
    from everfold.runner.access.access import Access
    from everfold.runner.fleet.backend_state import BackendState
    from everfold.runner.runner import Runner
    from everfold.streams.appending.log import Log
    from everfold.streams.assets.asset_store import AssetStore
    from everfold.streams.queues.limits import Limit

LeaseTtl = Annotated[
    float,
    duration(
        "lease_ttl_s",
        "The time after which a frozen runner's jobs are taken over; the same for all runners.",
    ),
]
KeepOutputs = Annotated[
    float | None,
    duration("keep_s", "How long stored outputs are kept; `none` keeps them for ever."),
]
MakesThumbnails = Annotated[
    bool,
    Parameter(
        negative="--no-thumbnails",
        help="Whether stored pictures get small ones. Needs the extra `assets`.",
    ),
]
EventLimit = Annotated[
    int,
    number(
        "event_limit_bytes",
        "The largest event: of outputs that have more, as with pictures in base64, only "
        "references to files and small values are recorded.",
    ),
]


@long_run
async def up(
    *,
    comfyui: ComfyUrls = None,
    queue: Queues = None,
    slots: Slots = 2,
    drain: Drain = 10.0,
    data: DataFolder = None,
    assets: AssetsPlace = None,
    keep_outputs: KeepOutputs = OUTPUT_KEEP_S,
    thumbnails: MakesThumbnails = True,
    index_metadata: IndexMetadata = None,
    keep: KeepHere = KEEP_HERE,
    serve: Annotated[bool, Parameter(help="Whether to serve the gateway, too.")] = False,
    web: WebOptions = GATEWAY,
    sql: SqlOptions | None = None,
    webhook: WebhookOptions | None = None,
    posthog: PostHogOptions | None = None,
    callbacks: CallbackOptions = CALLBACKS,
    process: ProcessOptions = PROCESS,
    session: Session = DEFAULT,
) -> int:
    """Run everything in one process: server, projector, runner, callbacks, and sinks.

    Without --redis-url the server is an embedded one. Ctrl-C drains; once more stops at once.
    """
    backends, config = _backends(), _config("", queue, slots, drain, thumbnails=thumbnails)
    accesses, limits = backends.chosen(comfyui), limit_settings(app)
    async with (
        running(process, session) as this,
        _with_server(session, data) as session,
        session.log(config.name, role="runner", creates=True) as log,
    ):
        _announce(log, accesses, stored := _store(log, assets, data, keep_outputs), session)
        await _prepare(log, *limits, session)
        async with (
            _projecting(log, config.name, index_metadata, this),
            keeping(keep, log, config.name, session),
            _sinking(log, [sql, webhook, posthog, signed(callbacks, data, session)], session),
            _serving(serve, web, _place(assets, data), session, this) as end_serving,
        ):
            made = _runner(log, backends, accesses, config, stored, session)
            if not (code := await _run_until_signal(log, made, this, session)):
                await end_serving()
    return code


async def _prepare(log: Log, wanted: Sequence[Limit], file: str, session: Session) -> None:
    """Set the limits, once it has the rights of all roles of this process."""
    await _check_roles(log)
    await _set_limits(log, wanted, file, session)


async def _check_roles(log: Log) -> None:
    """Ask for the rights of the other roles that work in this process. Raises AccessMissing."""
    roles: tuple[Role, ...] = ("projector", "consumer")
    for role in roles:
        await check_access(log.redis, Rights(role, log.keys.namespace, log.keys.is_spread))


@contextlib.asynccontextmanager
async def _serving(
    is_wanted: bool,
    web: WebOptions,
    assets: str | Path | None,
    session: Session,
    shown: RunningProcess,
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Serve the gateway beside the rest, until the yielded call has ended it."""
    if not is_wanted:
        async with _showing_namespace(session, shown):
            yield anyio.lowlevel.checkpoint
        return
    async with (
        serving(web, assets, session, is_alone=False) as gateway,
        anyio.create_task_group() as tasks,
    ):
        shown.sources["gateway"] = gateway.metrics
        tasks.start_soon(gateway.run)
        yield gateway.end
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def _showing_namespace(session: Session, shown: RunningProcess) -> AsyncIterator[None]:
    """Show the numbers of the namespace to Prometheus, if it can ask."""
    if not shown.is_watched:
        yield
        return
    from everfold.metrics.namespace_source import NamespaceSource
    from everfold.metrics.sampled import Sampled

    async with session.open() as everfold:
        shown.sources["namespace"] = NamespaceSource(Sampled(everfold))
        yield


@long_run
async def runner(
    *,
    comfyui: ComfyUrls = None,
    queue: Queues = None,
    name: str = "",
    slots: Slots = 2,
    drain: Drain = 10.0,
    lease_ttl: LeaseTtl = 10.0,
    event_limit_bytes: EventLimit = EVENT_LIMIT_BYTES,
    assets: AssetsPlace = None,
    keep_outputs: KeepOutputs = OUTPUT_KEEP_S,
    thumbnails: MakesThumbnails = True,
    process: ProcessOptions = PROCESS,
    session: Session = DEFAULT,
) -> int:
    """Run a runner: it takes jobs, drives ComfyUI, and recovers the jobs of dead runners.

    Ctrl-C or SIGTERM drains it; a second one stops it at once.

    Parameters
    ----------
    name
        The start of its name in events and lists. Default: the host's name.
    """
    backends = _backends()
    accesses, limits = backends.chosen(comfyui), limit_settings(app)
    config = _config(name, queue, slots, drain, lease_ttl, event_limit_bytes, thumbnails=thumbnails)
    async with (
        running(process, session) as this,
        session.log(config.name, role="runner", creates=True) as log,
    ):
        told = {"runner": config.name, "queues": config.queues}
        session.tell(told, f"runner {config.name} serves {', '.join(config.queues)}")
        await _set_limits(log, *limits, session)
        stored = _store(log, assets, None, keep_outputs)
        made = _runner(log, backends, accesses, config, stored, session)
        return await _run_until_signal(log, made, this, session)


@contextlib.asynccontextmanager
async def _projecting(
    log: Log, name: str, index_metadata: Sequence[str] | None, this: RunningProcess
) -> AsyncIterator[None]:
    """Run a projector while the context is open."""
    from everfold.projector.config import ProjectorConfig
    from everfold.projector.projector import Projector

    made = Projector(log, name, ProjectorConfig(index_metadata=tuple(index_metadata or ())))
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.run)
        this.works_as_projector(log, made)
        yield
        tasks.cancel_scope.cancel()


def _store(log: Log, place: str | None, data: Path | None, keep_s: float | None) -> AssetStore:
    """Return where files are stored: as it is given, else in the data folder that is."""
    from everfold.assets.store_of import open_assets

    return open_assets(log, _place(place, data), keep_s=keep_s)


def _place(place: str | None, data: Path | None) -> str | Path | None:
    from everfold.assets.opening import FOLDER

    return place or (data / FOLDER if data is not None else None)


def _backends() -> Backends:
    from everfold.commands.config.backends import Backends

    return Backends.read()


async def _set_limits(log: Log, wanted: Sequence[Limit], file: str, session: Session) -> None:
    """Set the limits that the config file names; others stay as they are."""
    for one in await apply_limits(log, wanted, file):
        session.tell(one, f"limit    {one.what} {one.scope} {one.name} {one.number:g}")


def _config(
    name: str,
    queues: list[str] | None,
    slots: int,
    drain_s: float,
    lease_ttl_s: float = 10.0,
    event_limit_bytes: int = EVENT_LIMIT_BYTES,
    *,
    thumbnails: bool,
) -> RunnerConfig:
    return RunnerConfig(
        name=runner_name(name),
        queues=tuple(queues or ("default",)),
        slots=slots,
        drain_s=drain_s,
        lease_ttl_s=lease_ttl_s,
        renew_every_s=min(2.0, lease_ttl_s / 5),
        lease_margin_s=min(1.0, lease_ttl_s / 5),
        event_limit_bytes=event_limit_bytes,
        thumbnails=thumbnails,
    )


def _runner(
    log: Log,
    backends: Backends,
    accesses: Sequence[Access],
    config: RunnerConfig,
    assets: AssetStore,
    session: Session,
) -> Runner:
    from everfold.assets.thumbnails import Thumbnails, can_make_thumbnails
    from everfold.runner.comfyui import ComfyBackend
    from everfold.runner.runner import Runner

    made = [ComfyBackend(access) for access in accesses]
    known = backends.known(accesses)
    return Runner(
        log,
        made,
        config,
        assets,
        make_backend=lambda url: ComfyBackend(known.get(url, url)),
        traits={access.url: access.traits for access in accesses},
        on_backend=lambda state: _tell_backend(state, session),
        thumbnail=Thumbnails().make if can_make_thumbnails() else None,
    )


@contextlib.asynccontextmanager
async def _sinking(
    log: Log,
    options: Sequence[Options | None],
    session: Session,
) -> AsyncIterator[None]:
    """Write to the sinks that have options while the context is open, and say which these are.

    A database that is away does not keep the jobs from running.
    """
    async with consuming(log, options, patient=True) as sinks:
        for sink in sinks:
            session.tell({"sink": sink.name, "about": sink.about}, f"sink     {sink.about}")
        yield


def _tell_backend(state: BackendState, session: Session) -> None:
    """Say that a backend takes jobs, or why not and what to do about it."""
    told = {"backend": state.backend.name, "title": state.title, "why": state.why_not}
    mark = "\u2717 " if state.why_not else "\u2713 "
    session.tell(told, f"{mark}{state.shown}  {state.why_not or 'takes jobs'}")


@contextlib.asynccontextmanager
async def _with_server(session: Session, data: Path | None) -> AsyncIterator[Session]:
    """Yield a session that names its server: the given one, else a running or new embedded one."""
    from everfold.embedded import server_url

    if session.redis_url:
        yield session
        return
    async with server_url(data, tls=session.tls) as url:
        yield replace(session, redis_url=url)


def _announce(log: Log, accesses: Sequence[Access], assets: AssetStore, session: Session) -> None:
    addresses, namespace = [access.url for access in accesses], log.keys.namespace
    option = "" if namespace == "everfold" else f" --namespace {namespace}"
    session.tell(
        {
            "server": str(log.url),
            "comfyui": addresses,
            "namespace": namespace,
            "assets": assets.url,
        },
        f"server   {log.url}",
        *(f"{'' if n else 'comfyui':9}{access.shown}" for n, access in enumerate(accesses)),
        f"assets   {assets.url}",
        f"now      everfold submit workflow.json --wait{option}",
        "stop     Ctrl-C drains the runner; once more stops at once",
    )


async def _run_until_signal(
    log: Log, runner: Runner, this: RunningProcess, session: Session
) -> int:
    """Run until a signal drains the runner; a second one cancels it. Return the exit code."""

    def drain() -> None:
        jobs = runner.jobs_in_flight
        sentence = f"draining: {quantity(jobs, 'job')} in flight" if jobs else "stopping"
        session.tell({"stopping": "drain", "jobs_in_flight": jobs}, sentence)
        runner.drain()

    def stop_at_once() -> None:
        session.tell({"stopping": "at once"}, "stopping at once; other runners take over")

    this.works_as_runner(log, runner, log.actor)
    return await run_until_signal(partial(runner.run, task_status=this), drain, stop_at_once)
