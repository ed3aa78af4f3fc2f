"""`everfold projector`: run one, see how far it is, rebuild what it has folded."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.live import Live
from rich.table import Table

from everfold.archives.opening import known_archive
from everfold.commands.loading import load_projection
from everfold.commands.operate.process import ending_signals, log_to_stderr
from everfold.commands.progress import event_progress
from everfold.commands.session import DEFAULT, Session
from everfold.commands.stream.archive import Place
from everfold.commands.words import console, emit, plain_table, span
from everfold.embedded import find_server
from everfold.projector.config import ProjectorConfig
from everfold.projector.folding.jobs_projection import JobsProjection
from everfold.projector.folding.projection import AnyProjection
from everfold.projector.folding.rebuild import Rebuild
from everfold.projector.projector import Projector
from everfold.projector.reading.lag import COUNT_LIMIT, Lag, lag
from everfold.runner.config import runner_name
from everfold.streams.appending.log import Log

Projections = Annotated[list[str] | None, Parameter(name="--projection", negative="")]

LIVE_EVERY_S = 1.0


async def run(
    *,
    job_ttl: float = 7200.0,
    terminal_ttl: float | None = None,
    projection: Projections = None,
    session: Session = DEFAULT,
) -> int:
    """Run a projector: folds the log into current states. Several share the work.

    Parameters
    ----------
    job_ttl
        Seconds that a state is kept after its job's last event.
    terminal_ttl
        The same for jobs that have ended; 0 deletes their state on completion.
    projection
        A projection of your own to fold beside the jobs, as module:name; several times for several.
    """
    log_to_stderr()
    own = [load_projection(place) for place in projection or []]
    config = ProjectorConfig(job_ttl_s=job_ttl, terminal_ttl_s=terminal_ttl)
    redis_url = session.redis_url or find_server()
    name = runner_name("projector")
    collect_garbage_rarely()
    async with (
        Log.open(redis_url, namespace=session.namespace, actor=name) as log,
        anyio.create_task_group() as tasks,
    ):
        projections: list[AnyProjection] = [JobsProjection(config), *own]
        for one in projections:
            await tasks.start(Projector(log, name, config, one).run)
        console.print(f"projector {name}", markup=False)
        async with ending_signals() as signals:
            await anext(signals)
        tasks.cancel_scope.cancel()
    return 0


def collect_garbage_rarely() -> None:
    """A projector holds many small values without cycles: looking for some costs a tenth."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def status(*, live: bool = False, projection: str = "", session: Session = DEFAULT) -> int:
    """Show for each partition who folds it, how far it is behind, and what is parked.

    Parameters
    ----------
    live
        Go on showing it until Ctrl-C.
    projection
        A projection of your own, as module:name; default: that of jobs.
    """
    chosen = _chosen(projection)
    async with session.open() as everfold:
        rows = await lag(everfold.log, chosen)
        if session.json:
            for row in rows:
                emit(row)
        elif live:
            await _show_live(everfold.log, chosen, rows)
        else:
            console.print(_table(rows))
    return 0


async def _show_live(log: Log, projection: AnyProjection, rows: Sequence[Lag]) -> None:
    """Show it again and again; where that is no terminal, below each other."""
    with Live(_table(rows), console=console, auto_refresh=False) as shown:
        show = partial(shown.update, refresh=True) if console.is_terminal else console.print
        async with ending_signals() as signals:
            while True:
                show(_table(rows))
                with anyio.move_on_after(LIVE_EVERY_S):
                    await anext(signals)
                    return
                rows = await lag(log, projection)


def _table(rows: Sequence[Lag]) -> Table:
    widths = {"partition": 9, "behind": 8, "for": 6, "folded": 11, "parked": 6, "oldest": 6}
    if any(row.rebuilt_events is not None for row in rows):
        widths["rebuilt"] = 11
    table = plain_table(widths, "owner")
    for row in rows:
        cells = _cells(row)
        table.add_row(*(cells[name] for name in (*widths, "owner")), style=_style(row))
    return table


def _cells(row: Lag) -> dict[str, str]:
    more = "+" if row.lag_events >= COUNT_LIMIT else ""
    return {
        "partition": str(row.partition),
        "behind": f"{row.lag_events:,}{more}",
        "for": span(row.lag_s) if row.lag_events else "-",
        "folded": f"{row.folded:,}",
        "parked": str(row.parked or "-"),
        "oldest": span(row.oldest_parked_s) if row.parked else "-",
        "rebuilt": "-" if row.rebuilt_events is None else f"{row.rebuilt_events:,}",
        "owner": row.owner or "nobody",
    }


def _style(row: Lag) -> str:
    if row.parked or (not row.owner and row.lag_events):
        return "red"
    return "yellow" if row.lag_s > 5 else ""


async def rebuild(*, projection: str = "", archive: Place = "", session: Session = DEFAULT) -> int:
    """Fold the whole history anew beside the live states, and swap them in when it has caught up.

    Runners, projectors and readers go on meanwhile. It may be interrupted: the next run goes on
    where this one was.

    Parameters
    ----------
    projection
        A projection of your own, as module:name; default: that of jobs.
    """
    chosen = _chosen(projection)
    async with session.open() as everfold:
        with event_progress("rebuild", session) as tell:
            kept = await known_archive(everfold.log, archive)
            rebuilt = await Rebuild(everfold.log, chosen, tell, kept).run()
    if session.json:
        emit(rebuilt)
    else:
        parked = f"; {rebuilt.parked} job(s) parked" if rebuilt.parked else ""
        console.print(f"{chosen.name}: {rebuilt.events:,} events folded, swapped in{parked}")
    return 0


async def show(projection: str, key: str = "", *, session: Session = DEFAULT) -> int:
    """Show the states of a projection of your own, or the one of a key.

    Parameters
    ----------
    projection
        Where it is, as module:name.
    """
    chosen = load_projection(projection)
    async with session.open() as everfold:
        found = await chosen.states(everfold.log)
    wanted = {name: found[name] for name in sorted(found) if not key or name == key}
    for name, state in wanted.items():
        if session.json:
            emit({"key": name, "state": state})
        else:
            console.print(f"{name}  {state}", markup=False)
    return 0 if wanted or not key else 3


def _chosen(place: str) -> AnyProjection:
    return load_projection(place) if place else JobsProjection()
