"""`everfold projector`: runs one, shows its lag, rebuilds states, and settles parked jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import anyio
from cyclopts import App, Parameter

from everfold.archives.opening import known_archive
from everfold.commands.formats import ago, span
from everfold.commands.loading import load_projection
from everfold.commands.numbers import duration
from everfold.commands.options import ArchiveUrl, IndexMetadata, JobId, ProjectionPlace
from everfold.commands.output import Cell, console, is_terminal, show, table
from everfold.commands.process.keep_options import KEEP_HERE, KeepHere, keeping
from everfold.commands.process.long_run import long_run
from everfold.commands.process.process import ending_signals, running
from everfold.commands.process.process_options import PROCESS, ProcessOptions
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.parking import (
    ParkedJob,
    blocked_job,
    blocked_jobs,
    parked_jobs,
)
from everfold.projector.folding.parking import retry as retry_job
from everfold.projector.folding.parking import skip as skip_event
from everfold.projector.folding.projection import AnyProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.projector import Projector
from everfold.projector.reading.lag import COUNT_LIMIT, Lag, lag
from everfold.projector.reading.short_ids import find_job_id
from everfold.runner.config import runner_name
from everfold.streams.appending.log import Log
from everfold.streams.border.quantity import quantity
from everfold.streams.errors import JobUnknown

JobTtl = Annotated[
    float, duration("job_ttl_s", "How long a state is kept after its job's last event.")
]
TerminalTtl = Annotated[
    float | None,
    duration(
        "terminal_ttl_s",
        "The same for jobs that have ended; 0 deletes their state when they end. Default: as "
        "--job-ttl.",
    ),
]

LIVE_EVERY_S = 1.0
LATE_S = 5.0
FOLDED_WITHIN_S = 15.0

projector = App(name="projector", help="Run a projector, show its lag, rebuild states.")
parked = App(name="parked", help="List, retry and skip parked jobs, which cannot be folded.")
projector.command(parked)


@projector.default
@long_run
async def run(
    *,
    job_ttl: JobTtl = 7200.0,
    terminal_ttl: TerminalTtl = None,
    index_metadata: IndexMetadata = None,
    keep: KeepHere = KEEP_HERE,
    projection: Annotated[list[str] | None, Parameter(metavar="MODULE:NAME...")] = None,
    process: ProcessOptions = PROCESS,
    session: Session = DEFAULT,
) -> int:
    """Run a projector, which folds the log into current states. Several share the work.

    Parameters
    ----------
    projection
        A projection of your own to fold beside that of jobs. Repeat the option for several.
    """
    own = [load_projection(place) for place in projection or []]
    config = ProjectorConfig(
        job_ttl_s=job_ttl, terminal_ttl_s=terminal_ttl, index_metadata=tuple(index_metadata or ())
    )
    name = runner_name("projector")
    async with (
        running(process, session) as this,
        session.log(name, role="projector", creates=True) as log,
        anyio.create_task_group() as tasks,
    ):
        projections: list[AnyProjection] = [JobsProjection(config), *own]
        for one in projections:
            projector = Projector(log, name, config, one)
            await tasks.start(projector.run)
            if one is projections[0]:
                this.works_as_projector(log, projector)
        session.tell({"projector": name}, f"projector {name}")
        async with (
            keeping(keep, log, name, session),
            ending_signals() as signals,
        ):
            this.started()
            await anext(signals)
        tasks.cancel_scope.cancel()
    return 0


@projector.command
async def status(
    *, live: bool = False, projection: ProjectionPlace = "", session: Session = DEFAULT
) -> int:
    """Show each partition's lag, its parked jobs, and the projector that has it.

    Parameters
    ----------
    live
        Show it again every second, until Ctrl-C.
    """
    chosen = _chosen(projection)
    async with session.log() as log:
        rows = await lag(log, chosen)
        if live and not session.json:
            await _show_live(log, chosen, rows)
        else:
            session.show(rows, _columns(rows), style=_style)
    return 0


async def _show_live(log: Log, projection: AnyProjection, rows: Sequence[Lag]) -> None:
    """Redraw the table; print it again and again where the output is not a terminal."""
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        async with ending_signals() as signals:
            while True:
                columns = _columns(rows)
                if is_terminal():
                    live.update(table(rows, columns, wrap=(), style=_style), refresh=True)
                else:
                    show(rows, columns)
                with anyio.move_on_after(LIVE_EVERY_S):
                    await anext(signals)
                    return
                rows = await lag(log, projection)


def _columns(rows: Sequence[Lag]) -> Mapping[str, Callable[[Lag], Cell]]:
    rebuilt: dict[str, Callable[[Lag], Cell]] = {"rebuilt": lambda row: row.rebuilt_events}
    is_rebuilding = any(row.rebuilt_events is not None for row in rows)
    return {
        "partition": lambda row: str(row.partition),
        "lag": lambda row: f"{row.lag_events:,}{'+' if row.lag_events >= COUNT_LIMIT else ''}",
        "lag time": lambda row: span(row.lag_s) if row.lag_events else "-",
        "folded": lambda row: row.folded,
        "parked": lambda row: row.parked,
        "oldest": lambda row: span(row.oldest_parked_s) if row.parked else "-",
        **(rebuilt if is_rebuilding else {}),
        "owner": lambda row: row.owner or "nobody",
    }


def _style(row: Lag) -> str:
    if row.parked or (not row.owner and row.lag_events):
        return "red"
    return "yellow" if row.lag_s > LATE_S else ""


@projector.command
async def rebuild(
    *,
    projection: ProjectionPlace = "",
    index_metadata: IndexMetadata = None,
    archive: ArchiveUrl = "",
    session: Session = DEFAULT,
) -> int:
    """Fold the whole history again beside the live states, and swap the result in at the end.

    Runners, projectors and readers work on meanwhile. A rebuild that was interrupted continues
    where it was when it is started again.
    """
    chosen = _chosen(projection, index_metadata)
    async with session.log(role="projector") as log:
        with event_progress("rebuild", session) as progress:
            kept = await known_archive(log, archive)
            rebuilt = await Rebuild(log, chosen, progress, kept).run()
    rest = f"; {quantity(rebuilt.parked, 'job')} parked" if rebuilt.parked else ""
    session.tell(rebuilt, f"{chosen.name}: {rebuilt.events:,} events folded, swapped in{rest}")
    return 0


@projector.command(name="show")
async def show_states(
    projection: Annotated[str, Parameter(help="The projection, as module:name.")],
    key: str | None = None,
    *,
    session: Session = DEFAULT,
) -> int:
    """Show the states of a projection of your own.

    Parameters
    ----------
    key
        Only the state of this key; exit code 3 if there is none.
    """
    chosen = load_projection(projection)
    async with session.log() as log:
        found = await chosen.states(log)
    wanted = {name: found[name] for name in sorted(found) if key in (None, name)}
    for name, state in wanted.items():
        session.tell({"key": name, "state": state}, f"{name}  {state}")
    return 0 if wanted or key is None else 3


def _chosen(place: str, index_metadata: list[str] | None = None) -> AnyProjection:
    config = ProjectorConfig(index_metadata=tuple(index_metadata or ()))
    return load_projection(place) if place else JobsProjection(config)


@parked.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List parked jobs, the oldest first, with the event and the reason; then those that runners
    cannot read although no projector has parked them."""
    async with session.log() as log:
        found = [*await parked_jobs(log), *await _only_blocked(log)]

    def why(job: ParkedJob) -> str:
        return job.parked.why + (" (to be folded again)" if job.parked.retry else "")

    session.show(
        found,
        {
            "job": lambda job: job.job_id,
            "event": lambda job: job.parked.seq,
            "entry": lambda job: job.parked.entry_id,
            "age": lambda job: ago(job.parked.at_ms),
            "why": why,
        },
        empty="no job is parked",
    )
    return 0


