"""`everfold queues`: what waits and runs in each queue, and pausing one."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from everfold.commands.formats import span
from everfold.commands.numbers import at_most
from everfold.commands.session import DEFAULT, Session
from everfold.queue_operations import QueueStatus

QueueName = Annotated[str, Parameter(help="The queue's name, as `queues ls` shows it.")]
Reason = Annotated[str, at_most("reason", "The reason, for all who look.")]

queues = App(name="queues", help="List the queues; pause one, resume it.")


@queues.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the queues that ever held a job, or that a runner serves."""
    async with session.open("reader") as everfold:
        found = await everfold.queues()
    session.show(
        found,
        {
            "queue": lambda one: one.name,
            "waiting": lambda one: one.waiting,
            "running": lambda one: one.running,
            "runners": lambda one: len(one.runners),
            "oldest": lambda one: span(one.oldest_s) if one.waiting else "-",
            "service": _service,
        },
        empty="no queue has held a job yet, and no runner is registered",
    )
    return 0


def _service(one: QueueStatus) -> str:
    """Return who paused it, else which runners serve it."""
    reason = f" ({one.pause_reason})" if one.pause_reason else ""
    if one.paused_by:
        return f"paused by {one.paused_by}{reason}"
    return ", ".join(one.runners) or "no runner serves it"


@queues.command
async def pause(name: QueueName, *, reason: Reason = "", session: Session = DEFAULT) -> int:
    """Let no runner take jobs of a queue; what runs goes on, and jobs may still be submitted."""
    async with session.operate() as everfold:
        was_running = await everfold.pause_queue(name, reason)
    told = {"queue": name, "is_paused": True, "was_paused": not was_running}
    state = "is paused" if was_running else "was paused before, and is under your name now"
    session.tell(told, f"{name} {state}; `everfold queues resume {name}` undoes that")
    return 0


@queues.command
async def resume(name: QueueName, *, session: Session = DEFAULT) -> int:
    """Let runners take jobs of a queue again."""
    async with session.operate() as everfold:
        was_paused = await everfold.resume_queue(name)
    told = {"queue": name, "is_paused": False, "was_paused": was_paused}
    session.tell(told, f"{name} {'goes on' if was_paused else 'was not paused'}")
    return 0
