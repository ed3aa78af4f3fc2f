"""`everfold backends`: the ComfyUI servers that the runners see, and taking them out of service."""

from __future__ import annotations

from cyclopts import App

from everfold.commands.session import DEFAULT, Session
from everfold.commands.words import console, emit, plain_table

backends = App(name="backends", help="See the ComfyUI servers; take one out of service.")


@backends.command
async def ls(*, session: Session = DEFAULT) -> int:
    """List the backends that a runner has seen in the last 7 days."""
    async with session.open() as everfold:
        found = await everfold.backends()
    if session.json:
        for one in found:
            emit(one)
        return 0
    if not found:
        console.print("no runner has seen a backend yet")
        return 0
    table = plain_table({"backend": 28, "seen": 10, "service": 16}, "why it takes no jobs")
    for one in found:
        seen = "now" if one.unseen_s < 10 else f"{one.unseen_s:.0f} s ago"
        service = f"retired by {one.retired_by}" if one.retired_by else "in service"
        table.add_row(one.name, seen, service, one.why)
    console.print(table)
    return 0


@backends.command
async def retire(name: str, *, session: Session = DEFAULT) -> int:
    """Take a backend out of service.

    It gets no new jobs, and what waits there is taken back. What it holds while no runner reaches
    it is lost at once, and tried elsewhere where the job's policy allows.
    """
    async with session.open() as everfold:
        await everfold.retire_backend(name)
    console.print(f"{name} is retired; `everfold backends return {name}` undoes that", markup=False)
    return 0


@backends.command(name="return")
async def return_(name: str, *, session: Session = DEFAULT) -> int:
    """Put a retired backend into service again."""
    async with session.open() as everfold:
        was_retired = await everfold.return_backend(name)
    words = "is in service again" if was_retired else "was not retired"
    console.print(f"{name} {words}", markup=False)
    return 0
