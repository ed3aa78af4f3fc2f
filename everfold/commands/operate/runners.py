"""`everfold runners`: the runners of a namespace, and ending one from afar."""

from __future__ import annotations

from typing import Annotated

import anyio
from cyclopts import App, Parameter

from everfold.client import Everfold
from everfold.commands.formats import ago, span
from everfold.commands.session import DEFAULT, Session
from everfold.operations import RunnerStatus

NOW_S = 10.0
"""A runner that was heard of within this time is shown as heard of now."""

SILENT_S = 30.0
"""A runner that was not heard of for so long is not waited for."""

LOOK_EVERY_S = 0.2

RunnerName = Annotated[str, Parameter(help="The runner's name, as `runners ls` shows it.")]

runners = App(name="runners", help="List the runners; ask one to drain.")


@runners.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the runners that are registered."""
    async with session.open("reader") as everfold:
        found = await everfold.runners()
    session.show(
        found,
        {
            "runner": lambda one: one.name,
            "seen": lambda one: "now" if one.unseen_s < NOW_S else f"{span(one.unseen_s)} ago",
            "up": lambda one: ago(one.since_ms),
            "jobs": lambda one: one.jobs,
            "version": lambda one: one.version,
            "does": _does,
        },
        empty="no runner is registered",
    )
    return 0


def _does(one: RunnerStatus) -> str:
    if one.drained_by:
        return f"drains, {one.drained_by} asked"
    if one.is_draining:
        return "drains"
    return f"{', '.join(one.queues)} on {', '.join(one.backends) or 'no backend'}"


@runners.command
async def drain(
    name: RunnerName,
    *,
    wait: Annotated[bool, Parameter(help="Wait until the runner has ended.")] = False,
    session: Session = DEFAULT,
) -> int:
    """Ask a runner to drain, as SIGTERM does.

    It takes no new jobs, lets running ones go on for its drain time, releases the rest and ends.
    What supervises its process, such as systemd or Kubernetes, may start it anew.
    """
    async with session.operate() as everfold:
        await everfold.drain_runner(name)
        has_ended = wait and await _ended(everfold, name)
    told = {"runner": name, "is_asked": True, "has_ended": has_ended}
    if not wait:
        session.tell(told, f"{name} drains; `everfold runners ls` shows it until it has ended")
    elif has_ended:
        session.tell(told, f"{name} has ended")
    else:
        session.tell(told, f"{name} has not been heard of for {SILENT_S:.0f} s: it may be dead")
    return 0 if has_ended or not wait else 1


async def _ended(everfold: Everfold, name: str) -> bool:
    """Wait until the runner is not registered any more; False for one that falls silent."""
    while True:
        found = next((one for one in await everfold.runners() if one.name == name), None)
        if found is None:
            return True
        if found.unseen_s > SILENT_S:
            return False
        await anyio.sleep(LOOK_EVERY_S)