async def _only_blocked(log: Log) -> list[ParkedJob]:
    """Return the jobs that runners cannot read and that no projector has parked."""
    shown, found = {job.job_id for job in await parked_jobs(log)}, list[ParkedJob]()
    for job_id in await blocked_jobs(log):
        with contextlib.suppress(JobUnknown):
            found += [] if job_id in shown else [await blocked_job(log, job_id)]
    return found


@parked.command
async def retry(job_id: JobId, *, session: Session = DEFAULT) -> int:
    """Fold a parked job again, as after an upgrade that can read its event.

    The exit code is 1 when it was parked again.
    """
    async with session.log() as log:
        job_id = await find_job_id(log, job_id)
        await retry_job(log, job_id)
        return await _report(log, job_id, session)


@parked.command
async def skip(job_id: JobId, *, session: Session = DEFAULT) -> int:
    """Fold a parked job on without the event that cannot be read, in every rebuild too."""
    async with session.log() as log:
        job_id = await find_job_id(log, job_id)
        await skip_event(log, job_id, "cli")
        return await _report(log, job_id, session)


async def _report(log: Log, job_id: str, session: Session) -> int:
    """Wait until a projector has folded the job again, and print the result."""

    def tell(outcome: str, sentence: str) -> None:
        session.tell({"job_id": job_id, "outcome": outcome}, f"{job_id} {sentence}")

    with anyio.move_on_after(FOLDED_WITHIN_S):
        while True:
            found = [job for job in await parked_jobs(log) if job.job_id == job_id]
            if not found:
                tell("folded", "is folded again")
                return 0
            if not found[0].parked.retry:
                tell("parked", f"is parked again: {found[0].parked.why}")
                return 1
            await anyio.sleep(0.1)
    tell("waiting", "will be folded again as soon as a projector runs (`everfold projector`)")
    return 0
